"""From scored completions to updates: old log-probs, advantages, one step per minibatch."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from r1reward_jax.rl.advantages import AdvantageConfig, compute_advantages
from r1reward_jax.sharding import put_batch
from r1reward_jax.train.objectives import Objective, StepConfig, policy_logprobs
from r1reward_jax.train.rollout_metrics import join
from r1reward_jax.train.step import jit_step
from r1reward_jax.types import LanguageModel, Params, TrainBatch, TrainState, batch_rows


@dataclass(frozen=True)
class UpdateConfig:
    """Hold what is done with a rollout batch; names as in configs/default.py."""

    rollout_batch: int
    """Samples of an iteration."""
    train_batch: int
    """Samples of an update."""
    epochs: int
    """Updates on each part of a rollout batch."""
    old_logp: str
    """Whose old log-probs are taken: trainer or sampler."""
    temperature: float
    """Of the samples, and so of the distribution that is trained."""
    advantages: AdvantageConfig
    objective: Objective

    @property
    def parts(self) -> int:
        """Parts of a rollout batch, one for each update of an epoch."""
        return self.rollout_batch // self.train_batch


@dataclass(frozen=True)
class Compiled:
    """Hold the jitted functions of an iteration."""

    config: UpdateConfig
    logprobs: Callable
    """(params, batch) -> log-probs [B, C]."""
    estimate: Callable
    """`compute_advantages` with its settings."""
    step: Callable
    """(state, batch) -> (state, metrics)."""


def compile_updates(
    config: UpdateConfig,
    step: StepConfig,
    model: LanguageModel,
    optimizer: Any,
    state: TrainState,
) -> Compiled:
    """Return the functions of an iteration for one model and for states placed like `state`."""
    # the ratio is that of the distribution which the samples are drawn from
    step = replace(step, temperature=config.temperature)
    return Compiled(
        config,
        jax.jit(lambda p, b: policy_logprobs(model, p, b, step)),
        jax.jit(functools.partial(compute_advantages, config.advantages)),
        jit_step(model, optimizer, config.objective, step, state),
    )


def split(batch: Any, count: int) -> list[Any]:
    """Split a batch into `count` equal parts, by rows. Parts are put on the mesh one by one:
    slicing a batch that lies there already would leave every device with all of its rows."""
    size = jax.tree.leaves(batch)[0].shape[0] // count
    return [batch_rows(batch, slice(k * size, (k + 1) * size)) for k in range(count)]


def prepare(
    compiled: Compiled,
    params: Params,
    reference: Params | None,
    parts: list[TrainBatch],
    totals: np.ndarray,
    mesh: Mesh,
) -> tuple[list[TrainBatch], dict[str, Array]]:
    """Put old log-probs and advantages into the parts of a rollout batch that come with the
    sampler's log-probs. Advantages are those of the whole batch."""
    if compiled.config.old_logp == "trainer":
        # the first update sees the policy that sampled, and its own log-probs are the old ones;
        # they are computed here only if something else asks for them
        asked = compiled.config.epochs > 1 or reference is not None
        parts = [
            p._replace(old_logp=put_batch(compiled.logprobs(params, p), mesh))
            if k or asked
            else p._replace(on_policy=put_batch(np.ones(p.on_policy.shape, bool), mesh))
            for k, p in enumerate(parts)
        ]
    old_logp, mask = (jnp.concatenate(x) for x in zip(*[(p.old_logp, p.mask) for p in parts]))
    ref_logp = old_logp
    if reference is not None:
        ref_logp = jnp.concatenate([compiled.logprobs(reference, p) for p in parts])
    kept, found = compiled.estimate(totals, old_logp, ref_logp, mask)
    gap = jnp.abs(old_logp - jnp.concatenate([p.sampler_logp for p in parts]))
    found["loss/sampler_gap_max"] = jnp.max(jnp.where(mask, gap, 0.0))
    kept = [put_batch(a, mesh) for a in split(kept, len(parts))]
    return [p._replace(advantages=a) for p, a in zip(parts, kept, strict=True)], found


def update_order(config: UpdateConfig, iteration: int, seed: int) -> list[int]:
    """Return which part of the rollout batch each update takes: all of them once per epoch, in
    their own order first, then shuffled."""
    rng = np.random.default_rng([seed, iteration, 1])
    later = [int(k) for _ in range(config.epochs - 1) for k in rng.permutation(config.parts)]
    return [*range(config.parts), *later]


def update(
    compiled: Compiled, state: TrainState, parts: list[TrainBatch], order: list[int]
) -> tuple[TrainState, dict[str, float], list[float]]:
    """Make one update per entry of `order`.

    Returns:
      The state, the updates' metrics, joined, and for each update 1.0 if it was skipped.
    """
    several = []
    for k in order:
        state, metrics = compiled.step(state, parts[k])
        several.append(metrics)
    several = jax.device_get(several)
    # only the first update sees the policy that sampled
    gap = {"loss/sampler_gap_max": float(several[0]["loss/sampler_gap_max"])}
    return state, join(several) | gap, [float(m["loss/skipped"]) for m in several]
