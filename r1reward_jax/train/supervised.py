"""The loop of supervised training: one update per batch of endless data, resumable."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from r1reward_jax.build import Policy, make_checkpoints, optimizer_for, policy_mesh, step_config
from r1reward_jax.console import progress
from r1reward_jax.data.pipeline import batches
from r1reward_jax.data.preferences import Annotation
from r1reward_jax.prompts import TEMPLATES
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.runs.profiling import profiled
from r1reward_jax.sharding import put_batch, require_rows
from r1reward_jax.train.batches import (
    Example,
    cold_start_example,
    encode_example,
    example_misfit,
    make_train_batch,
)
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.length_filter import fitting
from r1reward_jax.train.nan_guard import Guard
from r1reward_jax.train.objectives import NLL, Objective
from r1reward_jax.train.optimizer import init_state
from r1reward_jax.train.step import jit_step
from r1reward_jax.types import InputError, Params, TrainBatch


def fit(
    config: ConfigDict,
    policy: Policy,
    objective: Objective,
    data: Callable[[int], Iterator[Any]],
    *,
    phase: str,
    steps: int,
    lr: float,
    columns: Sequence[str],
    log: MetricsLog,
    checkpoints: Checkpoints | None,
    evaluate: Callable[[Params], dict[str, float]] | None = None,
) -> Params:
    """Minimise an objective; continues from the last checkpoint if there is one.

    Args:
      config: its optimizer, step and mesh parts are read.
      policy: the model and where to start from.
      objective: what is minimised.
      data: from the number of batches to leave out to the host batches behind them.
      phase: name in the metrics.
      steps: updates in all.
      lr: peak learning rate.
      columns: metrics of the running table.
      log: where metrics go.
      checkpoints: where to save and resume; None for neither.
      evaluate: metrics of parameters, measured with every save; the save with the best
        eval/accuracy is kept.

    Returns:
      The trained parameters.

    Raises:
      DivergedError: the gradients stay non-finite.
    """
    mesh = policy_mesh(config)
    optimizer = optimizer_for(config, lr, steps)
    state = init_state(policy.params, optimizer, policy.rules, mesh)
    state = (checkpoints and checkpoints.restore(state)) or state
    step = jit_step(policy.model, optimizer, objective, step_config(config), state)
    first = int(state.step)
    log.begin(phase, first)
    guard, last, batches = Guard(config.optimizer.max_skipped, log, checkpoints), None, data(first)
    reported, at = first, time.perf_counter()
    for number in progress(range(first + 1, steps + 1), phase, steps, first):
        rows = next(batches)
        with profiled(config, number):
            state, metrics = step(state, put_batch(rows, mesh))
            if number == config.profile_step:
                jax.block_until_ready(metrics)
        if last:  # of the update before: steps are dispatched ahead, this one still runs
            guard.watch(number - 1, float(last[0]), last[1], state)
        last = metrics["loss/skipped"], rows
        due = checkpoints and (checkpoints.due(number) or number == steps)
        found = evaluate(state.params) if due and evaluate else {}
        if found or number % max(1, steps // 10) == 0 or number in (1, steps):
            metrics = jax.device_get(metrics) | found
            now = time.perf_counter()  # steps are dispatched ahead: only the mean since is true
            metrics["time/step_s"] = (now - at) / (number - reported)
            log.write(phase, number, metrics)
            log.show(phase, number, steps, metrics, columns)
            reported, at = number, time.perf_counter()
        if checkpoints and due:
            checkpoints.save(state, found.get("eval/accuracy"))
    if last:
        guard.watch(steps, float(last[0]), last[1], state)
    return state.params


COLUMNS = ("loss/total", "loss/entropy", "loss/grad_norm", "time/step_s")


def cold_start(
    config: ConfigDict,
    policy: Policy,
    annotations: Sequence[Annotation],
    *,
    phase: str,
    log: MetricsLog,
    evaluate: Callable[[Params], dict[str, float]] | None = None,
    **changed: Any,
) -> Params:
    """`run_sft` on a teacher's analyses with the settings of `config.sft`, or `changed` ones. Those
    that are too long are counted and skipped (`train.fitting`)."""
    c, template = config.sft, TEMPLATES[config.template]
    settings = {"steps": c.steps, "batch": c.batch, "lr": c.lr} | changed
    require_rows(policy_mesh(config), {"sft.batch": settings["batch"]})
    examples = [cold_start_example(a, template) for a in annotations]
    with make_checkpoints(config, phase) as checkpoints:
        if checkpoints.newest() != settings["steps"]:  # else there is nothing left to do
            examples = fitting(
                examples,
                lambda example: example_misfit(example, policy.processor, c.max_completion_tokens),
                lambda example: example.name,
                phase=phase,
                workdir=config.workdir,
                threads=config.data.threads,
            )
        return run_sft(
            config,
            policy,
            examples,
            phase=phase,
            capacity=c.max_completion_tokens,
            log=log,
            checkpoints=checkpoints,
            evaluate=evaluate,
            **settings,
        )


def run_sft(
    config: ConfigDict,
    policy: Policy,
    examples: Sequence[Example],
    *,
    phase: str,
    steps: int,
    batch: int,
    lr: float,
    capacity: int,
    log: MetricsLog,
    checkpoints: Checkpoints | None = None,
    evaluate: Callable[[Params], dict[str, float]] | None = None,
) -> Params:
    """Train on examples; continues from the last checkpoint if there is one.

    Args:
      config: its optimizer, step, mesh, data and seed parts are read.
      policy: the model and where to start from.
      examples: prompts and completions.
      phase: name in the metrics.
      steps: updates in all.
      batch: examples per update.
      lr: peak learning rate.
      capacity: longest completion in tokens.
      log: where metrics go.
      checkpoints: where to save and resume; None for neither.
      evaluate: metrics of parameters, measured with every save (`fit`).

    Returns:
      The trained parameters.

    Raises:
      InputError: there are no examples, or one does not fit its bucket.
      DivergedError: the gradients stay non-finite.
    """
    if not examples:
        raise InputError(f"{phase}: no examples to train on; is the file empty?")

    def data(first: int) -> Iterator[TrainBatch]:
        return _batches(config, policy.processor, examples, batch, first, capacity)

    return fit(
        config,
        policy,
        NLL,
        data,
        phase=phase,
        steps=steps,
        lr=lr,
        columns=COLUMNS,
        log=log,
        checkpoints=checkpoints,
        evaluate=evaluate,
    )


def _batches(
    config: ConfigDict,
    processor: Any,
    examples: Sequence[Example],
    size: int,
    first: int,
    capacity: int,
) -> Iterator[TrainBatch]:
    """Shuffled batches from the `first` on, encoded and padded."""
    return batches(
        examples,
        size=size,
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
