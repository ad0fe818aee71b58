"""What a step minimises: losses that can be summed over the micro-batches of a batch, and the
forward pass below them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from r1reward_jax.models.reward_head import scores
from r1reward_jax.rl.logprobs import completion_hidden, masked_mean, token_logprobs
from r1reward_jax.rl.losses import (
    AGGREGATES,
    LOSSES,
    bradley_terry_loss,
    token_count,
    token_mean,
    truncated_importance_weights,
)
from r1reward_jax.types import LanguageModel, PairBatch, Params, TrainBatch


@dataclass(frozen=True)
class StepConfig:
    """Hold what a step needs besides its loss."""

    chunk: int
    """Positions per chunk of the output head."""
    remat: bool
    """Recompute layers in the backward pass."""
    compute_dtype: Any
    """Dtype of the forward pass; parameters stay in theirs."""
    micro_tokens: int = 0
    """Tokens (rows times padded length) of a micro-batch at most; 0: the batch is not split."""
    row_shards: int = 1
    """Devices that the rows are split over; a micro-batch has a multiple of them."""
    temperature: float = 1.0
    """Of the distribution whose log-probabilities are taken: that of the samples."""
    frozen: tuple[str, ...] = ()
    """Top-level names of parameters that get no gradient."""


def batch_logprobs(
    model: LanguageModel, params: Params, batch: TrainBatch, config: StepConfig
) -> tuple[Float[Array, "B C"], Float[Array, "B C"]]:
    """Return log-probabilities and entropies of a batch's completion tokens; the model sees the
    images, too."""
    params = jax.tree.map(lambda p: p.astype(config.compute_dtype), params)
    hidden = model.hidden(params, batch.inputs, remat=config.remat)
    hidden = completion_hidden(hidden, batch.prompt_lengths, batch.completions.shape[1])
    return token_logprobs(
        hidden,
        model.head(params),
        batch.completions,
        chunk=config.chunk,
        temperature=config.temperature,
    )


def micro_batches(batch: TrainBatch | PairBatch, config: StepConfig) -> int:
    """Return the number of parts in which a batch passes through the model: the fewest that fit the
    token budget, or the smallest parts that the devices can share.

    Args:
      batch: its shapes decide, so the number is fixed when a step is compiled.
      config: micro_tokens and row_shards are read.
    """
    rows, width = batch.size
    if not config.micro_tokens:
        return 1
    parts = [n for n in range(1, rows + 1) if rows % n == 0 and rows // n % config.row_shards == 0]
    fitting = [n for n in parts if rows // n * width <= config.micro_tokens]
    return min(fitting, default=max(parts, default=1))


def split_rows(batch: Any, count: int) -> Any:
    """Split [R, …] arrays into [count, R / count, …]: part k takes every count-th row from k on, so
    that every device keeps the rows that it has."""
    return jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, count, *x.shape[1:]), 0, 1), batch)


def policy_logprobs(
    model: LanguageModel, params: Params, batch: TrainBatch, config: StepConfig
) -> Float[Array, "B C"]:
    """Return the log-probabilities of a batch's completion tokens, by micro-batches, without
    gradients."""
    count = micro_batches(batch, config)
    if count == 1:
        return batch_logprobs(model, params, batch, config)[0]
    logp = jax.lax.map(
        lambda part: batch_logprobs(model, params, part, config)[0], split_rows(batch, count)
    )
    return jnp.swapaxes(logp, 0, 1).reshape(batch.mask.shape)


Loss = tuple[Float[Array, ""], dict[str, Any]]


@dataclass(frozen=True)
class Objective:
    """Pair a loss with the denominator of the whole batch, so that parts of a batch add up."""

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
    """Return the objective of a policy loss of `rl.losses` with its settings.

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
    """Return the old log-probs of the batch; where nothing was updated since, the policy's own as a
    constant."""
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
