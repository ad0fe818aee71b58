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
from r1reward_jax.types import LanguageModel, Params, TrainBatch, TrainState

Loss = Callable[[Array, TrainBatch], tuple[Array, dict[str, Array]]]
"""(log-probs [B, C], batch) -> (loss, metrics)."""


@dataclass(frozen=True)
class StepConfig:
    """What a step needs besides its loss."""

    chunk: int
    """Positions per chunk of the output head."""
    remat: bool
    """Recompute layers in the backward pass."""
    compute_dtype: Any
    """Dtype of the forward pass; parameters stay in theirs."""


def batch_logprobs(
    model: LanguageModel, params: Params, batch: TrainBatch, config: StepConfig
) -> tuple[Float[Array, "B C"], Float[Array, "B C"]]:
    """Log-probabilities and entropies of a batch's completion tokens; images included."""
    params = jax.tree.map(lambda p: p.astype(config.compute_dtype), params)
    hidden = model.hidden(params, batch.inputs, remat=config.remat)
    hidden = completion_hidden(hidden, batch.prompt_lengths, batch.completions.shape[1])
    return token_logprobs(hidden, model.head(params), batch.completions, chunk=config.chunk)


def sft_loss(logp: Float[Array, "B C"], batch: TrainBatch) -> tuple[Array, dict[str, Array]]:
    """Mean negative log-likelihood of the completion tokens."""
    return -masked_mean(logp, batch.mask), {}


def train_step(
    model: LanguageModel,
    optimizer: optax.GradientTransformation,
    loss: Loss,
    config: StepConfig,
    state: TrainState,
    batch: TrainBatch,
) -> tuple[TrainState, dict[str, Array]]:
    """One update. An update whose gradient is not finite changes nothing but the step count."""

    def objective(params):
        logp, entropy = batch_logprobs(model, params, batch, config)
        value, metrics = loss(logp, batch)
        return value, metrics | {
            "loss/entropy": masked_mean(entropy, batch.mask),
            "loss/sampler_gap": jnp.max(jnp.where(batch.mask, jnp.abs(logp - batch.old_logp), 0.0)),
        }

    (value, metrics), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
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
    loss: Loss,
    config: StepConfig,
    state: TrainState,
) -> Callable[[TrainState, TrainBatch], tuple[TrainState, dict[str, Array]]]:
    """`train_step` compiled for states placed like `state`, which it donates."""
    shardings = jax.tree.map(lambda x: x.sharding, state)
    return jax.jit(
        functools.partial(train_step, model, optimizer, loss, config),
        donate_argnums=0,
        out_shardings=(shardings, None),  # as it came in, or the second call would compile again
    )
