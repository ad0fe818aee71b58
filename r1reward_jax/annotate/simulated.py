"""A simulated teacher for the embedded world, with the faults of a real one.

It describes the scene without fault. Its conclusion is wrong at a rate that grows with the number
of things, and its verdict sometimes contradicts its own analysis.
"""

import random
from dataclasses import dataclass

from r1reward_jax.data import synthetic
from r1reward_jax.prompts import answer_text
from r1reward_jax.types import PreferenceRecord, other


@dataclass(frozen=True)
class SimulatedTeacher:
    """`annotate.Teacher`; deterministic from (seed, record, attempt)."""

    seed: int
    conclusion_errors: tuple[float, ...]
    """Probability of a wrong conclusion by number of things in the scene (1, 2, 3)."""
    slip: float
    """Probability that the verdict contradicts the analysis."""

    def write(self, record: PreferenceRecord, attempt: int) -> str:
        rng = random.Random(f"{self.seed}/{record.id}/{attempt}")
        assert record.preferred is not None
        wrong = rng.random() < self.conclusion_errors[record.meta["level"] - 1]
        concluded = other(record.preferred) if wrong else record.preferred
        verdict = other(concluded) if rng.random() < self.slip else concluded
        analysis = f"{synthetic.listing(record)} {synthetic.conclusion(concluded, rng)}"
        return answer_text(analysis, verdict)
