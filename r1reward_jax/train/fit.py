"""The loop of supervised training: one update per batch of endless data, resumable."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from r1reward_jax.console import progress
from r1reward_jax.train.build import Policy, optimizer_for, policy_mesh, step_config
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.guard import Guard
from r1reward_jax.train.mesh import put_batch
from r1reward_jax.train.metrics import MetricsLog
from r1reward_jax.train.objectives import Objective
from r1reward_jax.train.state import init_state
from r1reward_jax.train.step import jit_step
from r1reward_jax.train.timeline import profiled
from r1reward_jax.types import Params


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
