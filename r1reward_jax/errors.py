"""Errors that end a run with a message instead of a traceback. This file imports nothing of ours:
`r1reward doctor` needs it where JAX is broken."""

import contextlib
import errno
import re
from collections.abc import Iterator

LONGEST = 4000
"""Characters of a message: whoever reads it wants the place, not a whole file."""
_UNSEEN = re.compile(
    # controls, what turns the direction of a text or is not drawn, halves of characters
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: str, *, lines: bool = True, most: int | None = LONGEST) -> str:
    """Return a text of somebody else's as it may be shown in a terminal: what would move the
    cursor, colour, hide or turn something stands there as an escape, such as \\x1b.

    Args:
      text: any.
      lines: leave line breaks and tabs; else they are escaped, too.
      most: characters, of which the middle is left out where there are more; None: all.
    """
    if most is not None and len(text) > most:
        ends = most // 2
        text = f"{text[:ends]} … ({len(text):,} characters) … {text[-ends:]}"
    text = _UNSEEN.sub(_escaped, text)
    return text if lines else re.sub(r"[\n\t]", _escaped, text)


def record_name(given: object) -> str:
    """Return what messages call the record with an id: one line, of a bounded length."""
    return f"record {printable(str(given), lines=False, most=200)}"


def _escaped(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]


class InputError(ValueError):
    """Something that the user gave is wrong; the message says what, where and what to do. What it
    repeats of the user's data is shown as `printable`."""

    def __init__(self, message: object = ""):
        super().__init__(printable(str(message)))


class DivergedError(RuntimeError):
    """Training cannot go on; the message says where the last good state and the batch are."""


DISK_MESSAGES = ("No space left on device", "Disk quota exceeded", "Read-only file system")
"""What libraries that do not raise OSError write when a disk refuses something."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EIO)


def disk_problem(error: BaseException) -> str | None:
    """Return what a disk refused, if that is the cause of an error; None if it is not."""
    for each in chain(error):
        if isinstance(each, OSError) and each.errno in (*FULL, *REFUSED):
            where = f"{each.filename}: " if each.filename else ""
            return f"{where}{each.strerror}{'; make room' if each.errno in FULL else ''}"
        if words := next((w for w in DISK_MESSAGES if w in str(each)), None):
            path = re.search(r"['\"](/[^'\"]+)['\"]", str(each))
            where = f"{path[1]}: " if path else ""
            return f"{where}{words}{'' if words == DISK_MESSAGES[2] else '; make room'}"
    return None


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it was raised from, or while they were handled."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Prefix the message of an InputError with what it is about, such as a record."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{printable(what, lines=False, most=200)}: {error}") from None
