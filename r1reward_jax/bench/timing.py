"""Two contestants side by side: interleaved rounds, medians, ratios; and the file they go to.

Timings of shared machines swing, by the minute and by the neighbours. So the contestants of a
comparison take turns within one process, and what counts is the ratio of their medians.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
from etils import epath

from r1reward_jax.console import say
from r1reward_jax.runs.provenance import about
from r1reward_jax.types import InputError


@dataclass(frozen=True)
class Row:
    """One comparison."""

    name: str
    ours_s: float
    """Median seconds of our call."""
    other_s: float
    """Median seconds of the other one's."""
    speedup: float
    """other_s / ours_s; above 1 we are faster."""
    peak_bytes: int | None
    """Arguments, results and temporaries of our compiled program, where known."""


def compare(
    name: str,
    ours: Callable[[], Any],
    other: Callable[[], Any],
    *,
    rounds: int,
    peak_bytes: int | None = None,
) -> Row:
    """Time two calls in turns; each must return only when its work is done.

    Args:
      name: of the row.
      ours: our call; its result is waited for.
      other: the other call.
      rounds: of both; one more, which is not timed, comes first.
      peak_bytes: of our program.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        # who goes first changes: neither always finds the caches of the other
        for side in (0, 1) if number % 2 else (1, 0):
            started = time.perf_counter()
            jax.block_until_ready((ours, other)[side]())
            if number:
                times[side].append(time.perf_counter() - started)
    mine, theirs = (statistics.median(t) for t in times)
    row = Row(name, mine, theirs, theirs / mine, peak_bytes)
    say(f"{name:<28} {row.ours_s:>9.4f} {row.other_s:>9.4f} {row.speedup:>8.2f}")
    return row


def refuse_sizes(bench: str, settings: Any) -> None:
    """Raise InputError unless the numbers of a dataclass of settings make a model."""
    sizes = asdict(settings)
    wrong = [f"{name} {value}" for name, value in sizes.items() if value < 1]
    wrong += [f"width {sizes['width']}: no multiple of 64"] if sizes["width"] % 64 else []
    wrong += [f"vocab {sizes['vocab']}: expected at least 400"] if sizes["vocab"] < 400 else []
    if wrong:
        raise InputError(f"{bench}: " + "; ".join(wrong))


def show_header(other: str) -> None:
    """The head of the table that `compare` prints line by line."""
    say(f"{'':<28} {'ours, s':>9} {other + ', s':>9} {'speedup':>8}")


def peak_bytes(compiled: Any) -> int | None:
    """Return the bytes of a compiled program's arguments, results and temporaries; None where they
    are not known."""
    m = compiled.memory_analysis()
    if m is None:
        return None
    used = m.argument_size_in_bytes + m.output_size_in_bytes + m.temp_size_in_bytes
    return used - m.alias_size_in_bytes


def write(
    path: str, name: str, settings: dict[str, Any], rows: Sequence[Row], other: dict[str, Any]
) -> None:
    """The rows as JSON, with the settings, the machine and versions, and what `other` ran on."""
    body = {
        "bench": name,
        "settings": settings,
        "machine": about(),
        "other": other,
        "rows": [asdict(row) for row in rows],
    }
    target = epath.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(body, indent=2) + "\n")
