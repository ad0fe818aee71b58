"""Open the files that other people's data names: the one door for images, frames, videos and rows.

A name in somebody's data may be a named pipe, which never begins, a device, which never ends, or a
file of a terabyte with nothing in it. So only regular files are opened, of at most as many bytes as
the caller says, and never an address: nothing is downloaded. Paths in object stores (`gs://`) go
through epath, as everywhere.
"""

import json
import os
import re
import stat
import urllib.parse
from typing import IO, Any

from r1reward_jax.errors import InputError

MB = 2**20
STORES = ("gs", "s3", "az")
"""Object stores that epath reads, each with a package of its own."""
SHOWN = 300
"""Characters of a name or value that a message shows."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def shortened(name: str) -> str:
    """Return a name as a message shows it: base64 of a megabyte would hide the rest."""
    return name if len(name) <= SHOWN else f"{name[:SHOWN]}… ({len(name):,} characters)"


def scheme_of(path: str | os.PathLike) -> str | None:
    """Return the scheme of an address in lower case (https, gs, file), or None for a path."""
    match = _SCHEME.match(os.fspath(path))
    return match[1].lower() if match else None


def local_path(path: str | os.PathLike) -> str:
    """Return the path that a name stands for: that of a file:// URL, else the name itself.

    Raises:
      InputError: an address that would have to be downloaded, or a file:// URL of another machine.
    """
    name = os.fspath(path)
    scheme = scheme_of(name)
    if scheme is None or scheme in STORES:
        return name
    if scheme != "file":
        raise InputError(
            f"{shortened(name)}: addresses are not downloaded; give a file (download it first)"
        )
    host, slash, rest = name[len("file://") :].partition("/")
    if not slash or host.lower() not in ("", "localhost"):
        raise InputError(f"{shortened(name)}: expected file:///absolute/path on this machine")
    # file:////etc/passwd is /etc/passwd, not a share called etc
    return "/" + urllib.parse.unquote(rest).lstrip("/")


def open_regular(path: str | os.PathLike, most: int) -> IO[bytes]:
    """Open a regular file for reading, or an object of a store.

    Args:
      path: a path, a file:// URL or an address in an object store.
      most: bytes that the file may have.

    Raises:
      OSError: it is missing, no regular file, or larger.
      InputError: an address that would have to be downloaded.
    """
    name = local_path(path)
    if scheme_of(name) in STORES:
        return _open_object(name, most)
    try:
        # before it is opened, too: opening a device may do something
        _require_regular(os.stat(name), most)
        flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
        flags |= getattr(os, "O_BINARY", 0) | os.O_RDONLY
        number = os.open(name, flags)
    except ValueError as error:  # a null character
        raise OSError(str(error)) from None
    file = os.fdopen(number, "rb")
    try:
        _require_regular(os.fstat(number), most)
    except OSError:
        file.close()
        raise
    return file


def _require_regular(found: os.stat_result, most: int) -> None:
    """Raise OSError for what is no file, or too large."""
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(f"{kind}, not a file")
    _require_size(found.st_size, most)


def _require_size(size: int, most: int) -> None:
    if size > most:
        raise OSError(f"{size:,} bytes; at most {most // MB:,} MB are read")


def _open_object(name: str, most: int) -> IO[bytes]:
    from etils import epath

    try:
        path = epath.Path(name)
        _require_size(path.stat().length or 0, most)
        return path.open("rb")
    except ImportError as error:
        raise OSError(f"{error}, or download the file") from None


def read_most(file: IO[bytes], most: int) -> bytes | None:
    """Return the content of an open file, of more than `most` bytes one more; None where nothing
    can be read now. It takes the memory of what is there: `read(most)` asks for all of it first."""
    parts, left = list[bytes](), most + 1
    while left and (part := file.read(min(left, 16 * MB))) != b"":
        if part is None:
            return None
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def read_regular(path: str | os.PathLike, most: int) -> bytes:
    """Return the content of a file. Raises as `open_regular`, also for a file that has more than
    its size says, as those of /proc have."""
    with open_regular(path, most) as file:
        data = read_most(file, most)
    if data is None or len(data) > most:
        raise OSError(f"more than {most // MB:,} MB, or nothing that can be read")
    return data


def read_file(path: str | os.PathLike, *, most: int, expected: str) -> bytes:
    """Return the content of a file.

    Args:
      path: as of `open_regular`.
      most: bytes that it may have.
      expected: what the message asks for instead, such as "a text file".

    Raises:
      InputError: the file cannot be read; the message names it.
    """
    try:
        return read_regular(path, most)
    except OSError as error:
        reason = error.strerror or str(error)
        name = shortened(os.fspath(path))
        raise InputError(f"{name}: {reason}; expected {expected}") from None


def load_json(text: str) -> Any:
    """Return what a JSON text says.

    Raises:
      ValueError: it is no JSON, or none that can be held: brackets within brackets by the thousand,
        numbers of thousands of digits. The message says what, in one line.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(error.msg) from error
    except RecursionError:
        raise ValueError("brackets are nested too deeply") from None
    except ValueError:  # of int(): more digits than Python converts
        raise ValueError("a whole number of too many digits") from None


def surrogate_in(value: Any, name: str = "") -> str | None:
    """Return where a value, in its texts or keys, holds half of a character, which no text can be
    written with: `meta.group (\\ud83d)`. None if it does not."""
    if isinstance(value, str):
        if value.isascii():
            return None
        half = next((letter for letter in value if "\ud800" <= letter <= "\udfff"), None)
        return None if half is None else f"{name} (\\u{ord(half):x})"
    if isinstance(value, dict):
        inside = (
            (surrogate_in(k, f"a name in {name}"), v, f"{name}.{k}") for k, v in value.items()
        )
        return next((bad for key, v, at in inside if (bad := key or surrogate_in(v, at))), None)
    if isinstance(value, (list, tuple)):
        return next((bad for item in value if (bad := surrogate_in(item, name))), None)
    return None
