"""The point before the first update: what training starts from, on the held-out records."""

from collections.abc import Callable, Sequence

from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.types import Params

Evaluate = Callable[[Params], dict[str, float]]
"""From parameters to their metrics on held-out records."""


def measure_start(
    evaluate: Evaluate | None,
    params: Params,
    *,
    log: MetricsLog,
    phase: str,
    steps: int,
    columns: Sequence[str],
) -> None:
    """Write and show step 0 of a phase, unless an earlier start has done so.

    Args:
      evaluate: None without held-out records.
      params: before the first update.
      log: of the run; the phase has begun.
      phase: name in the metrics.
      steps: of the phase.
      columns: of the running table.
    """
    if evaluate is None or log.has(phase, 0):
        return
    measured = evaluate(params)
    log.write(phase, 0, measured)
    log.show(phase, 0, steps, measured, columns)
