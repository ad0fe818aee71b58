"""The pure training steps: supervised, and StableReinforce. Jitted by the loops that call them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from r1reward_jax.rl.logprobs import completion_hidden, masked_mean, token_logprobs
from r1reward_jax.train.objectives import Objective
from r1reward_jax.types import LanguageModel, Params, TrainBatch, TrainState


@dataclass(frozen=True)
class StepConfig:
    """What a step needs besides its loss."""

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
    frozen: tuple[str, ...] = ()
    """Top-level names of parameters that get no gradient."""


def batch_logprobs(
    model: LanguageModel, params: Params, batch: TrainBatch, config: StepConfig
) -> tuple[Float[Array, "B C"], Float[Array, "B C"]]:
    """Log-probabilities and entropies of a batch's completion tokens; images included."""
    params = jax.tree.map(lambda p: p.astype(config.compute_dtype), params)
    hidden = model.hidden(params, batch.inputs, remat=config.remat)
    hidden = completion_hidden(hidden, batch.prompt_lengths, batch.completions.shape[1])
    return token_logprobs(hidden, model.head(params), batch.completions, chunk=config.chunk)


def micro_batches(batch: TrainBatch, config: StepConfig) -> int:
    """In how many parts a batch goes through the model: the fewest that fit the token budget,
    or the smallest parts that the devices can share.

    Args:
      batch: its shapes decide, so the number is fixed when a step is compiled.
      config: micro_tokens and row_shards are read.
    """
    rows, width = batch.inputs.tokens.shape
    if not config.micro_tokens:
        return 1
    parts = [n for n in range(1, rows + 1) if rows % n == 0 and rows // n % config.row_shards == 0]
    fitting = [n for n in parts if rows // n * width <= config.micro_tokens]
    return min(fitting, default=max(parts, default=1))


def split_rows(batch: Any, count: int) -> Any:
    """[R, …] arrays to [count, R / count, …]: part k takes every count-th row from k on, so that
    every device keeps the rows that it has."""
    return jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, count, *x.shape[1:]), 0, 1), batch)


def policy_logprobs(
    model: LanguageModel, params: Params, batch: TrainBatch, config: StepConfig
) -> Float[Array, "B C"]:
    """Log-probabilities of a batch's completion tokens, by micro-batches, without gradients."""
    count = micro_batches(batch, config)
    if count == 1:
        return batch_logprobs(model, params, batch, config)[0]
    logp = jax.lax.map(
        lambda part: batch_logprobs(model, params, part, config)[0], split_rows(batch, count)
    )
    return jnp.swapaxes(logp, 0, 1).reshape(batch.mask.shape)


def loss_and_gradients(
    model: LanguageModel,
    objective: Objective,
    config: StepConfig,
    params: Params,
    batch: TrainBatch,
) -> tuple[Array, dict[str, Array], Params]:
    """Loss, metrics and gradients of a batch, summed over its micro-batches.

    All parts are divided by the counts of the whole batch, so that splitting changes nothing but
    the memory that it takes.
    """
    total = objective.count(batch.mask)

    def of_rows(params: Params, rows: TrainBatch):
        kept = {k: jax.lax.stop_gradient(v) if k in config.frozen else v for k, v in params.items()}
        logp, entropy = batch_logprobs(model, kept, rows, config)
        value, metrics = objective.loss(logp, rows, total)
        gap = jnp.abs(logp - rows.sampler_logp)
        return value, metrics | {
            "loss/entropy": masked_mean(entropy, rows.mask),
            "loss/sampler_gap_max": jnp.max(jnp.where(rows.mask, gap, 0.0)),
        }

    gradient = jax.value_and_grad(of_rows, has_aux=True)
    count = micro_batches(batch, config)
    if count == 1:
        (value, metrics), grads = gradient(params, batch)
        return value, metrics, grads

    def add_rows(sums, rows: TrainBatch):
        (value, metrics), grads = gradient(params, rows)
        return jax.tree.map(jnp.add, sums, (value, grads)), (metrics, jnp.sum(rows.mask))

    # sums in float32, also of gradients that come in less
    zeros = jnp.zeros(()), jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.float32), params)
    (value, grads), (metrics, tokens) = jax.lax.scan(add_rows, zeros, split_rows(batch, count))
    grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)
    return value, {k: _joined(k, v, tokens) for k, v in metrics.items()}, grads


def _joined(name: str, values: Float[Array, " n"], tokens: Array) -> Array:
    """One metric of several micro-batches: extremes stay extremes, means weigh their tokens."""
    extreme = {"max": jnp.max, "min": jnp.min}.get(name[-3:])
    if extreme:
        return extreme(values)
    return jnp.sum(values * tokens) / jnp.maximum(jnp.sum(tokens), 1)


def train_step(
    model: LanguageModel,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    config: StepConfig,
    state: TrainState,
    batch: TrainBatch,
) -> tuple[TrainState, dict[str, Array]]:
    """One update. An update whose gradient is not finite changes nothing but the step count."""
    value, metrics, grads = loss_and_gradients(model, objective, config, state.params, batch)
    norm = optax.tree.norm(grads)
    finite = jnp.isfinite(norm)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    updated = optax.apply_updates(state.params, updates)
    keep = lambda new, old: jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)  # noqa: E731
    state = TrainState(
        state.step + 1, keep(updated, state.params), keep(opt_state, state.opt_state)
    )
    return state, metrics | {
        "loss/total": value,
        "loss/grad_norm": norm,
        "loss/skipped": 1.0 - finite,
    }


def jit_step(
    model: LanguageModel,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    config: StepConfig,
    state: TrainState,
) -> Callable[[TrainState, TrainBatch], tuple[TrainState, dict[str, Array]]]:
    """`train_step` compiled for states placed like `state`, which it donates."""
    shardings = jax.tree.map(lambda x: x.sharding, state)
    return jax.jit(
        functools.partial(train_step, model, optimizer, objective, config),
        donate_argnums=0,
        out_shardings=(shardings, None),  # as it came in, or the second call would compile again
    )
