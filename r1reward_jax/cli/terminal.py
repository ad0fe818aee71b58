"""The `r1reward` of a terminal: signals, a reader that has gone, and the exit code.

Signals are listened to before anything else is imported, which takes a while.
"""

import io
import os
import sys
from typing import Any

from r1reward_jax import stopping


def command_line() -> None:
    """Run `r1reward` and end the process."""
    stopping.listen()
    from r1reward_jax.cli.main import main

    sys.unraisablehook = _unraisable
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no output is worth a crash of a run
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
    except BrokenPipeError:  # whoever reads what we print has seen enough: `… | head`
        os._exit(141)
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        os._exit(code)  # the exit handlers of libraries would wait for what failed, or fail again
    sys.exit(0)


def _unraisable(problem: Any) -> None:
    """Do as Python's own hook, but stay silent for the writers of a checkpoint that has failed
    already: each of them would report the same failure again."""
    if str(problem.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(problem)
