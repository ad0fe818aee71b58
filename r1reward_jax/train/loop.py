"""The RL loop (paper, section 4.2), read top to bottom like the data's way through the house:

records -> prompts -> rollout -> completions -> rewards -> advantages -> batch -> updates.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from r1reward_jax.prompts import TEMPLATES, evaluator_prompt
from r1reward_jax.rl.advantages import (
    filter_outliers,
    filter_released,
    kl_k1,
    returns,
    standardize,
    token_rewards,
)
from r1reward_jax.rl.logprobs import masked_mean
from r1reward_jax.rl.losses import AGGREGATES, LOSSES
from r1reward_jax.rollout.engine import Engine
from r1reward_jax.train.build import Policy, optimizer_for, step_config
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.mesh import make_mesh, put_batch
from r1reward_jax.train.metrics import MetricsLog, progress
from r1reward_jax.train.parity import require_parity, sampler_gaps
from r1reward_jax.train.rollouts import join, rollout_batch, rollout_metrics, times, write_rollouts
from r1reward_jax.train.scoring import score
from r1reward_jax.train.state import init_state
from r1reward_jax.train.step import batch_logprobs, jit_step
from r1reward_jax.types import (
    InputError,
    Judge,
    LanguageModel,
    Params,
    PreferenceRecord,
    TrainBatch,
    TrainState,
    batch_rows,
)

COLUMNS = (
    "reward/total",
    "reward/result",
    "reward/consistency",
    "reward/format",
    "rollout/tokens",
    "advantage/filtered_frac",
    "time/step_s",
)


@dataclass(frozen=True)
class AdvantageConfig:
    """Static settings of the advantages; names as in configs/default.py."""

    filter: str
    sigmas: float
    eps: float
    kl_coef: float


def records_of(records: Sequence[PreferenceRecord], iteration: int, size: int, seed: int) -> list:
    """The records of an iteration (from 0), every epoch permuted anew, half of them swapped."""
    order: Any = grain.MapDataset.range(len(records)).seed(seed).shuffle().repeat(None)
    swap = np.random.default_rng([seed, iteration]).permutation(size) < size // 2
    chosen = [records[order[iteration * size + i]] for i in range(size)]
    return [r.swapped() if s else r for r, s in zip(chosen, swap, strict=True)]


def advantages(
    config: AdvantageConfig,
    rewards: Float[Array, " B"],
    logp: Float[Array, "B C"],
    ref_logp: Float[Array, "B C"],
    mask: Bool[Array, "B C"],
) -> tuple[Float[Array, "B C"], dict[str, Array]]:
    """Rewards to filtered advantages, over the whole rollout batch, with their metrics."""
    kl = kl_k1(logp, ref_logp)
    x = returns(token_rewards(rewards, kl, mask, kl_coef=config.kl_coef), mask)
    z = standardize(x, mask, eps=config.eps)
    if config.filter == "paper":
        kept = filter_outliers(z, sigmas=config.sigmas)
    elif config.filter == "released":
        kept = filter_released(z, x, mask, sigmas=config.sigmas)
    else:
        kept = z
    mean = masked_mean(x, mask)
    return kept, {
        "advantage/filtered_frac": masked_mean(((kept == 0) & (z != 0)) * 1.0, mask),
        "advantage/mean": mean,
        "advantage/std": jnp.sqrt(masked_mean((x - mean) ** 2, mask)),
        "advantage/max_abs": jnp.max(jnp.abs(z)),
    }


def run_rl(
    config: ConfigDict,
    policy: Policy,
    records: Sequence[PreferenceRecord],
    engine: Engine,
    judge: Judge | None,
    *,
    log: MetricsLog,
    checkpoints: Checkpoints | None = None,
) -> Params:
    """StableReinforce; continues from the last checkpoint if there is one.

    Args:
      config: a whole config.
      policy: where to start from; with `rl.kl_coef` > 0 also the reference.
      records: labelled; the hard ones.
      engine: samples from the policy.
      judge: scores consistency; None leaves it at 0.
      log: where metrics and rollouts go.
      checkpoints: where to save and resume; None for neither.

    Returns:
      The trained parameters.
    """
    c, mesh = config.rl, make_mesh(**config.mesh)
    _check(config, records)
    minibatches = c.rollout_batch // c.train_batch
    optimizer = optimizer_for(config, c.lr, c.iterations * minibatches)
    state = init_state(policy.params, optimizer, policy.rules, mesh)
    state = (checkpoints and checkpoints.restore(state)) or state
    first = int(state.step) // minibatches
    log.rewind("rl", first)
    compiled = _compile(config, policy.model, optimizer, state)
    _check_parity(config, policy.processor, compiled, state.params, records, engine, mesh)
    weights = {k: c[k] for k in ("format_weight", "consistency_weight", "consistency_mode")}

    for iteration in progress(range(first, c.iterations), "rl"):
        clock = [time.perf_counter()]
        chosen = records_of(records, iteration, c.rollout_batch, config.seed)
        rollout = engine.generate(
            state.params,
            [evaluator_prompt(r, TEMPLATES[config.template]) for r in chosen],
            samples=1,
            temperature=c.temperature,
            seed=config.seed,
            first_row=iteration * c.rollout_batch,
        )
        clock.append(time.perf_counter())

        completions = [row[0] for row in rollout.completions]
        rewards, judged = score(completions, [r.preferred for r in chosen], judge, **weights)
        clock.append(time.perf_counter())

        batch = rollout_batch(rollout, policy.processor, engine.config.max_new_tokens)
        parts = [put_batch(part, mesh) for part in _split(batch, minibatches)]
        totals = np.asarray([r.total for r in rewards], np.float32)
        reference = policy.params if c.kl_coef else None
        parts, prepared = _prepare(compiled, state.params, reference, parts, totals, mesh)
        state, updated = _update(compiled, state, parts)
        prepared = jax.device_get(prepared)
        clock.append(time.perf_counter())

        values = updated | prepared | judged | rollout_metrics(rollout, rewards) | times(clock)
        log.write("rl", iteration + 1, values)
        log.show("rl", iteration + 1, values, COLUMNS)
        write_rollouts(log, iteration + 1, chosen, rollout, rewards)
        if checkpoints and (checkpoints.due(iteration + 1) or iteration + 1 == c.iterations):
            checkpoints.save(state)
    return state.params


@dataclass(frozen=True)
class Compiled:
    """The jitted functions of an iteration."""

    logprobs: Callable
    """(params, batch) -> log-probs [B, C]."""
    estimate: Callable
    """`advantages` with its settings."""
    step: Callable
    """(state, batch) -> (state, metrics)."""
    old_logp: str
    """Whose old log-probs are taken: trainer or sampler."""


def _compile(config: ConfigDict, model: LanguageModel, optimizer: Any, state: Any) -> Compiled:
    c, static = config.rl, step_config(config)
    settings = AdvantageConfig(c.filter, c.sigmas, c.eps, c.kl_coef)
    return Compiled(
        jax.jit(lambda p, b: batch_logprobs(model, p, b, static)[0]),
        jax.jit(functools.partial(advantages, settings)),
        jit_step(model, optimizer, _loss(c), static, state),
        c.old_logp,
    )


def _check_parity(
    config: ConfigDict,
    processor: Any,
    compiled: Compiled,
    params: Params,
    records: Sequence[PreferenceRecord],
    engine: Engine,
    mesh: Mesh,
) -> None:
    """Refuse to train where sampler and trainer disagree about the policy."""
    chosen = records_of(records, 0, config.rl.train_batch, config.seed)
    prompts = [evaluator_prompt(r, TEMPLATES[config.template]) for r in chosen]
    logprobs = lambda batch: compiled.logprobs(params, put_batch(batch, mesh))  # noqa: E731
    gaps = sampler_gaps(engine, params, prompts, processor, logprobs, seed=config.seed)
    require_parity(gaps, config.rl.max_start_gap)


def _split(batch: Any, count: int) -> list[Any]:
    """A batch in `count` equal parts, by rows. Parts are put on the mesh one by one: slicing a
    batch that lies there already would leave every device with all of its rows."""
    size = jax.tree.leaves(batch)[0].shape[0] // count
    return [batch_rows(batch, slice(k * size, (k + 1) * size)) for k in range(count)]


def _prepare(
    compiled: Compiled,
    params: Params,
    reference: Params | None,
    parts: list[TrainBatch],
    totals: np.ndarray,
    mesh: Mesh,
) -> tuple[list[TrainBatch], dict[str, Array]]:
    """Put old log-probs and advantages into the parts of a rollout batch that come with the
    sampler's log-probs. Advantages are those of the whole batch."""
    metrics = {}
    if compiled.old_logp == "trainer":
        recomputed = [compiled.logprobs(params, p) for p in parts]
        gaps = [
            jnp.max(jnp.where(p.mask, jnp.abs(p.old_logp - logp), 0.0))
            for p, logp in zip(parts, recomputed, strict=True)
        ]
        metrics["loss/sampler_gap"] = jnp.max(jnp.stack(gaps))
        parts = [p._replace(old_logp=logp) for p, logp in zip(parts, recomputed, strict=True)]
    old_logp, mask = (jnp.concatenate(x) for x in zip(*[(p.old_logp, p.mask) for p in parts]))
    ref_logp = old_logp
    if reference is not None:
        ref_logp = jnp.concatenate([compiled.logprobs(reference, p) for p in parts])
    kept, found = compiled.estimate(totals, old_logp, ref_logp, mask)
    kept = [put_batch(a, mesh) for a in _split(kept, len(parts))]
    parts = [p._replace(advantages=a) for p, a in zip(parts, kept, strict=True)]
    return parts, metrics | found


def _update(
    compiled: Compiled, state: TrainState, parts: list[TrainBatch]
) -> tuple[TrainState, dict[str, float]]:
    """One update per part of a rollout batch; their metrics, joined."""
    several = []
    for part in parts:
        state, metrics = compiled.step(state, part)
        several.append(metrics)
    several = jax.device_get(several)
    # only the first update sees the policy that sampled
    return state, join(several) | {"loss/sampler_gap": float(several[0]["loss/sampler_gap"])}


def _check(config: ConfigDict, records: Sequence[PreferenceRecord]) -> None:
    c = config.rl
    if not records:
        raise InputError("no records to train on; is the RL set empty after filtering?")
    if c.rollout_batch % c.train_batch:
        raise InputError(
            f"rl.rollout_batch {c.rollout_batch}: not a multiple of rl.train_batch {c.train_batch}"
        )
    allowed = {
        "loss": LOSSES,
        "aggregate": AGGREGATES,
        "filter": ("paper", "released", "none"),
        "old_logp": ("trainer", "sampler"),
        "consistency_mode": ("binary", "signed"),
    }
    for name, values in allowed.items():
        if c[name] not in values:
            raise InputError(f"rl.{name} is {c[name]!r}, expected one of {list(values)}")


def _loss(c: ConfigDict):
    """The loss of the config as (logp, batch) -> (loss, metrics)."""
    function = functools.partial(
        LOSSES[c.loss],
        aggregate=AGGREGATES[c.aggregate],
        clip_eps=c.clip_eps,
        min_ratio=c.min_ratio,
        max_ratio=c.max_ratio,
    )
    return lambda logp, batch: function(logp, batch.old_logp, batch.advantages, batch.mask)
