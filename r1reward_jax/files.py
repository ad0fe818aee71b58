"""Files that are there completely or not at all, and files that grow by a line."""

import os
import threading
import time

REWRITE_S = 10.0
"""Seconds between two writes of a file that grows in an object store."""


def is_remote(path: str | os.PathLike) -> bool:
    """Return whether a path is in an object store, such as gs://bucket/folder."""
    return "://" in os.fspath(path)


def write_whole(path: str | os.PathLike, text: str) -> None:
    """Write a text file; whoever is interrupted here leaves the old one as it was."""
    from etils import epath  # `r1reward doctor` needs this file where packages are missing

    target = epath.Path(path)
    if is_remote(target):  # an object appears when all of it is there; renaming would copy it
        target.write_text(text)
        return
    part = target.with_name(target.name + ".part")
    part.write_text(text)
    part.replace(target)


class LineFile:
    """A text file that grows by a line, on a local disk or in an object store.

    A line of a local file is written at once: a killed process loses the one under way at most. An
    object cannot grow: its whole text is kept in memory and written anew, at most every
    `REWRITE_S` seconds (by a thread, so that the last line does not wait for a next one) and when
    the file is closed. A killed process loses the lines since, 10 seconds of them at most.
    """

    def __init__(self, path: str | os.PathLike, every_s: float = REWRITE_S):
        """
        Args:
          path: made with its first line; what it has already is kept.
          every_s: seconds between two writes of an object.
        """
        from etils import epath

        self.path, self._every_s = epath.Path(path), every_s
        self._remote = is_remote(path)
        self._lock = threading.Lock()
        self._text: str | None = None  # of an object; read with the first line
        self._timer: threading.Timer | None = None
        self._written, self._dirty = -every_s, False
        self._error: Exception | None = None

    def append(self, line: str) -> None:
        """Add a line. Raises what an earlier write in the thread met, too; no line is lost."""
        if not self._remote:
            with self.path.open("a") as file:
                file.write(line + "\n")
            return
        with self._lock:
            if self._text is None:
                self._text = self.path.read_text() if self.path.exists() else ""
            self._text, self._dirty = self._text + line + "\n", True
            if self._error:
                error, self._error = self._error, None
                raise error
            wait = self._written + self._every_s - time.monotonic()
            if wait <= 0:
                self._rewrite()
            elif self._timer is None:
                self._timer = threading.Timer(wait, self._late)
                self._timer.daemon = True  # a run that ends does not wait for it: it closes
                self._timer.start()

    def close(self) -> None:
        """Write what is not written yet; the next line opens the file anew."""
        with self._lock:
            if self._timer:
                self._timer.cancel()
            if self._dirty:
                self._rewrite()
            self._text = None  # somebody else may change the file now

    def _late(self) -> None:
        """Write in the timer's thread."""
        with self._lock:
            try:
                if self._dirty:  # else it was closed meanwhile
                    self._rewrite()
            except Exception as error:
                self._error = error

    def _rewrite(self) -> None:
        self._timer, self._written = None, time.monotonic()
        write_whole(self.path, self._text or "")
        self._dirty = False


def cache_folder() -> str:
    """Return where compiled programs are kept between runs; JAX_COMPILATION_CACHE_DIR replaces
    it."""
    home = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    default = os.path.join(os.path.expanduser(home), "r1reward", "jax")
    return os.environ.get("JAX_COMPILATION_CACHE_DIR") or default
