"""When the phases of a step begin and end, the profiler's trace of one, how long was compiled, and
how much memory is in use."""

import contextlib
import functools
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax

Span = tuple[str, float, float]
"""A phase, its beginning and its end, in seconds of `time.perf_counter`."""


class Timeline:
    """The phases of one step; they may overlap."""

    def __init__(self) -> None:
        self.began, self.compiled = time.perf_counter(), compile_seconds()
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


class _Compilation:
    """The time in which JAX has traced, lowered or compiled something."""

    def __init__(self) -> None:
        self._lock, self._spans = threading.Lock(), list[tuple[float, float]]()
        self.seconds = 0.0

    def add(self, event: str, seconds: float) -> None:
        """Add an event that ends now. Traces lie within traces, and threads overlap: what overlaps
        counts once."""
        if not event.startswith("/jax/core/compile/"):
            return
        end = time.perf_counter()
        begin = end - seconds
        with self._lock:
            while self._spans and self._spans[-1][1] > begin:
                earlier, until = self._spans.pop()
                self.seconds -= until - earlier
                begin, end = min(begin, earlier), max(end, until)
            self._spans.append((begin, end))
            self.seconds += end - begin


@functools.cache
def _compilation() -> _Compilation:
    found = _Compilation()
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration_secs, **_: found.add(event, duration_secs)
    )
    return found


def compile_seconds() -> float:
    """Return the seconds of compilation since the first call."""
    return _compilation().seconds


class StepClock:
    """The time of some steps of supervised training, from when this is made. Steps are dispatched
    ahead of the devices: only the mean up to a step whose metrics were waited for is true."""

    def __init__(self) -> None:
        self._began, self._compiled = time.perf_counter(), compile_seconds()
        self.tokens = 0
        """Trained on in these steps, without padding."""

    def metrics(self, steps: int) -> dict[str, float]:
        """Return the metrics of time of so many steps that end now."""
        seconds = time.perf_counter() - self._began
        return {
            "time/step_s": seconds / steps,
            "time/compile_s": compile_seconds() - self._compiled,
            "time/trained_tokens_per_s": self.tokens / seconds,
        }


GIB = 1 << 30


def memory() -> dict[str, float]:
    """Return the metrics of memory, those that this machine tells: CPU devices tell nothing, and
    only Linux has the process's resident memory in a file."""
    stats = [found for d in jax.local_devices() if (found := d.memory_stats())]
    names = {"bytes_in_use": "memory/device_gib", "peak_bytes_in_use": "memory/device_peak_gib"}
    found = {
        metric: max(s[name] for s in stats) / GIB
        for name, metric in names.items()
        if stats and all(name in s for s in stats)
    }
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/statm") as file:
        found["memory/host_gib"] = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / GIB
    return found
