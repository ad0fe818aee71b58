"""What libraries have to say during a command, in the console's own style and each thing once."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

from r1reward_jax.console import adopt_logger, counted_warnings, warn

OWN_HANDLERS = ("transformers", "jax", "orbax")
"""Loggers to which their libraries, where they were imported before, gave handlers of their own."""


@contextlib.contextmanager
def in_our_style(*, debug: bool) -> Iterator[None]:
    """Print Python's warnings and what libraries log, from warnings up, as our own warnings until
    the end of the block; what repeats itself is counted, and its number told there.

    Args:
      debug: also what absl logs: tracebacks of errors that reach us anyway, and are told in a line.
    """
    handler, root, shown = _Handler(logging.WARNING), logging.getLogger(), warnings.showwarning
    absl = logging.getLogger("absl")
    level = absl.level
    if not debug:
        absl.setLevel(logging.CRITICAL)
    root.addHandler(handler)
    warnings.showwarning = _show
    try:
        with counted_warnings():
            for name in OWN_HANDLERS:
                adopt_logger(name)
            yield
    finally:
        warnings.showwarning = shown
        root.removeHandler(handler)
        absl.setLevel(level)


class _Handler(logging.Handler):
    """Tells what libraries log."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            name, text = record.name.partition(".")[0], record.getMessage().strip()
            warn(f"{name}: {_in_a_line(text)}")
        except Exception:  # a message that cannot be formatted is no reason to end a run
            self.handleError(record)


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> Any:
    """Print one of Python's warnings; instead of its place in the code, the package it is from."""
    path = filename.replace("\\", "/")
    inside = path.rpartition("/site-packages/")[2] if "/site-packages/" in path else ""
    who = (inside.partition("/")[0] or path.rpartition("/")[2]).removesuffix(".py")
    warn(f"{who}: {_in_a_line(str(message))} ({category.__name__})")


def _in_a_line(text: str) -> str:
    """Return a text without line breaks."""
    return " ".join(text.split())
