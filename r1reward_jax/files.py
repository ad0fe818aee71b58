"""Files that are there completely or not at all, and files that grow."""

import contextlib
import os
import threading
import time
from typing import IO, Any

REWRITE_S = 10.0
"""Seconds between two writes of a file that grows in an object store."""


def is_remote(path: str | os.PathLike) -> bool:
    """Return whether a path is in an object store, such as gs://bucket/folder."""
    return "://" in os.fspath(path)


def write_whole(path: str | os.PathLike, content: str | bytes) -> None:
    """Write a file; whoever is interrupted here, or loses power, leaves the old one as it was. Half
    a character, which UTF-8 does not have, stands in the file as its escape."""
    from etils import epath  # `r1reward doctor` needs this file where packages are missing

    target = epath.Path(path)
    data = _encoded(content)
    if is_remote(target):  # an object appears when all of it is there; renaming would copy it
        target.write_bytes(data)
        return
    part = target.with_name(target.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            sync(file)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def sync(file: IO[Any]) -> None:
    """Bring a file to the disk, where the system can: else its new name may get there first."""
    file.flush()
    with contextlib.suppress(OSError):  # some network disks cannot
        os.fsync(file.fileno())


def sync_folder(folder: str | os.PathLike) -> None:
    """Bring all files of a folder to the disk, and their names; an object store has its own way."""
    if is_remote(folder):
        return
    for path in (*(entry.path for entry in os.scandir(folder) if entry.is_file()), folder):
        with contextlib.suppress(OSError):  # some network disks cannot, nor can Windows for folders
            number = os.open(path, os.O_RDONLY)
            try:
                os.fsync(number)
            finally:
                os.close(number)


def _encoded(text: str | bytes) -> bytes:
    return text.encode(errors="backslashreplace") if isinstance(text, str) else text


class GrowingFile:
    """A file that is appended to, on a local disk or in an object store.

    What is appended to a local file is written at once: a killed process loses the piece under way
    at most. An object cannot grow: its whole content is kept in memory and written anew, at most
    every `REWRITE_S` seconds (by a thread, so that the last piece does not wait for a next one)
    and when the file is closed. A killed process loses what came since, 10 seconds of it at most.
    """

    def __init__(self, path: str | os.PathLike, every_s: float = REWRITE_S):
        """
        Args:
          path: made with its first piece; what it has already is kept.
          every_s: seconds between two writes of an object.
        """
        from etils import epath

        self.path, self._every_s = epath.Path(path), every_s
        self._remote = is_remote(path)
        self._lock = threading.Lock()
        self._content: bytes | None = None  # of an object; read with the first piece
        self._timer: threading.Timer | None = None
        self._written, self._dirty = -every_s, False
        self._error: Exception | None = None

    def append(self, piece: str | bytes) -> None:
        """Add to the file. Raises what an earlier write in the thread met; no piece is lost."""
        data = _encoded(piece)
        if not self._remote:
            with self.path.open("ab") as file:
                file.write(data)
            return
        with self._lock:
            if self._content is None:
                self._content = self.path.read_bytes() if self.path.exists() else b""
            self._content, self._dirty = self._content + data, True
            if self._error:
                error, self._error = self._error, None
                raise error
            wait = self._written + self._every_s - time.monotonic()
            if wait <= 0:
                self._rewrite()
            elif self._timer is None:
                self._timer = threading.Timer(wait, self._rewrite_late)
                self._timer.daemon = True  # a run that ends does not wait for it: it closes
                self._timer.start()

    def close(self) -> None:
        """Write what is not written yet; the next piece opens the file anew."""
        with self._lock:
            if self._timer:
                self._timer.cancel()
            if self._dirty:
                self._rewrite()
            self._content = None  # somebody else may change the file now

    def _rewrite_late(self) -> None:
        """Write in the timer's thread."""
        with self._lock:
            try:
                if self._dirty:  # else it was closed meanwhile
                    self._rewrite()
            except Exception as error:
                self._error = error

    def _rewrite(self) -> None:
        self._timer, self._written = None, time.monotonic()
        write_whole(self.path, self._content or b"")
        self._dirty = False


def user_cache(name: str) -> str:
    """Return the folder in the user's cache, below XDG_CACHE_HOME, for one kind of thing."""
    home = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return os.path.join(os.path.expanduser(home), "r1reward", name)


def cache_folder() -> str:
    """Return where compiled programs are kept between runs; JAX_COMPILATION_CACHE_DIR replaces
    it."""
    return os.environ.get("JAX_COMPILATION_CACHE_DIR") or user_cache("jax")
