"""The cold start: imitation of written analyses, on completion tokens only (paper, section 4.1).

The same loop trains the tiny judge of the quickstart, whose completions are one word.
"""

import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from r1reward_jax.data.pipeline import batches
from r1reward_jax.train.batches import Example, encode_example, make_train_batch
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.mesh import make_mesh, put_batch
from r1reward_jax.train.metrics import MetricsLog, progress
from r1reward_jax.train.optimizer import make_optimizer, make_schedule
from r1reward_jax.train.state import init_state
from r1reward_jax.train.step import StepConfig, jit_step, sft_loss
from r1reward_jax.types import InputError, LanguageModel, Params

COLUMNS = ("loss/total", "loss/entropy", "loss/grad_norm", "time/step_s")


def step_config(config: ConfigDict) -> StepConfig:
    """The static settings of a training step."""
    dtype = jnp.dtype(config.model.compute_dtype)
    return StepConfig(chunk=config.step.chunk, remat=config.step.remat, compute_dtype=dtype)


def optimizer_for(config: ConfigDict, lr: float, steps: int):
    """The optimizer of a phase with `steps` updates."""
    o = config.optimizer
    schedule = make_schedule(lr, steps, warmup_share=o.warmup_share, final_share=o.final_share)
    return make_optimizer(
        schedule, b1=o.b1, b2=o.b2, weight_decay=o.weight_decay, clip_norm=o.clip_norm
    )


def run_sft(
    config: ConfigDict,
    model: LanguageModel,
    params: Params,
    processor: Any,
    examples: Sequence[Example],
    *,
    phase: str,
    rules: Any,
    steps: int,
    batch: int,
    lr: float,
    capacity: int,
    log: MetricsLog,
    checkpoints: Checkpoints | None = None,
) -> Params:
    """Train on examples; continues from the last checkpoint if there is one.

    Args:
      config: its optimizer, step, mesh, data and seed parts are read.
      model: the model's functions.
      params: where to start from.
      processor: of the model.
      examples: prompts and completions.
      phase: name in the metrics.
      rules: sharding rules of the model.
      steps: updates in all.
      batch: examples per update.
      lr: peak learning rate.
      capacity: longest completion in tokens.
      log: where metrics go.
      checkpoints: where to save and resume; None for neither.

    Returns:
      The trained parameters.
    """
    if not examples:
        raise InputError(f"{phase}: no examples to train on; is the file empty?")
    mesh = make_mesh(**config.mesh)
    optimizer = optimizer_for(config, lr, steps)
    state = init_state(params, optimizer, rules, mesh)
    state = (checkpoints and checkpoints.restore(state)) or state
    step = jit_step(model, optimizer, sft_loss, step_config(config), state)
    first = int(state.step)
    log.rewind(phase, first)
    data = batches(
        examples,
        size=batch,
        seed=config.seed,
        first=first,
        encode=lambda e: encode_example(e, processor),
        collate=lambda rows: make_train_batch(
            [prompt for prompt, _ in rows],
            [completion for _, completion in rows],
            processor,
            capacity=capacity,
        ),
        threads=config.data.threads,
    )
    reported, at = first, time.perf_counter()
    for number in progress(range(first + 1, steps + 1), phase):
        state, metrics = step(state, put_batch(next(data), mesh))
        if number % max(1, steps // 10) == 0 or number in (1, steps):
            metrics = jax.device_get(metrics)
            metrics.pop("loss/sampler_gap")  # there is no sampler here
            now = time.perf_counter()  # steps are dispatched ahead: only the mean since is true
            metrics["time/step_s"] = (now - at) / (number - reported)
            reported, at = number, now
            log.write(phase, number, metrics)
            log.show(phase, number, metrics, COLUMNS)
        if checkpoints and (checkpoints.due(number) or number == steps):
            checkpoints.save(state)
    return state.params
