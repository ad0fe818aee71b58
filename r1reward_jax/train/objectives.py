"""What a step minimises: a loss over token log-probs that can be summed over micro-batches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from r1reward_jax.rl.losses import (
    AGGREGATES,
    LOSSES,
    token_count,
    token_mean,
    truncated_importance_weights,
)
from r1reward_jax.types import TrainBatch


@dataclass(frozen=True)
class Objective:
    """A loss whose denominator is that of the whole batch, so that parts of a batch add up."""

    loss: Callable[[Array, TrainBatch, Array], tuple[Array, dict[str, Any]]]
    """(log-probs [B, C], rows, count) -> (loss, metrics)."""
    count: Callable[[Array], Array]
    """Mask [B, C] of the whole batch -> what its loss is divided by."""


def _negative_log_likelihood(
    logp: Float[Array, "B C"], batch: TrainBatch, count: Float[Array, ""]
) -> tuple[Float[Array, ""], dict[str, Any]]:
    return token_mean(-logp, batch.mask, count=count), {}


NLL = Objective(_negative_log_likelihood, token_count)
"""Imitation: the mean negative log-likelihood of the completion tokens."""


def policy_objective(
    loss: str, aggregate: str, *, importance_cap: float, **settings: float
) -> Objective:
    """A policy loss of `rl.losses` with its settings.

    Args:
      loss: a name in LOSSES.
      aggregate: a name in AGGREGATES.
      importance_cap: of `truncated_importance_weights`; 0 leaves them out.
      settings: keyword arguments of the loss.
    """
    per_token, (mean, count_of) = LOSSES[loss], AGGREGATES[aggregate]

    def function(
        logp: Float[Array, "B C"], batch: TrainBatch, count: Float[Array, ""]
    ) -> tuple[Float[Array, ""], dict[str, Any]]:
        old_logp = old_logprobs(logp, batch)
        losses, metrics = per_token(logp, old_logp, batch.advantages, batch.mask, **settings)
        if importance_cap:
            weights = truncated_importance_weights(old_logp, batch.sampler_logp, cap=importance_cap)
            losses = losses * jnp.where(batch.mask, weights, 0.0)
        return mean(losses, batch.mask, count=count), metrics

    return Objective(function, count_of)


def old_logprobs(logp: Float[Array, "B C"], batch: TrainBatch) -> Float[Array, "B C"]:
    """Those of the batch; the policy's own, as a constant, where nothing was updated since."""
    on_policy: Bool[Array, "B 1"] = batch.on_policy[:, None]
    return jnp.where(on_policy, jax.lax.stop_gradient(logp), batch.old_logp)
