"""What a person at a terminal sees: lines and progress bars."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")


def say(text: str) -> None:
    """Print a line without breaking a progress bar."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()


def progress(
    items: Iterable[T], what: str, total: int | None = None, first: int = 0
) -> Iterable[T]:
    """A progress bar with rate and time left; silent when not on a terminal.

    Args:
      items: to go through.
      what: stands before the bar.
      total: of all items; None asks `items`.
      first: of them that are done already.
    """
    if total is None and hasattr(items, "__len__"):
        total = first + len(items)  # pyright: ignore[reportArgumentType]
    return tqdm(items, desc=what, total=total, initial=first, disable=_quiet(), leave=False)


@contextlib.contextmanager
def counter(what: str, total: int, first: int = 0) -> Iterator[Callable[..., Any]]:
    """The same bar for work that reports what is done: each call of what it gives is one more."""
    with tqdm(desc=what, total=total, initial=first, disable=_quiet(), leave=False) as bar:
        yield lambda *_: bar.update()


def _quiet() -> bool:
    return not sys.stderr.isatty()
