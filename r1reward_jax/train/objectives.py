"""What a step minimises: losses that can be summed over the micro-batches of a batch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from r1reward_jax.models.reward_head import scores
from r1reward_jax.rl.logprobs import masked_mean
from r1reward_jax.rl.losses import (
    AGGREGATES,
    LOSSES,
    bradley_terry_loss,
    token_count,
    token_mean,
    truncated_importance_weights,
)
from r1reward_jax.train.forward import StepConfig, batch_logprobs
from r1reward_jax.types import LanguageModel, PairBatch, Params, TrainBatch

Loss = tuple[Float[Array, ""], dict[str, Any]]


@dataclass(frozen=True)
class Objective:
    """A loss whose denominator is that of the whole batch, so that parts of a batch add up."""

    loss: Callable[[LanguageModel, Params, Any, Array, StepConfig], Loss]
    """(model, params, rows, count, config) -> (loss, metrics)."""
    count: Callable[[Any], Float[Array, ""]]
    """The whole batch -> what its loss is divided by."""
    weight: Callable[[Any], Float[Array, ""]]
    """Rows -> how much their metrics count beside those of other rows."""


def _tokens(batch: TrainBatch) -> Float[Array, ""]:
    return token_count(batch.mask)


def _negative_log_likelihood(
    model: LanguageModel, params: Params, rows: TrainBatch, count: Array, config: StepConfig
) -> Loss:
    logp, entropy = batch_logprobs(model, params, rows, config)
    loss = token_mean(-logp, rows.mask, count=count)
    return loss, {"loss/entropy": masked_mean(entropy, rows.mask)}


NLL = Objective(_negative_log_likelihood, _tokens, _tokens)
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
        model: LanguageModel, params: Params, rows: TrainBatch, count: Array, config: StepConfig
    ) -> Loss:
        logp, entropy = batch_logprobs(model, params, rows, config)
        old_logp = old_logprobs(logp, rows)
        losses, metrics = per_token(logp, old_logp, rows.advantages, rows.mask, **settings)
        if importance_cap:
            weights = truncated_importance_weights(old_logp, rows.sampler_logp, cap=importance_cap)
            losses = losses * jnp.where(rows.mask, weights, 0.0)
        gap = jnp.where(rows.mask, jnp.abs(logp - rows.sampler_logp), 0.0)
        metrics["loss/sampler_gap_max"] = jnp.max(gap)
        metrics["loss/entropy"] = masked_mean(entropy, rows.mask)
        return mean(losses, rows.mask, count=count), metrics

    return Objective(function, lambda batch: count_of(batch.mask), _tokens)


def old_logprobs(logp: Float[Array, "B C"], batch: TrainBatch) -> Float[Array, "B C"]:
    """Those of the batch; the policy's own, as a constant, where nothing was updated since."""
    on_policy: Bool[Array, "B 1"] = batch.on_policy[:, None]
    return jnp.where(on_policy, jax.lax.stop_gradient(logp), batch.old_logp)


def _pairs(batch: PairBatch) -> Float[Array, ""]:
    return jnp.float32(batch.better.tokens.shape[0])


def _bradley_terry(
    model: LanguageModel, params: Params, rows: PairBatch, count: Array, config: StepConfig
) -> Loss:
    # side by side, not one behind the other: every device keeps the rows that it has
    both = jax.tree.map(lambda a, b: jnp.stack([a, b], 1).reshape(-1, *a.shape[1:]), *rows)
    reward = scores(model, params, both, dtype=config.compute_dtype, remat=config.remat)
    better, worse = reward.reshape(-1, 2).T
    return jnp.sum(bradley_terry_loss(better, worse)) / count, {
        "scalar/accuracy": jnp.mean((better > worse) * 1.0),
        "scalar/margin": jnp.mean(better - worse),
    }


BRADLEY_TERRY = Objective(_bradley_terry, _pairs, _pairs)
"""The scalar baseline: the preferred response of a pair gets the higher score."""
