"""Hypothesis strategies for losses and advantages: test your own ones as ours are tested.

    from hypothesis import given
    from r1reward_jax.testing import token_batches

    @given(token_batches())
    def test_my_loss_is_finite(batch):
        assert np.isfinite(my_loss(*batch))

Needs `pip install hypothesis`. Shapes come from a short list, so that a jitted function compiles
few times.
"""

from typing import NamedTuple

import hypothesis.strategies as st
import numpy as np
from hypothesis.extra import numpy as hnp
from jaxtyping import Bool, Float

SHAPES = ((8, 3), (8, 7))
"""Rows and columns; rows divide over eight devices."""


class TokenBatch(NamedTuple):
    """What a policy loss takes, in the order that it takes it."""

    logp: Float[np.ndarray, "B C"]
    old_logp: Float[np.ndarray, "B C"]
    advantages: Float[np.ndarray, "B C"]
    mask: Bool[np.ndarray, "B C"]


class RewardBatch(NamedTuple):
    """What the advantages take."""

    rewards: Float[np.ndarray, " B"]
    logp: Float[np.ndarray, "B C"]
    ref_logp: Float[np.ndarray, "B C"]
    mask: Bool[np.ndarray, "B C"]


def masks(shape: tuple[int, int]) -> st.SearchStrategy[np.ndarray]:
    """Rows of 0 to C true places, then false ones; at least one row has one."""
    rows, columns = shape
    lengths = st.lists(st.integers(0, columns), min_size=rows, max_size=rows)
    return lengths.filter(any).map(lambda n: np.arange(columns) < np.asarray(n)[:, None])


def values(shape: tuple[int, ...], least: float, most: float) -> st.SearchStrategy[np.ndarray]:
    """float32 arrays between two numbers, both included."""
    elements = st.floats(least, most, width=32, allow_subnormal=False)
    return hnp.arrays(np.float32, shape, elements=elements)


@st.composite
def token_batches(
    draw: st.DrawFn, *, least_logp: float = -1e4, most_advantage: float = 1e4
) -> TokenBatch:
    """Log-probs in [least_logp, 0] and advantages of both signs, also on padding.

    Args:
      least_logp: the smallest log-prob.
      most_advantage: the largest |advantage|.
    """
    shape = draw(st.sampled_from(SHAPES))
    return TokenBatch(
        draw(values(shape, least_logp, 0.0)),
        draw(values(shape, least_logp, 0.0)),
        draw(values(shape, -most_advantage, most_advantage)),
        draw(masks(shape)),
    )


@st.composite
def reward_batches(draw: st.DrawFn, *, least_logp: float = -20.0) -> RewardBatch:
    """Rewards in steps of 1/8 from 0 to 2, as combinations of parts are, and log-probs.

    Args:
      least_logp: the smallest log-prob of policy and reference.
    """
    shape = draw(st.sampled_from(SHAPES))
    eighths = hnp.arrays(np.int32, shape[:1], elements=st.integers(0, 16))
    return RewardBatch(
        draw(eighths).astype(np.float32) / 8,
        draw(values(shape, least_logp, 0.0)),
        draw(values(shape, least_logp, 0.0)),
        draw(masks(shape)),
    )
