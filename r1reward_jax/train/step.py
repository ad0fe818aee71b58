"""The pure training step: loss, gradients over micro-batches, one update. The loops jit it; an
`Objective` says what is minimised."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from r1reward_jax.runs.metrics import reduce_metric
from r1reward_jax.train.objectives import Objective, StepConfig, micro_batches, split_rows
from r1reward_jax.types import LanguageModel, Params, TrainState


def loss_and_gradients(
    model: LanguageModel, objective: Objective, config: StepConfig, params: Params, batch: Any
) -> tuple[Array, dict[str, Array], Params]:
    """Return loss, metrics and gradients of a batch, summed over its micro-batches.

    All parts are divided by the counts of the whole batch, so that splitting changes nothing but
    the memory that it takes.
    """
    total = objective.count(batch)

    def of_rows(params: Params, rows: Any):
        kept = {k: jax.lax.stop_gradient(v) if k in config.frozen else v for k, v in params.items()}
        return objective.loss(model, kept, rows, total, config)

    gradient = jax.value_and_grad(of_rows, has_aux=True)
    count = micro_batches(batch, config)
    if count == 1:
        (value, metrics), grads = gradient(params, batch)
        return value, metrics, grads

    def add_rows(sums, rows: Any):
        (value, metrics), grads = gradient(params, rows)
        return jax.tree.map(jnp.add, sums, (value, grads)), (metrics, objective.weight(rows))

    # sums in float32, also of gradients that come in less
    zeros = jnp.zeros(()), jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.float32), params)
    (value, grads), (metrics, weights) = jax.lax.scan(add_rows, zeros, split_rows(batch, count))
    grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)
    return value, {k: reduce_metric(k, v, weights) for k, v in metrics.items()}, grads


def train_step(
    model: LanguageModel,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    config: StepConfig,
    state: TrainState,
    batch: Any,
) -> tuple[TrainState, dict[str, Array]]:
    """Make one update. An update whose gradient is not finite changes nothing but the step
    count."""
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
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, Array]]]:
    """Compile `train_step` for states placed like `state`, which it donates."""
    shardings = jax.tree.map(lambda x: x.sharding, state)
    return jax.jit(
        functools.partial(train_step, model, optimizer, objective, config),
        donate_argnums=0,
        out_shardings=(shardings, None),  # as it came in, or the second call would compile again
    )
