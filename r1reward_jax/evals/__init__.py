"""Evaluation: both answer orders, votes, and what a model without eyes would score."""
