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


SAID = ("No space left on device", "Disk quota exceeded", "Read-only file system")
"""How libraries that are not Python's say what a disk refuses."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EIO)


def disk_problem(error: BaseException) -> str | None:
    """What a disk refused, if that is what is behind an error; None if it is not."""
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno in (*FULL, *REFUSED):
            where = f"{each.filename}: " if each.filename else ""
            return f"{where}{each.strerror}{'; make room' if each.errno in FULL else ''}"
        if said := next((words for words in SAID if words in str(each)), None):
            path = re.search(r"['\"](/[^'\"]+)['\"]", str(each))
            where = f"{path[1]}: " if path else ""
            return f"{where}{said}{'' if said == SAID[2] else '; make room'}"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was raised from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Put before the message of an InputError what it is about, such as a record."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
