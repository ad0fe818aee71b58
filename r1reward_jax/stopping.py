"""Being asked to end: SIGTERM and Ctrl-C never raise inside whatever runs.

A handler that raises does so in the middle of any code, also in callbacks of the garbage collector
that swallow what is raised. Here a thread reads the signals. Where a run has work that no
checkpoint has (`hold`), the first signal only leaves word, the loops look (`check`), save and end;
elsewhere the process ends at once, as nothing would be lost. A second signal always ends it at
once, and so does a save that takes longer than `GRACE_S`.

Only `listen` changes what signals do; the terminal's command calls it. In a notebook or a test,
Ctrl-C is Python's KeyboardInterrupt as ever. This file imports nothing that takes time.
"""

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")

GRACE_S = 600.0
"""Seconds that the first signal leaves for saving. What started the process may have less patience:
a pod is killed 30 s after SIGTERM, unless its terminationGracePeriodSeconds says more."""
LOOK_S = 0.2
"""Seconds between two looks while something else is waited for."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Stopped(BaseException):
    """The process was asked to end, and a loop has seen it. Like KeyboardInterrupt, this is no
    error that anybody handles."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


class _State:
    """What the thread that reads signals and the loops share."""

    lock = threading.Lock()
    asked = 0
    """The number of the first signal; 0: none came."""
    held = False
    who, remedy = "r1reward", ""


def listen() -> None:
    """Read SIGTERM and SIGINT in a thread from now on, where they are not ignored."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    # written to by the interpreter's own handler, whatever the main thread is doing
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as of what `nohup` or `&` started
            signal.signal(number, lambda *_: None)
    arguments = (ours, theirs)  # kept open
    threading.Thread(target=_read, args=arguments, name="signals", daemon=True).start()


def introduce(who: str, remedy: str) -> None:
    """Say who ends where the process ends at once, and what to do then.

    Args:
      who: the command.
      remedy: follows the message, with its punctuation.
    """
    _State.who, _State.remedy = who, remedy


def hold() -> None:
    """Say that there is work now which the first signal must not lose: a loop looks with `check`,
    and saves."""
    with _State.lock:
        _State.held = True


def release() -> None:
    """Say that all work is saved. Raises Stopped if the process was asked to end meanwhile."""
    with _State.lock:
        held, _State.held = _State.held, False
    if held:
        check()


def asked() -> int:
    """Return the number of the signal that asks for the end; 0 if none has."""
    return _State.asked


def check() -> None:
    """Raise Stopped if the process was asked to end."""
    if _State.asked:
        raise Stopped(_State.asked)


def result(future: "Future[T]") -> T:
    """Return the result of a future. Raises Stopped as soon as the process is asked to end."""
    while not wait([future], LOOK_S).done:
        check()
    return future.result()


def last_words(number: int) -> str:
    """Return the line of a process that a signal has ended."""
    return f"{_State.who}: {WORDS[signal.Signals(number)]}{_State.remedy}"


def _read(pipe: socket.socket, _: socket.socket) -> None:
    """Wait for signals, and for the end of the time that a save has."""
    until = None
    while True:
        left = None if until is None else max(0.0, until - time.monotonic())
        if not select.select([pipe], [], [], left)[0]:
            _end(_State.asked, f"not ended within {GRACE_S:.0f} s; {last_words(_State.asked)}")
        for number in pipe.recv(64):
            if number not in SIGNALS:
                continue
            with _State.lock:
                if _State.asked or not _State.held:
                    _end(number, last_words(number))
                _State.asked = number
            until = time.monotonic() + GRACE_S
            name = signal.Signals(number).name
            _print(f"{name}: saving and ending, in {GRACE_S:.0f} s at most; again to end at once")


def _print(line: str) -> None:
    """Write a line past the buffers, whose locks another thread may have."""
    start = "\n" if sys.stderr and sys.stderr.isatty() else ""  # below a progress bar
    with contextlib.suppress(OSError):
        os.write(2, f"{start}{line}\n".encode())


def _end(number: int, line: str) -> None:
    """End the process: exit handlers, and what other threads do, would take their time."""
    _bounded(lambda: (sys.stdout.flush(), sys.stderr.flush()))
    _print(line)
    os._exit(128 + number)


def _bounded(work: Callable[[], object], seconds: float = 1.0) -> None:
    """Do some work, if it takes no longer than that: nobody may be reading what we print."""

    def quietly() -> None:
        with contextlib.suppress(Exception):
            work()

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    thread.join(seconds)
