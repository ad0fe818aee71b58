"""The running table of a phase: a row per report, and the time that is left without the time that
compilation took."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from r1reward_jax.console import say

HEADS = {
    "eval/accuracy": "held-out acc",
    "reward/total": "reward",
    "reward/result": "right",
    "loss/total": "loss",
    "scalar/accuracy": "accuracy",
}
"""Heads of columns whose metric is called like another one, or says little without its group."""
LEAST = 10
"""Characters of a column at least."""


class RunningTable:
    """Rows of a phase's metrics, as they come."""

    def __init__(self, compile_seconds: Callable[[], float]) -> None:
        """
        Args:
          compile_seconds: the seconds of compilation so far.
        """
        self._compile_seconds = compile_seconds
        self._columns: tuple[str, ...] = ()
        self.begin(0)

    def begin(self, step: int) -> None:
        """Begin a phase, or resume it behind `step`."""
        self._begun, self._steady = step, False
        self._count_from(step)

    def _count_from(self, step: int) -> None:
        self._first, self._since = step, time.perf_counter()
        self._compiled = self._compile_seconds()

    def row(
        self, phase: str, step: int, of: int, values: Mapping[str, Any], columns: Iterable[str]
    ) -> None:
        """Print a row, and a header whenever the columns change. What was not measured at this step
        is left blank.

        Args:
          phase: of the run.
          step: of the phase; 0 stands for what it starts from.
          of: steps in all.
          values: metrics of the step.
          columns: those that are shown.
        """
        columns = tuple(columns)
        if columns != self._columns:
            self._columns = columns
            heads = "".join(f"{_head(c):>{_width(c)}}" for c in columns)
            say(f"{'phase':>12}{'step':>12}{heads}{'left':>9}")
        cells = (f"{float(values[c]):.4f}" if c in values else "" for c in columns)
        shown = "".join(f"{cell:>{_width(c)}}" for cell, c in zip(cells, columns, strict=True))
        say(f"{phase:>12}{f'{step}/{of}':>12}{shown}{self._left(step, of):>9}".rstrip())

    def _left(self, step: int, of: int) -> str:
        """Return the time that the other steps take if nothing is compiled any more. The first row
        has none: besides compiling, first steps load programs, open files and start threads."""
        if not self._steady:
            self._steady = step > self._begun  # what comes before the first update is no step
            self._count_from(step)
            return clock(0) if step == of else ""
        compiled = self._compile_seconds() - self._compiled
        spent = max(0.0, time.perf_counter() - self._since - compiled)
        return clock(spent / (step - self._first) * (of - step))


def _head(column: str) -> str:
    return HEADS.get(column, column.split("/")[1])


def _width(column: str) -> int:
    return max(LEAST, len(_head(column)) + 2)


def clock(seconds: float) -> str:
    """Return 12.3 hours as 12:18:00, a minute as 1:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
