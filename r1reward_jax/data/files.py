"""Rows of benchmark files, whatever holds them: a json list, jsonl, or parquet in several parts.

A row is a plain dict and the words that name it in messages. Nothing is known here about what the
fields mean; `data/layouts.py` is.
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from etils import epath

from r1reward_jax.data import preferences
from r1reward_jax.data.video import Sampling, read_video
from r1reward_jax.types import InputError, VideoPart

SUFFIXES = (".json", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Row:
    """One row of a file."""

    fields: dict[str, Any]
    where: str
    """What a message calls it: file and line, or file and row, from 1."""
    number: int
    """Position in the set, from 1."""

    @property
    def name(self) -> str:
        """Where it stands, and its id if it has one."""
        found = self.fields.get("id", self.fields.get("ID"))
        return self.where if found is None else f"{self.where} (id {found})"


def read_rows(paths: Sequence[str]) -> list[Row]:
    """The rows of one file, or of the parts of one in order.

    Args:
      paths: of .json, .jsonl or .parquet files.

    Raises:
      InputError: a file that cannot be read, a row that is no object, or no rows at all.
    """
    found = ((row, where) for path in paths for row, where in _read(path))
    rows = [_checked(row, where, number) for number, (row, where) in enumerate(found, 1)]
    if not rows:
        raise InputError(f"{', '.join(paths)}: no rows")
    return rows


def _checked(row: Any, where: str, number: int) -> Row:
    if not isinstance(row, dict):
        raise InputError(f"{where}: {type(row).__name__}, expected an object of named fields")
    return Row(row, where, number)


def _read(path: str) -> Iterable[tuple[Any, str]]:
    file = epath.Path(path)
    if not file.exists():
        raise InputError(f"{path}: not found; expected a file of {', '.join(SUFFIXES)}")
    if file.suffix == ".parquet":
        return _parquet(path)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}; expected json or jsonl in UTF-8") from None
    # told apart by what is inside: lists are found in files named .jsonl, and the other way round
    return _list(path, text) if text.lstrip().startswith("[") else _lines(path, text)


def _list(path: str, text: str) -> Iterator[tuple[Any, str]]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: {error.msg}; is the file complete?") from None
    return ((row, f"{path} row {number}") for number, row in enumerate(rows, 1))


def _lines(path: str, text: str) -> Iterator[tuple[Any, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield json.loads(line), f"{path}:{number}"
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}:{number}: {error.msg}; expected a list of rows, or one row on each line"
            ) from None


def _parquet(path: str) -> Iterator[tuple[Any, str]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{path}: parquet needs pyarrow; pip install pyarrow") from None
    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(epath.Path(path).read_bytes()))
        number = 0
        for batch in file.iter_batches(batch_size=64):
            for row in batch.to_pylist():
                number += 1
                yield row, f"{path} row {number}"
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: {error}; is the file complete?") from None


def find_file(given: epath.Path, usual: Sequence[str] = ()) -> list[str]:
    """The file that is meant, all its parts in order.

    Args:
      given: the file, or the folder with it; its folder `data` is looked at too.
      usual: names that go before all others.

    Raises:
      InputError: no file of a known kind, several, or parts that are missing.
    """
    if not given.is_dir():
        return [str(given)]
    folders = [folder for folder in (given, given / "data") if folder.is_dir()]
    named = [str(f / name) for f in folders for name in usual if (f / name).exists()]
    if len(named) == 1:
        return named
    sets: dict[str, list[str]] = {}
    for file in sorted(p for f in folders for p in f.iterdir() if p.suffix in SUFFIXES):
        # parts of one table: test-00000-of-00002.parquet, 0000.parquet
        whole = re.sub(r"\d+(-of-\d+)?$", "#", file.stem) if file.suffix == ".parquet" else ""
        sets.setdefault(str(file.parent / (whole or file.name)), []).append(str(file))
    if len(sets) == 1:
        ((_, parts),) = sets.items()
        _require_parts(parts)
        return parts
    found = [part for parts in sets.values() for part in parts]
    raise InputError(
        f"{given}: {'several files' if sets else 'no file of'} "
        f"{', '.join(found or SUFFIXES)}{'; name the one that is meant' if sets else ''}"
    )


def _require_parts(parts: Sequence[str]) -> None:
    """Raise InputError if a name says that there are more parts than there are."""
    match = re.search(r"-of-(\d+)\.parquet$", parts[-1])
    if match and len(parts) != int(match[1]):
        raise InputError(f"{parts[-1]}: {len(parts)} of {int(match[1])} parts are there")


class Finder:
    """Turns what rows say about images and videos into paths and bytes, and keeps a list of the
    files that are not there: a user should hear of all of them at once."""

    def __init__(self, folders: Iterable[str], frames: Sampling):
        """
        Args:
          folders: where relative paths may start, the first that has the file wins; a path's own
            leading folder may be missing there.
          frames: how videos are looked at.
        """
        self.folders, self.frames = list(dict.fromkeys(folders)), frames
        self.missing: list[str] = []
        self._known: dict[str, str | None] = {}
        self._videos: dict[str, VideoPart] = {}

    def images(self, value: Any, row: Row) -> tuple[str | bytes, ...]:
        """Paths or encoded bytes of an image field: a path, base64, bytes, a struct of bytes and
        path, a list of these, or nothing."""
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
        image = preferences.image_of(value, epath.Path(""), row.where)
        return (image,) if isinstance(image, bytes) else (self._path(value, row),)

    def video(self, value: Any, row: Row) -> VideoPart | None:
        """A video field: a path of a folder of frames or of a file, or nothing."""
        if not value:
            return None
        if not isinstance(value, str):
            raise InputError(f"{row.name}: the video is {type(value).__name__}; expected a path")
        path, lost = self._path(value, row), self._known[value] is None
        if lost:
            return None
        if path not in self._videos:
            try:
                self._videos[path] = read_video(path, self.frames)
            except InputError as error:
                raise InputError(f"{row.name}: {error}") from None
        return self._videos[path]

    def _path(self, value: str, row: Row) -> str:
        if value not in self._known:
            without = value.split("/", 1)[-1]
            places = (epath.Path(f) / v for f in self.folders for v in (value, without))
            self._known[value] = next((str(p) for p in places if p.exists()), None)
        if self._known[value] is None:
            self.missing.append(f"{row.name}: {value}")
        return self._known[value] or value

    def require_all(self) -> None:
        """Raise InputError if files are missing: how many, the first five, and where was looked."""
        if not self.missing:
            return
        first = "; ".join(self.missing[:5])
        more = f"; and {len(self.missing) - 5} more" if len(self.missing) > 5 else ""
        raise InputError(
            f"{len(self.missing)} images or videos are missing: {first}{more}. Looked in "
            f"{', '.join(self.folders)}, with and without the leading folder of the path; is the "
            "data folder right, and are all archives unpacked?"
        )
