"""Evaluation: both answer orders, votes, calibration, and the accuracy that needs no image."""
