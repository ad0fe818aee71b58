"""The report of runs: one HTML page that needs nothing else."""

from r1reward_jax.report.page import reported, write

__all__ = ["reported", "write"]
