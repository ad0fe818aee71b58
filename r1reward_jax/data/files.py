"""Read the rows of a data file, whatever holds them: a json list, jsonl, or parquet in parts.

A row is a plain dict, and the words by which messages name it. What its fields mean is the business
of `data/layouts.py`; which files its images are, of `data/media.py`. Another container (csv, an
archive) is another branch of `_read`. Files are anybody's: a line, a list and what a table unfolds
to have limits, which no set of this kind comes near.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from etils import epath

from r1reward_jax.data.tables import read_parquet
from r1reward_jax.errors import printable
from r1reward_jax.model_folder import FETCH
from r1reward_jax.places import place
from r1reward_jax.reading import MB, load_json, open_regular, read_most, shortened, surrogate_in
from r1reward_jax.types import InputError

SUFFIXES = (".json", ".jsonl", ".parquet")
MOST_BYTES = 65_536 * MB
"""Bytes of a data file."""
MOST_AT_ONCE = 4096 * MB
"""Bytes of a json list, which is parsed as one."""
MOST_LINE = 512 * MB
"""Bytes of a line of jsonl, images in it included."""
BOM = "\ufeff"
"""The byte order mark that Windows editors write before a text."""

OTHERS = {
    b"\xff\xfe": "UTF-16 or another encoding; save the file as UTF-8",
    b"\xfe\xff": "UTF-16 or another encoding; save the file as UTF-8",
    b"\x1f\x8b": "compressed by gzip; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it first",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"PAR1": "a parquet table; name it .parquet",
    b"version https://git-lfs": FETCH,
    b"<": "HTML or XML, perhaps the page of a download; expected json, jsonl or parquet",
}
"""How files of other kinds begin, and what to do about them."""


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
        return (
            self.where
            if given is None
            else f"{self.where} (id {printable(shortened(str(given)), lines=False)})"
        )


def read_rows(paths: Sequence[str], wanted: Callable[[str], bool] = lambda name: True) -> list[Row]:
    """Return the rows of one file, or of the parts of one in order.

    Args:
      paths: .json, .jsonl or .parquet files.
      wanted: by a column's name, whether a table's is read; what holds bytes always is.

    Raises:
      InputError: a file that cannot be read, a row that is no object, or no rows at all.
    """
    stored = (item for path in paths for item in _read(path, wanted))
    rows = [_checked(row, where, number) for number, (row, where) in enumerate(stored, 1)]
    if not rows:
        raise InputError(f"{', '.join(paths)}: no rows")
    return rows


def _checked(row: Any, where: str, number: int) -> Row:
    if not isinstance(row, dict):
        raise InputError(f"{where}: {type(row).__name__}, expected an object of named fields")
    for name, value in row.items():
        if half := surrogate_in(name, "a field's name") or surrogate_in(value, name):
            raise InputError(f"{where}: half of a character in {shortened(half)}; write it whole")
    return Row(row, where, number)


def _read(path: str, wanted: Callable[[str], bool]) -> Iterator[tuple[Any, str]]:
    try:
        file = open_regular(path, MOST_BYTES)
    except FileNotFoundError:
        expected = f"expected a file of {', '.join(SUFFIXES)}"
        raise InputError(f"{shortened(path)}: not found; {expected}") from None
    except OSError as error:
        raise InputError(f"{shortened(path)}: {error.strerror or error}") from None
    with file:
        if path.lower().endswith(".parquet"):
            yield from read_parquet(file, path, wanted)
            return
        start = file.read(4096)
        file.seek(0)
        if other := next((what for head, what in OTHERS.items() if start.startswith(head)), None):
            raise InputError(f"{path}: {other}")
        # not the suffix decides: there are lists in files named .jsonl, and the reverse
        begin = start.removeprefix(BOM.encode()).lstrip()[:1]
        yield from _list(path, file) if begin == b"[" else _lines(path, file)


def _list(path: str, file: IO[bytes]) -> Iterator[tuple[Any, str]]:
    data = read_most(file, MOST_AT_ONCE) or b""
    if len(data) > MOST_AT_ONCE:
        limit = f"at most {MOST_AT_ONCE // MB:,} MB"
        raise InputError(f"{path}: a list of more than {limit}; write one row on each line")
    try:
        text = data.decode("utf-8-sig")
        rows = load_json(text)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {error.reason}; expected json or jsonl in UTF-8") from None
    except ValueError as error:
        line = getattr(error.__cause__, "lineno", None)
        where = f"{path}:{line}" if line else path
        raise InputError(f"{where}: {error}; is the file complete?") from None
    yield from ((row, f"{path} row {number}") for number, row in enumerate(rows, 1))


def _lines(path: str, file: IO[bytes]) -> Iterator[tuple[Any, str]]:
    # lines of bytes, not of text: U+2028 and U+0085 stand inside texts, json leaves them unescaped
    for number, line in enumerate(iter(lambda: file.readline(MOST_LINE + 1), b""), 1):
        where = f"{path}:{number}"
        if len(line) > MOST_LINE:
            raise InputError(f"{where}: a line of more than {MOST_LINE // MB:,} MB; is it jsonl?")
        try:
            text = line.decode().strip().strip(BOM)
            if text.strip():
                yield load_json(text), where
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: {error.reason}; expected json or jsonl in UTF-8") from None
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            expected = "expected a list of rows, or one row on each line"
            raise InputError(f"{where}: {error}; {expected}") from None


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
