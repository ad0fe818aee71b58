"""What `RewardModel` says about more than two responses."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from r1reward_jax.evals.types import PairJudgement


@dataclass(frozen=True)
class Ranking:
    """Responses to a question, by their places in what was given (0 is the first)."""

    order: tuple[int, ...]
    """Best first."""
    best: int
    judgements: int
    """Responses compared, counted once per order: two for each comparison."""
    comparisons: Mapping[tuple[int, int], PairJudgement] = field(repr=False)
    """All that were made; a of (i, j) is response i."""
    chances: tuple[float, ...] | None = None
    """Of each response, the mean probability that it is better than another; from a round robin."""

    def __str__(self) -> str:
        best = f"best is response {self.best} of {len(self.order)}; order {self.order}"
        return f"{best}, from {self.judgements} judgements"
