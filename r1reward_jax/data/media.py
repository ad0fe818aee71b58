"""Find the images and videos that rows name, and write images back as text."""

import base64
import os
from collections.abc import Iterable
from typing import Any

from etils import epath

from r1reward_jax.data.files import Row
from r1reward_jax.data.video import IMAGE_SUFFIXES, Broken, Sampling, of_frames, read_video
from r1reward_jax.images import LONGEST_PATH, embedded_bytes, is_file
from r1reward_jax.reading import load_json, local_path, scheme_of, shortened
from r1reward_jax.types import InputError, VideoPart

LISTED = 5
"""Missing files that one message names; it counts the others."""
HOLDERS = ("bytes", "path", "url", "image_url", "image", "video", "base64", "data")
"""Fields of a struct that may hold an image or a video, in the order in which they count."""
EXPECTED = "expected a path, base64, bytes, or a struct of bytes and path"


def is_data_url(text: str) -> bool:
    """Return whether a text is a data URL, which holds what it names."""
    return text[:5].lower() == "data:"


def values_in(value: Any, row: Row, what: str = "an image") -> list[str | bytes]:
    """Return the paths, texts and bytes that a field holds, in any of the forms that are usual.

    Args:
      value: a path, base64, a data URL, bytes, a struct of these, a list of all that, the JSON text
        of a list, or nothing (None, "", a struct of None).
      row: which messages name.
      what: the value for messages.

    Raises:
      InputError: anything else.
    """
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        value = _listed(value)
    if value is None or (isinstance(value, (str, bytes)) and not value.strip()):
        return []
    if isinstance(value, (list, tuple)):
        return [each for item in value for each in values_in(item, row, what)]
    if isinstance(value, dict):
        held = [value[name] for name in HOLDERS if value.get(name)]
        if not held and not set(value) & set(HOLDERS):
            names = shortened(", ".join(map(str, value)))
            raise InputError(f"{row.name}: {what} is a struct of {names}; {EXPECTED}")
        return values_in(held[0], row, what) if held else []
    if not isinstance(value, (str, bytes)):
        raise InputError(f"{row.name}: {what} is {type(value).__name__}; {EXPECTED}")
    return [value]


def _listed(text: str) -> Any:
    """Return the list that a text is, as tables of texts hold lists; the text if it is none."""
    try:
        value = load_json(text)
    except ValueError:
        return text
    return value if all(isinstance(each, (str, dict)) for each in value) else text


def same_media(value: str | bytes, other: str | bytes) -> bool:
    """Return whether two values name the same: the same bytes, or files of the same name."""
    if isinstance(value, bytes) or isinstance(other, bytes) or is_data_url(value):
        return value == other
    return _file_name(value) == _file_name(other)


def _file_name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2]


class Finder:
    """Finds the images and videos of rows. Missing files, and those outside of the folders, are
    collected, so that `require_all` and `notes` can report all of them in one message."""

    def __init__(self, folders: Iterable[str], frames: Sampling):
        """Look for files in some folders.

        Args:
          folders: where relative paths may start; the first that has the file wins. A path is also
            tried without its first folder, which archives often add.
          frames: how many frames of a video are read.
        """
        self.folders, self.frames = list(dict.fromkeys(folders)), frames
        self.missing: list[str] = []
        self.outside: list[str] = []
        """Files that lie outside of the folders: absolute paths, `../`, links."""
        self.files = 0
        """Images and videos that are files."""
        self._notes: dict[str, list[str]] = {}
        self._homes = [os.path.realpath(folder) for folder in self.folders]
        self._paths: dict[str, str | None] = {}
        self._videos: dict[tuple[str, ...], VideoPart] = {}

    def images(self, value: Any, row: Row) -> tuple[str | bytes, ...]:
        """Return the images of a field, see `values_in`, as paths or encoded bytes. Raises
        InputError for what is neither."""
        return tuple(self._image(each, row) for each in values_in(value, row))

    def _image(self, value: str | bytes, row: Row) -> str | bytes:
        if isinstance(value, bytes):
            return value
        try:
            data = embedded_bytes(value)
        except InputError as error:
            raise InputError(f"{row.name}: {error}") from None
        # a file whose name happens to be base64 of an image is a file
        bare = len(value) <= LONGEST_PATH and not is_data_url(value)
        if data is None or (bare and self._find(value, row)):
            return self._path(value, row)
        return data

    def video(self, value: Any, row: Row) -> VideoPart | None:
        """Return the video of a field: a path of a folder of frames or of a file, frames in order,
        or nothing."""
        paths = values_in(value, row, "the video")
        if not paths:
            return None
        for path in paths:
            if isinstance(path, bytes) or is_data_url(path):
                raise InputError(
                    f"{row.name}: the video is {type(path).__name__} of its content; expected the "
                    "path of a file or of a folder of frames"
                )
        texts = [str(path) for path in paths]
        frames = all(text.lower().endswith(IMAGE_SUFFIXES) for text in texts)
        if len(texts) > 1 and not frames:
            raise InputError(f"{row.name}: {len(texts)} videos, a record has at most one")
        found = tuple(self._path(text, row) for text in texts)
        lost = [text for text in texts if self._find(text, row) is None]
        if lost:
            where = ", ".join(self.folders)
            why = f"video {shortened(lost[0])}: not found in {where}"
            return VideoPart(Broken(found[0], why), 1.0)
        if found not in self._videos:
            self._videos[found] = self._read(found, frames)
        return self._videos[found]

    def _read(self, paths: tuple[str, ...], frames: bool) -> VideoPart:
        try:
            return of_frames(paths, self.frames) if frames else read_video(paths[0], self.frames)
        except InputError as error:
            # told with all other records that cannot be shown, by whoever looks at the frames
            return VideoPart(Broken(paths[0], str(error)), 1.0)

    def _path(self, value: str, row: Row) -> str:
        """Return where a file is; where it should be, noted as missing, if it is nowhere."""
        found = self._find(value, row)
        self.files += 1
        if found is None:
            self.missing.append(f"{row.name}: {shortened(value)}")
            # the path alone could name a file of the working directory, which nobody meant
            return str(epath.Path(self.folders[-1]) / local_path(value))
        if scheme_of(found) is None and not self._inside(found):
            self.outside.append(found)
        return found

    def _inside(self, path: str) -> bool:
        real = os.path.realpath(path)
        return any(os.path.commonpath([home, real]) == home for home in self._homes)

    def _find(self, value: str, row: Row) -> str | None:
        if value not in self._paths:
            try:
                self._paths[value] = self._look_for(local_path(value))
            except (InputError, ImportError) as error:
                raise InputError(f"{row.name}: {error}") from None
        return self._paths[value]

    def _look_for(self, value: str) -> str | None:
        # the separators of Windows, if there is no such file here
        for name in dict.fromkeys((value, value.replace("\\", "/"))):
            without = name.split("/", 1)[-1]
            places = (str(epath.Path(f) / v) for f in self.folders for v in (name, without))
            found = next((place for place in places if is_file(place)), None)
            if found:
                return found
        return None

    def finds(self, value: str | bytes, row: Row) -> bool:
        """Return whether a value is a file that is there, or an image itself."""
        try:
            return isinstance(value, bytes) or is_data_url(value) or bool(self._find(value, row))
        except InputError:  # an address
            return False

    def note(self, what: str, row: Row) -> None:
        """Count a row about which the user is told, by what it is."""
        self._notes.setdefault(what, []).append(row.name)

    def notes(self) -> list[str]:
        """Return a line on each thing that was noted: how many rows, and which is the first."""
        counted = self._notes.items()
        lines = [f"{len(v):,} rows {what}; the first is {v[0]}" for what, v in counted]
        if self.outside:
            lines.append(
                f"{len(self.outside):,} of {self.files:,} images or videos lie outside of the data "
                f"folder {', '.join(self.folders)} (first: {shortened(self.outside[0])}); they "
                "will be shown in report.html; data.outside=false refuses them"
            )
        return lines

    def require_all(self) -> None:
        """Raise InputError if files are missing: how many, the first few, and the folders."""
        if said := self.lacking():
            raise InputError(said)

    def lacking(self) -> str:
        """Return what is missing: how many files, the first few, and the folders; empty if nothing
        is."""
        if not self.missing:
            return ""
        more = len(self.missing) - LISTED
        named = "; ".join(self.missing[:LISTED]) + (f"; and {more} more" if more > 0 else "")
        return (
            f"{len(self.missing)} images or videos are missing: {named}. Looked in "
            f"{', '.join(self.folders)}, with and without the leading folder of the path; is the "
            "data folder right, and are all archives unpacked?"
        )

    def require_inside(self) -> None:
        """Raise InputError if files lie outside of the folders; it names the first few."""
        if self.outside:
            more = len(self.outside) - LISTED
            named = "; ".join(map(shortened, self.outside[:LISTED]))
            raise InputError(
                f"{len(self.outside)} of {self.files} images or videos lie outside of the data "
                f"folder {', '.join(self.folders)}: {named}{f'; and {more} more' * (more > 0)}; "
                "data.outside=true reads them"
            )


def image_text(image: Any, folder: str) -> str:
    """Return an image as a row stores it: a path relative to a folder, or bytes as a data URL."""
    if isinstance(image, bytes):
        return "data:image;base64," + base64.b64encode(image).decode()
    return str(image).removeprefix(folder)
