"""Read the rows of a data file, whatever holds them: a json list, jsonl, or parquet in parts.

A row is a plain dict, and the words by which messages name it. What its fields mean is the business
of `data/layouts.py`; which files its images are, of `data/media.py`. Another container (csv, an
archive) is another branch of `_read`.
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from etils import epath

from r1reward_jax.places import place
from r1reward_jax.types import InputError

SUFFIXES = (".json", ".jsonl", ".parquet")


@dataclass(frozen=True)
class Row:
    """One row of a file."""

    fields: dict[str, Any]
    where: str
    """Name for messages: file and line, or file and row, from 1."""
    number: int
    """Position in the set, from 1."""

    @property
    def name(self) -> str:
        """Return the row's place, and its id if it has one."""
        given = self.fields.get("id", self.fields.get("ID"))
        return self.where if given is None else f"{self.where} (id {given})"


def read_rows(paths: Sequence[str]) -> list[Row]:
    """Return the rows of one file, or of the parts of one in order.

    Args:
      paths: .json, .jsonl or .parquet files.

    Raises:
      InputError: a file that cannot be read, a row that is no object, or no rows at all.
    """
    stored = (item for path in paths for item in _read(path))
    rows = [_checked(row, where, number) for number, (row, where) in enumerate(stored, 1)]
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
    # the content decides, not the suffix: there are lists in files named .jsonl, and the reverse
    return _list(path, text) if text.lstrip().startswith("[") else _lines(path, text)


def _list(path: str, text: str) -> Iterator[tuple[Any, str]]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: {error.msg}; is the file complete?") from None
    return ((row, f"{path} row {number}") for number, row in enumerate(rows, 1))


def _lines(path: str, text: str) -> Iterator[tuple[Any, str]]:
    # not splitlines(): U+2028 and U+0085 stand inside texts, and json leaves them unescaped
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


def find_file(path: str, usual: Sequence[str] = ()) -> list[str]:
    """Return the data file at a path, all its parts in order.

    Args:
      path: the file, or the folder with it; the folder `data` in it is searched as well.
      usual: file names that win over all others.

    Raises:
      InputError: no file of a known kind, several, or parts that are missing.
    """
    path = place(path)
    given = epath.Path(path)
    if not given.is_dir():
        return [path]
    folders = [folder for folder in (given, given / "data") if folder.is_dir()]
    named = [str(f / name) for f in folders for name in usual if (f / name).exists()]
    if len(named) == 1:
        return named
    sets: dict[str, list[str]] = {}
    for file in sorted(p for f in folders for p in f.iterdir() if p.suffix in SUFFIXES):
        # parts of one table share a name: test-00000-of-00002.parquet, 0000.parquet
        table = re.sub(r"\d+(-of-\d+)?$", "#", file.stem) if file.suffix == ".parquet" else ""
        sets.setdefault(str(file.parent / (table or file.name)), []).append(str(file))
    if len(sets) == 1:
        ((_, parts),) = sets.items()
        _require_parts(parts)
        return parts
    if not sets:
        raise InputError(f"{given}: no file of {', '.join(SUFFIXES)}")
    files = ", ".join(part for parts in sets.values() for part in parts)
    raise InputError(f"{given}: several files {files}; name the one that is meant")


def _require_parts(parts: Sequence[str]) -> None:
    """Raise InputError if the names promise more parts than there are."""
    match = re.search(r"-of-(\d+)\.parquet$", parts[-1])
    if match and len(parts) != int(match[1]):
        raise InputError(f"{parts[-1]}: {len(parts)} of {int(match[1])} parts are in the folder")
