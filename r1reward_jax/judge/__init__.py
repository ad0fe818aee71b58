"""Judges: does an analysis support its verdict? A step of its own, apart from the policy."""
