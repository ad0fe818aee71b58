"""From several verdicts to one (paper, section 5: voting@K)."""

from collections.abc import Sequence

from r1reward_jax.types import Verdict


def majority(verdicts: Sequence[Verdict | None]) -> Verdict | None:
    """The verdict given more often; unparsable ones do not vote; None on a tie or without votes."""
    ones, twos = verdicts.count(1), verdicts.count(2)
    return None if ones == twos else (1 if ones > twos else 2)
