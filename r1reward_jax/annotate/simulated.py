"""Simulate a teacher for the embedded world, with the faults of a real one.

It describes the scene without fault. But the more there is to see, the more often it ignores its
own description and prefers the first response (position bias, the best-known fault of judges), and
some of its analyses end by arguing against its verdict.
"""

import random
from dataclasses import dataclass

from r1reward_jax.data import synthetic
from r1reward_jax.prompts import answer_text
from r1reward_jax.types import PreferenceRecord, Verdict, other


@dataclass(frozen=True)
class SimulatedTeacher:
    """A `Teacher` whose texts are fixed by (seed, record, attempt)."""

    seed: int
    fallback: tuple[float, ...]
    """Probability of preferring the first response regardless, by number of things (1, 2, 3)."""
    slip: float
    """Probability that the analysis argues for the other response than the verdict."""

    def write(self, record: PreferenceRecord, attempt: int) -> str:
        """Return an analysis and a verdict; attempts count from 0."""
        rng = random.Random(f"{self.seed}/{record.id}/{attempt}")
        assert record.preferred is not None
        lost = rng.random() < self.fallback[record.meta["level"] - 1]
        verdict: Verdict = 1 if lost else record.preferred
        concluded = other(verdict) if rng.random() < self.slip else verdict
        analysis = f"{synthetic.listing(record)} {synthetic.conclusion(concluded, rng)}"
        return answer_text(analysis, verdict)
