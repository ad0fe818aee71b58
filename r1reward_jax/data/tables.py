"""Read tables in parquet, in memory that their size on the disk allows for.

A column may be packed a million to one: a dictionary of one long text, and a number for each row.
So only the columns that are wanted are unpacked, a few rows at a time, values that repeat are held
once, and what remains may not be out of all proportion to the file.
"""

import os
from collections.abc import Callable, Iterator
from typing import IO, Any

from r1reward_jax.reading import MB, shortened
from r1reward_jax.types import InputError

UNFOLDED = 256 * MB
"""Bytes that any table may unfold to; a large one to `TIMES` its size."""
TIMES = 50
MOST_VALUES = 50_000_000
"""Values of a column in a group of rows."""
BATCH = 16 * MB
"""Bytes of rows that are unpacked at a time, as far as the sizes of their columns tell."""
SHORT = 64
"""Characters up to which a value is not looked up among those that are held."""


class NotRead:
    """What stands in a row for a column that nobody reads."""

    def __bool__(self) -> bool:
        return False


NOT_READ = NotRead()


def read_parquet(
    file: IO[bytes], path: str, wanted: Callable[[str], bool]
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the rows of a table, and their names.

    Args:
      file: opened, at its beginning.
      path: for messages.
      wanted: by its name, whether a column is read. Those that hold bytes always are.

    Raises:
      InputError: pyarrow is missing, the file is damaged or unfolds to too much.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{path}: parquet needs pyarrow; pip install pyarrow") from None
    size = file.seek(0, os.SEEK_END)
    held = _Held(max(UNFOLDED, TIMES * size), path)
    number = 0
    try:
        file.seek(0)
        table = pyarrow.parquet.ParquetFile(file, pre_buffer=False)
        schema = table.schema_arrow
        read = [f.name for f in schema if wanted(f.name) or _holds_bytes(f.type)]
        others: dict[str, Any] = {f.name: NOT_READ for f in schema if f.name not in read}
        for group in range(table.num_row_groups):
            rows = _rows_at_once(table.metadata.row_group(group), read, path)
            # a group without a column of ours still has rows
            for batch in table.iter_batches(rows, [group], columns=read, use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield others | held.keep(row), f"{path} row {number}"
    except Exception as error:  # whatever a damaged file makes of the library
        if isinstance(error, InputError):
            raise
        reason = shortened(str(error).partition("\n")[0]) or type(error).__name__
        raise InputError(f"{path}: {reason}; is the file complete?") from None


def _holds_bytes(kind: Any) -> bool:
    """Return whether values of a type are bytes, or have bytes inside."""
    import pyarrow.types as t

    binary = (t.is_binary(kind), t.is_large_binary(kind), t.is_fixed_size_binary(kind))
    inside = (kind.field(i).type for i in range(kind.num_fields))
    return any(binary) or any(_holds_bytes(each) for each in inside)


def _rows_at_once(group: Any, columns: list[str], path: str) -> int:
    """Return how many rows of a group to unpack at a time: a value can be as long as its column."""
    largest = 0
    for index in range(group.num_columns):
        column = group.column(index)
        if column.path_in_schema.split(".")[0] not in columns:
            continue
        if column.num_values > MOST_VALUES:
            raise InputError(f"{path}: {column.num_values:,} values in a group of rows; split it")
        largest += column.total_uncompressed_size
    return max(1, min(64, BATCH // max(1, largest)))


class _Held:
    """Values of rows, each long text or bytes once, and what they take together."""

    def __init__(self, most: int, path: str):
        self._most, self._path = most, path
        self._seen: dict[str | bytes, Any] = {}
        self._total = 0

    def keep(self, value: Any) -> Any:
        """Return a value, made of those that are held already. Raises InputError past the limit."""
        if isinstance(value, (str, bytes)):
            if len(value) <= SHORT:
                return value
            if value not in self._seen:
                self._seen[value] = value
                self._add(len(value))
            return self._seen[value]
        if isinstance(value, list):
            self._add(8 * len(value))
            return [self.keep(each) for each in value]
        if isinstance(value, dict):
            return {name: self.keep(each) for name, each in value.items()}
        return value

    def _add(self, size: int) -> None:
        self._total += size
        if self._total > self._most:
            raise InputError(
                f"{self._path}: unfolds to more than {self._most // MB:,} MB, out of all "
                "proportion to the file; write it anew without such compression"
            )
