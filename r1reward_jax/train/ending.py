"""How a training ends when it is asked to: with a checkpoint, from which it resumes to the same end
bit for bit.

Between updates, or in a rollout (an iteration depends on its state, its number and the seed only),
the state at hand is saved. In an evaluation the state is saved with the metrics of its step, and
the evaluation is made up for when the run resumes.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from r1reward_jax import stopping
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.stopping import Stopped
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.types import Params, TrainState

AGREE_EVERY = 10
"""Updates between two agreements of several processes: an agreement waits for the devices."""


def check(number: int = 0) -> None:
    """Raise Stopped if this process was asked to end; of several processes, if any of them was:
    all end at the same update, or those that go on would wait for the others for ever.

    Args:
      number: of the update; several processes agree at every tenth only.
    """
    if jax.process_count() == 1:
        stopping.check()
        return
    if number % AGREE_EVERY == 0:
        first = int(np.max(multihost_utils.process_allgather(np.int32(stopping.asked()))))
        if first:
            raise Stopped(first)


def make_up_evaluation(
    phase: str,
    state: TrainState,
    step: int,
    *,
    log: MetricsLog,
    checkpoints: Checkpoints | None,
    evaluate: Callable[[Params], dict[str, float]] | None,
) -> None:
    """Write the metrics of the step that a run resumes behind, if its evaluation was interrupted.

    Args:
      phase: of the run.
      state: as restored.
      step: in the numbers of the log.
      log: has no line of that step yet.
      checkpoints: the state is among them.
      evaluate: of the loop.
    """
    values: dict[str, Any] | None = checkpoints.interrupted(state) if checkpoints else None
    if not checkpoints or values is None:
        return
    values |= evaluate(state.params) if evaluate else {}
    log.write(phase, step, values)
    checkpoints.replace(state, values.get("eval/accuracy"))
