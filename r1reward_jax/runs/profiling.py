"""When the phases of a step begin and end, and the profiler's trace of one."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax

Span = tuple[str, float, float]
"""A phase, its beginning and its end, in seconds of `time.perf_counter`."""


class Timeline:
    """The phases of one step; they may overlap."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.spans: list[Span] = []

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the block as a phase; profiler traces show it under its name."""
        began = time.perf_counter()
        with jax.profiler.TraceAnnotation(name):
            yield
        self.spans.append((name, began, time.perf_counter()))

    def add(self, name: str, spans: Sequence[tuple[float, float]]) -> None:
        """Add phases that were timed elsewhere."""
        self.spans += [(name, begin, end) for begin, end in spans]

    def seconds(self, name: str) -> float:
        """Return the time of all spans of a phase."""
        return sum(end - begin for phase, begin, end in self.spans if phase == name)

    def rows(self) -> list[list[Any]]:
        """Return [phase, begin, end] in order, in seconds since the step began."""
        since = self.began
        ordered = sorted(self.spans, key=lambda span: span[1])
        return [[name, round(b - since, 6), round(e - since, 6)] for name, b, e in ordered]


@contextlib.contextmanager
def profiled(profile_step: int, step: int, workdir: str) -> Iterator[None]:
    """Capture a JAX profiler trace below `workdir/trace` if `step` is the one that it was asked
    for; the block must wait for its own work."""
    if step != profile_step:
        yield
        return
    with jax.profiler.trace(f"{workdir}/trace"):
        yield
