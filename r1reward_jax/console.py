"""What a person at a terminal sees: lines, warnings and progress bars.

Elsewhere every line is plain and there are no bars. rich draws the bars; it is imported with the
first of them, as every command imports this file.
"""

import contextlib
import logging
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO, TypeVar

from r1reward_jax.errors import printable

T = TypeVar("T")

QUIET, NORMAL, VERBOSE = -1, 0, 1
_level = NORMAL
_counts: Counter[str] | None = None
"""How often each warning came within `counted_warnings`; None outside."""
_counting = threading.Lock()
_bars: Any = None
"""The bars on the screen, an object of rich; None if there are none."""


def set_level(level: int) -> None:
    """Choose how much is printed: QUIET (warnings and results only), NORMAL or VERBOSE."""
    global _level
    _level = level


def say(text: str) -> None:
    """Print a line about what happens, without breaking a progress bar; not if quiet."""
    if _level >= NORMAL:
        result(text)


def detail(text: str) -> None:
    """Print a line that only a verbose command shows."""
    if _level >= VERBOSE:
        result(text)


def result(text: str) -> None:
    """Print what a command was asked for, also if quiet."""
    _print(printable(text, most=None), sys.stdout)


def note(text: str) -> None:
    """Print a remark to stderr, where it is not taken for a result; not if quiet."""
    if _level >= NORMAL:
        _print(coloured(f"note: {one(text)}", "2"), sys.stderr)


def warn(text: str, *, kind: str = "") -> None:
    """Print a warning to stderr, also if quiet. Within `counted_warnings` only the first of several
    is printed.

    Args:
      text: the warning.
      kind: what several warnings have in common that differ in numbers only; empty for `text`.
    """
    if _counts is not None:
        kind = kind or text
        with _counting:
            _counts[kind] += 1
            if _counts[kind] > 1:
                return
    _print(coloured(f"warning: {one(text)}", "33"), sys.stderr)


def one(message: str) -> str:
    """Return a message whose further lines cannot be taken for other messages: they are indented,
    and what somebody's data have brought along is escaped."""
    return printable(message).replace("\n", "\n  ")


@contextlib.contextmanager
def counted_warnings() -> Iterator[None]:
    """Print each warning once, and at the end of the block how often the others came again."""
    global _counts
    outer, _counts = _counts, Counter[str]()
    try:
        yield
    finally:
        counts, _counts = _counts, outer
        for kind, count in counts.items():
            if count > 1:
                times = "once" if count == 2 else f"{count - 1:,} times"
                _print(coloured(f"warning: {times} more: {one(kind)}", "33"), sys.stderr)


def adopt_logger(name: str) -> None:
    """Let what a library logs go to whoever listens to all loggers, and not to a stream of its own
    in a style of its own. Called where it was just imported; outside `counted_warnings`, in a
    program of somebody else, nothing is changed."""
    logger = logging.getLogger(name)
    streams = [h for h in logger.handlers if type(h) is logging.StreamHandler]
    if _counts is not None and streams:
        logger.propagate = True
        for handler in streams:
            logger.removeHandler(handler)


def coloured(text: str, code: str) -> str:
    """Return the text in an ANSI colour where stderr is a terminal that shows colours
    (https://no-color.org)."""
    plain = (
        not sys.stderr.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    )
    return text if plain else f"\x1b[{code}m{text}\x1b[0m"


def progress(
    items: Iterable[T], what: str, total: int | None = None, first: int = 0
) -> Iterable[T]:
    """Return the items behind a progress bar with rate and time left; silent when not on a
    terminal.

    Args:
      items: to go through.
      what: stands before the bar.
      total: of all items; None asks `items`.
      first: number of items that are done already.
    """
    if _hidden():
        return items
    if total is None and hasattr(items, "__len__"):
        total = first + len(items)  # pyright: ignore[reportArgumentType]
    return _counted(items, what, total, first)


def _counted(items: Iterable[T], what: str, total: int | None, first: int) -> Iterator[T]:
    with _bar(what, total, first) as one_more:
        for item in items:
            yield item
            one_more()


@contextlib.contextmanager
def counter(what: str, total: int, first: int = 0) -> Iterator[Callable[..., Any]]:
    """Show the same bar for work that reports what is done: each call of what this gives is one
    more, whatever its arguments."""
    if _hidden():
        yield lambda *_: None
        return
    with _bar(what, total, first) as one_more:
        yield lambda *_: one_more()


def _hidden() -> bool:
    return not sys.stderr.isatty() or _level < NORMAL


def _print(text: str, stream: TextIO) -> None:
    if _bars is not None and stream.isatty():
        from rich.text import Text

        # above the bars; as it is: no markup, no line breaks of rich's own
        _bars.console.print(Text.from_ansi(text), soft_wrap=True)
    else:
        print(text, file=stream, flush=True)


@contextlib.contextmanager
def _bar(what: str, total: int | None, first: int) -> Iterator[Callable[[], Any]]:
    """Add a bar to those on the screen, until the end of the block."""
    global _bars
    if _bars is None:
        _bars = _make_bars()
        _bars.start()
        # rich hides it, and a run that ends abruptly would leave the terminal without one
        _bars.console.show_cursor(True)
    bars, task = _bars, _bars.add_task(what, total=total, completed=first)
    try:
        yield lambda: bars.advance(task)
    finally:
        bars.remove_task(task)
        if not bars.tasks:
            bars.stop()
            _bars = None


def _make_bars() -> Any:
    from rich import progress as rich_progress
    from rich.console import Console
    from rich.text import Text

    class Rate(rich_progress.ProgressColumn):
        """Items per second, or seconds per item."""

        def render(self, task: rich_progress.Task) -> Text:
            speed = task.finished_speed or task.speed
            if not speed:
                return Text("")
            return Text(f"{speed:.1f} it/s" if speed >= 1 else f"{1 / speed:.1f} s/it")

    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description}:", markup=False),
        rich_progress.TaskProgressColumn(),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        Rate(),
        rich_progress.TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        transient=True,
        # what libraries print goes above the bars, too; into a file it goes as it is
        redirect_stdout=sys.stdout.isatty(),
        refresh_per_second=4,
        speed_estimate_period=3600.0,  # a step of RL takes minutes
    )
