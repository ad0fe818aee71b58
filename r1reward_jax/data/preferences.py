"""Read preference records for training, and write them.

Training reads what evaluation reads: json, jsonl or parquet in any layout of `data/layouts.py`.
Written files are jsonl in the schema of the public R1-Reward-RL set: `message` (a JSON chat whose
text is an evaluator prompt with the sections [Question], [Response 1], [Response 2]), `question`,
`answer` (["<answer>2</answer>"]) and `image` (a path relative to the file, or base64) or `video`
(a folder of frames or a file). They add `id`, `meta` and, once annotated, `completion`, `attempts`
and `matched`; readers of the public schema ignore these.
"""

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from etils import epath

from r1reward_jax.console import warn
from r1reward_jax.data.files import Row, find_file
from r1reward_jax.data.layouts import Table, read_table
from r1reward_jax.data.media import image_text
from r1reward_jax.data.video import DEFAULT, Sampling, path_of
from r1reward_jax.files import write_whole
from r1reward_jax.prompts import TEMPLATES, evaluator_prompt
from r1reward_jax.types import InputError, PreferenceRecord, Record


@dataclass(frozen=True)
class Annotation:
    """A teacher's text about a record."""

    record: PreferenceRecord
    completion: str
    attempts: int
    """Texts that the teacher wrote until its verdict matched the label, or until it gave up."""
    matched: bool
    """Whether the completion's verdict is the label."""


def read_records(
    path: str, frames: Sampling = DEFAULT, *, require_files: bool = True, outside: bool = True
) -> list[Record]:
    """Return all records of a file, in any layout.

    Args:
      path: a json, jsonl or parquet file, or a folder that holds one.
      frames: how many frames of a video are read.
      require_files: False keeps the paths of images that are missing.
      outside: whether images may lie outside of the data folder.

    Raises:
      InputError: what is wrong, with file, line and id; all missing images in one message.
    """
    return _told(_table(path), frames, require_files, outside)


def read_preferences(
    path: str, frames: Sampling = DEFAULT, *, require_files: bool = True, outside: bool = True
) -> list[PreferenceRecord]:
    """Return the records that `rl` and `scalar-rm` train on.

    Raises:
      InputError: as `read_records`, or records that are no preferences.
    """
    return _preferences(_table(path), frames, require_files, outside)


def read_annotations(
    path: str, frames: Sampling = DEFAULT, *, require_files: bool = True, outside: bool = True
) -> list[Annotation]:
    """Return the annotated records that `sft` trains on: rows of any layout with the fields
    `completion`, `attempts` and `matched`.

    Raises:
      InputError: as `read_preferences`, or a row without these fields.
    """
    table = _table(path)
    # annotations first: a file that is not annotated at all needs no look at its images
    written = [_annotated(row) for row in table.rows]
    records = _preferences(table, frames, require_files, outside)
    return [Annotation(record, *fields) for record, fields in zip(records, written, strict=True)]


def _table(path: str) -> Table:
    return read_table(find_file(path))


def _told(table: Table, frames: Sampling, require_files: bool, outside: bool) -> list[Record]:
    """Return a table's records, after its notes were printed."""
    records = table.records(frames, require_files=require_files, outside=outside)
    for line in table.notes:
        _warn_once(f"{table.paths[0]}: {line}")
    return records


@functools.cache  # a report at the end of a run reads the same file again
def _warn_once(line: str) -> None:
    warn(line)


def _preferences(
    table: Table, frames: Sampling, require_files: bool, outside: bool
) -> list[PreferenceRecord]:
    if table.layout == "relevance":
        raise InputError(
            f"{table.paths[0]}: rows of a query and two candidates; training needs a question and "
            "two responses (`r1reward evaluate` reads both)"
        )
    records = _told(table, frames, require_files, outside)
    return [r for r in records if isinstance(r, PreferenceRecord)]


def _annotated(row: Row) -> tuple[str, int, bool]:
    """Return completion, attempts and matched of an annotated row."""
    kinds = {"completion": str, "attempts": int, "matched": bool}
    missing = [name for name in kinds if name not in row.fields]
    if missing:
        raise InputError(f"{row.name}: no field {', '.join(missing)}; is the file annotated?")
    for name, kind in kinds.items():
        if not isinstance(row.fields[name], kind):
            raise InputError(
                f"{row.name}: {name} is {row.fields[name]!r:.40}; expected {kind.__name__}"
            )
    return row.fields["completion"], row.fields["attempts"], row.fields["matched"]


def write_records(path: str, records: Iterable[PreferenceRecord]) -> None:
    """Write records as jsonl; paths of images become relative to the file's folder."""
    _write(path, (_to_row(record, path) for record in records))


def write_annotations(path: str, annotations: Iterable[Annotation]) -> None:
    """Write annotated records as `write_records` does."""
    _write(
        path,
        (
            _to_row(a.record, path)
            | {"completion": a.completion, "attempts": a.attempts, "matched": a.matched}
            for a in annotations
        ),
    )


def _write(path: str, rows: Iterable[dict[str, Any]]) -> None:
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _to_row(record: PreferenceRecord, path: str) -> dict[str, Any]:
    folder = f"{epath.Path(path).parent}/"
    images = [image_text(image, folder) for image in record.images]
    prompt = evaluator_prompt(record, TEMPLATES["full"])
    content = [{"type": "text", "text": prompt.content[-1]}]
    content += [{"type": "image", "image": image} for image in images]
    video = path_of(record.video).removeprefix(folder) if record.video else ""
    content += [{"type": "video", "video": video}] if video else []
    row = {
        "id": record.id,
        "message": json.dumps([{"role": "user", "content": content}], ensure_ascii=False),
        "question": record.question,
        "answer": [f"<answer>{record.preferred}</answer>"],
        "image": images[0] if images else "",
    }
    row |= {"video": video} if video else {}
    return row | ({"meta": record.meta} if record.meta else {})
