"""Supervised training: one update per batch of endless data, resumable; and the cold start, which
imitates written analyses on completion tokens only (paper, section 4.3).

The same loop trains the tiny judge of the quickstart, whose completions are one word, and the
Bradley-Terry baseline.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from r1reward_jax.console import progress
from r1reward_jax.data.pipeline import batches
from r1reward_jax.data.preferences import Annotation
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.runs.profiling import StepClock, memory, profiled
from r1reward_jax.sharding import put_batch, require_rows
from r1reward_jax.stopping import Stopped
from r1reward_jax.train import ending
from r1reward_jax.train.batches import (
    Example,
    cold_start_example,
    encode_example,
    make_train_batch,
    tokens_in,
)
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.nan_guard import Guard
from r1reward_jax.train.objectives import NLL, Objective
from r1reward_jax.train.optimizer import init_state, learning_rate
from r1reward_jax.train.setup import Setup
from r1reward_jax.train.start_point import Evaluate, measure_start
from r1reward_jax.train.step import jit_step
from r1reward_jax.types import InputError, Params, TrainBatch

COLUMNS = ("loss/total", "loss/entropy", "loss/grad_norm", "time/step_s")
HELDOUT = "eval/accuracy"
"""Column of the running table where held-out records are measured."""


@dataclass(frozen=True)
class PhaseConfig:
    """Hold what differs between phases of supervised training."""

    steps: int
    """Updates in all."""
    batch: int
    """Examples per update."""
    lr: float
    """Peak learning rate."""
    max_tokens: int
    """Longest completion to imitate, or longest response to score."""


def fit(
    setup: Setup,
    config: PhaseConfig,
    objective: Objective,
    data: Callable[[int], Iterator[Any]],
    *,
    phase: str,
    columns: Sequence[str],
    log: MetricsLog,
    checkpoints: Checkpoints | None,
    evaluate: Evaluate | None = None,
) -> Params:
    """Minimise an objective; resumes from the newest checkpoint if there is one.

    Args:
      setup: where to start from, and how steps are made.
      config: steps and learning rate.
      objective: what is minimised.
      data: from the number of batches to leave out to the host batches behind them.
      phase: name in the metrics.
      columns: metrics of the running table.
      log: where metrics are written.
      checkpoints: where to save and resume; None for neither.
      evaluate: measured before the first update and with every save; the save with the best
        eval/accuracy is kept.

    Returns:
      The trained parameters.

    Raises:
      DivergedError: the gradients stay non-finite.
      Stopped: the process was asked to end, and the state is saved.
    """
    policy, steps = setup.policy, config.steps
    columns = (*columns[:-1], HELDOUT, columns[-1]) if evaluate else columns
    optimizer = setup.optimizer.make(config.lr, steps)
    state = init_state(policy.params, optimizer, policy.rules, setup.mesh)
    state = (checkpoints and checkpoints.restore(state)) or state
    step = jit_step(policy.model, optimizer, objective, setup.step, state)
    first = int(state.step)
    log.begin(phase, first)
    ending.make_up_evaluation(
        phase, state, first, log=log, checkpoints=checkpoints, evaluate=evaluate
    )
    guard, last, batches = Guard(setup.optimizer.max_skipped, log, checkpoints), None, data(first)
    if not first:
        start = {"log": log, "phase": phase, "steps": steps, "columns": columns}
        measure_start(evaluate, state.params, **start)
    schedule = setup.optimizer.schedule(config.lr, steps)
    reported, clock = first, StepClock()
    for number in progress(range(first + 1, steps + 1), phase, steps, first):
        try:
            ending.check(number)
        except Stopped:
            if last:
                guard.watch(number - 1, float(last[0]), last[1], state)
            if checkpoints:
                checkpoints.interrupt(state)
            raise
        rows = next(batches)
        clock.tokens += tokens_in(rows)
        with profiled(setup.profile_step, number, setup.workdir):
            state, metrics = step(state, put_batch(rows, setup.mesh))
            if number == setup.profile_step:
                jax.block_until_ready(metrics)
        # the guard reads the update before this one: reading this one's metrics would make the host
        # wait for the devices at every step
        if last:
            guard.watch(number - 1, float(last[0]), last[1], state)
        last = metrics["loss/skipped"], rows
        if checkpoints:
            checkpoints.unsaved()
        due = checkpoints and (checkpoints.due(number) or number == steps)
        measure = evaluate if due else None
        shown = measure or number % max(1, steps // 10) == 0 or number in (1, steps)
        measured = {}
        if shown:
            metrics = jax.device_get(metrics)  # waits for the devices: the clock reads after it
            metrics |= clock.metrics(number - reported) | memory()
            metrics["optimizer/lr"] = learning_rate(schedule, state)
            try:
                measured = measure(state.params) if measure else {}
            except Stopped:
                if checkpoints:
                    checkpoints.interrupt(state, metrics)
                raise
            log.write(phase, number, metrics | measured)
            log.show(phase, number, steps, metrics | measured, columns)
        if checkpoints and due:
            checkpoints.save(state, measured.get(HELDOUT))
        if shown:
            reported, clock = number, StepClock()
    if last:
        guard.watch(steps, float(last[0]), last[1], state)
    return state.params


def cold_start(
    setup: Setup,
    config: PhaseConfig,
    annotations: Sequence[Annotation],
    *,
    phase: str,
    log: MetricsLog,
    checkpoints: Checkpoints,
    evaluate: Evaluate | None = None,
) -> Params:
    """Train on a teacher's analyses (`run_sft`), which all fit (`train.preflight`)."""
    require_rows(setup.mesh, {"sft.batch": config.batch})
    examples = [cold_start_example(a, setup.template) for a in annotations]
    return run_sft(
        setup, config, examples, phase=phase, log=log, checkpoints=checkpoints, evaluate=evaluate
    )


def run_sft(
    setup: Setup,
    config: PhaseConfig,
    examples: Sequence[Example],
    *,
    phase: str,
    log: MetricsLog,
    checkpoints: Checkpoints | None = None,
    evaluate: Evaluate | None = None,
) -> Params:
    """Imitate the completions of examples; resumes from the newest checkpoint if there is one.

    Args:
      setup: where to start from, and how steps are made.
      config: of the phase.
      examples: prompts and completions.
      phase: name in the metrics.
      log: where metrics are written.
      checkpoints: where to save and resume; None for neither.
      evaluate: measured with every save (`fit`).

    Returns:
      The trained parameters.

    Raises:
      InputError: there are no examples, or one does not fit its bucket.
      DivergedError: the gradients stay non-finite.
    """
    if not examples:
        raise InputError(f"{phase}: no examples to train on; is the file empty?")
    processor = setup.policy.processor

    def data(first: int) -> Iterator[TrainBatch]:
        """Yield shuffled batches from the `first` on, encoded and padded."""
        return batches(
            examples,
            size=config.batch,
            seed=setup.seed,
            first=first,
            encode=lambda e: encode_example(e, processor),
            collate=lambda rows: make_train_batch(
                [prompt for prompt, _ in rows],
                [completion for _, completion in rows],
                processor,
                capacity=config.max_tokens,
            ),
            threads=setup.threads,
        )

    return fit(
        setup,
        config,
        NLL,
        data,
        phase=phase,
        columns=COLUMNS,
        log=log,
        checkpoints=checkpoints,
        evaluate=evaluate,
    )
