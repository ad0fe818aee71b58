"""Find the images and videos that rows name, and write images back as text."""

import base64
from collections.abc import Iterable
from typing import Any

from etils import epath

from r1reward_jax.data.files import Row
from r1reward_jax.data.video import Sampling, read_video
from r1reward_jax.images import LONGEST_PATH, embedded_bytes, is_file, shortened
from r1reward_jax.types import InputError, VideoPart

LISTED = 5
"""Missing files that one message names; it counts the others."""


class Finder:
    """Finds the images and videos of rows. Missing files are collected, so that `require_all` can
    report all of them in one message."""

    def __init__(self, folders: Iterable[str], frames: Sampling):
        """Look for files in some folders.

        Args:
          folders: where relative paths may start; the first that has the file wins. A path is also
            tried without its first folder, which archives often add.
          frames: how many frames of a video are read.
        """
        self.folders, self.frames = list(dict.fromkeys(folders)), frames
        self.missing: list[str] = []
        self._paths: dict[str, str | None] = {}
        self._videos: dict[str, VideoPart] = {}

    def images(self, value: Any, row: Row) -> tuple[str | bytes, ...]:
        """Return the images of a field as paths or encoded bytes.

        Args:
          value: a path, base64, a data URL, bytes, a struct of bytes and path, a list of these, or
            nothing (None, "").
          row: which messages name.

        Raises:
          InputError: anything else.
        """
        if value is None or value == "":
            return ()
        if isinstance(value, (list, tuple)):
            return tuple(image for each in value for image in self.images(each, row))
        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes) and value:
            return (value,)
        if not isinstance(value, str) or not value:
            raise InputError(
                f"{row.name}: an image is {type(value).__name__}; expected a path, base64, bytes, "
                "or a struct of bytes and path"
            )
        try:
            data = embedded_bytes(value)
        except InputError as error:
            raise InputError(f"{row.name}: {error}") from None
        # a file whose name happens to be base64 of an image is a file
        bare = len(value) <= LONGEST_PATH and not value.startswith("data:")
        if data is None or (bare and self._find(value)):
            return (self._path(value, row),)
        return (data,)

    def video(self, value: Any, row: Row) -> VideoPart | None:
        """Return the video of a field: a path of a folder of frames or of a file, or nothing."""
        if not value:
            return None
        if not isinstance(value, str):
            raise InputError(f"{row.name}: the video is {type(value).__name__}; expected a path")
        path = self._path(value, row)
        if self._find(value) is None:
            return None
        if path not in self._videos:
            try:
                self._videos[path] = read_video(path, self.frames)
            except InputError as error:
                raise InputError(f"{row.name}: {error}") from None
        return self._videos[path]

    def _path(self, value: str, row: Row) -> str:
        """Return where a file is; the path as given, noted as missing, if it is nowhere."""
        found = self._find(value)
        if found is None:
            self.missing.append(f"{row.name}: {shortened(value)}")
        return found or value

    def _find(self, value: str) -> str | None:
        if value not in self._paths:
            without = value.split("/", 1)[-1]
            places = (str(epath.Path(f) / v) for f in self.folders for v in (value, without))
            self._paths[value] = next((place for place in places if is_file(place)), None)
        return self._paths[value]

    def require_all(self) -> None:
        """Raise InputError if files are missing: how many, the first few, and the folders."""
        if not self.missing:
            return
        more = len(self.missing) - LISTED
        named = "; ".join(self.missing[:LISTED]) + (f"; and {more} more" if more > 0 else "")
        raise InputError(
            f"{len(self.missing)} images or videos are missing: {named}. Looked in "
            f"{', '.join(self.folders)}, with and without the leading folder of the path; is the "
            "data folder right, and are all archives unpacked?"
        )


def image_text(image: Any, folder: str) -> str:
    """Return an image as a row stores it: a path relative to a folder, or bytes as a data URL."""
    if isinstance(image, bytes):
        return "data:image;base64," + base64.b64encode(image).decode()
    return str(image).removeprefix(folder)
