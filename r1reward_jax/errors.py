"""What ends a run with a message instead of a traceback. Imports nothing: `r1reward doctor` needs
it where JAX is broken."""

import contextlib
import errno
import re
from collections.abc import Iterator


class InputError(ValueError):
    """Something that the user gave is wrong; the message says what, where and what to do."""


class DivergedError(RuntimeError):
    """Training cannot go on; the message says where the last good state and the batch are."""


DISK = ("No space left on device", "Disk quota exceeded", "Read-only file system", "File too large")
"""How libraries that are not Python's say what a disk refuses."""


def disk_problem(error: BaseException) -> str | None:
    """What a disk refused, if that is what is behind an error; None if it is not."""
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno is not None and each.errno != errno.EPIPE:
            where = f"{each.filename}: " if each.filename else ""
            return f"{where}{each.strerror}{_advice(str(each.strerror))}"
        if said := next((words for words in DISK if words in str(each)), None):
            path = re.search(r"['\"](/[^'\"]+)['\"]", str(each))
            return f"{path[1] + ': ' if path else ''}{said}{_advice(said)}"
    return None


def _advice(said: str) -> str:
    full = said in (DISK[0], DISK[1], DISK[3])
    return "; make room, then the same command goes on from the last checkpoint" if full else ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it came from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Put before the message of an InputError what it is about, such as a record."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
