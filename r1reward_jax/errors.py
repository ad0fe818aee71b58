"""Errors that end a run with a message instead of a traceback. This file imports nothing of ours:
`r1reward doctor` needs it where JAX is broken."""

import contextlib
import errno
import re
from collections.abc import Iterator


class InputError(ValueError):
    """Something that the user gave is wrong; the message says what, where and what to do."""


class DivergedError(RuntimeError):
    """Training cannot go on; the message says where the last good state and the batch are."""


DISK_MESSAGES = ("No space left on device", "Disk quota exceeded", "Read-only file system")
"""What libraries that do not raise OSError write when a disk refuses something."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EIO)


def disk_problem(error: BaseException) -> str | None:
    """Return what a disk refused, if that is the cause of an error; None if it is not."""
    for each in _chain(error):
        if isinstance(each, OSError) and each.errno in (*FULL, *REFUSED):
            where = f"{each.filename}: " if each.filename else ""
            return f"{where}{each.strerror}{'; make room' if each.errno in FULL else ''}"
        if words := next((w for w in DISK_MESSAGES if w in str(each)), None):
            path = re.search(r"['\"](/[^'\"]+)['\"]", str(each))
            where = f"{path[1]}: " if path else ""
            return f"{where}{words}{'' if words == DISK_MESSAGES[2] else '; make room'}"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it was raised from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Prefix the message of an InputError with what it is about, such as a record."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
