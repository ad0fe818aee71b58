"""Read and write relevance records: which of two candidates fits a query better.

Search and recommendation ask this: a query in a shop, and two products of several photos each. A
row, here over several lines, is

    {"id": "shop-1",
     "query": "red mug with a handle",
     "candidates": [
        {"text": "Mug, 300 ml", "images": ["mug/front.png", "mug/side.png", "mug/top.png"]},
        {"text": "Drinking glass", "images": ["glass/1.png", "glass/2.png", "glass/3.png"]}],
     "preferred": 1,
     "meta": {"group": "kitchen"}}

Images are paths relative to the file, base64 or, in parquet, bytes; a candidate may have a `video`
instead, a folder of frames or a file. `preferred` is null where the row has no label. Such a file
is evaluated like any other: `read_relevance("shop.jsonl")` gives the records, `evaluator_prompt`
shows each candidate's images under its own heading. Training takes preference records only.
"""

import json
from collections.abc import Iterable
from typing import Any

from etils import epath

from r1reward_jax.data.files import Row, read_rows
from r1reward_jax.data.media import Finder, image_text
from r1reward_jax.data.shown import count_marks, shown
from r1reward_jax.data.video import DEFAULT, Sampling, path_of
from r1reward_jax.files import write_whole
from r1reward_jax.types import Candidate, InputError, RelevanceRecord


def read_relevance(path: str, frames: Sampling = DEFAULT) -> list[RelevanceRecord]:
    """Return all records of a json, jsonl or parquet file.

    Raises:
      InputError: with file and line or row; images and videos that are missing, all at once.
    """
    finder = Finder([str(epath.Path(path).parent)], frames)
    records = [relevance_record(row, finder) for row in read_rows([path])]
    finder.require_all()
    return records


def relevance_record(row: Row, finder: Finder) -> RelevanceRecord:
    """Return the record of a row. Raises InputError if the row is not as described above."""
    fields = row.fields
    missing = [f for f in ("query", "candidates", "preferred") if f not in fields]
    if missing:
        raise InputError(f"{row.where}: no {', '.join(missing)}; expected a relevance row")
    query, candidates, preferred = fields["query"], fields["candidates"], fields["preferred"]
    if not isinstance(query, str) or not query.strip():
        raise InputError(f"{row.name}: the query is empty; expected a text")
    if not isinstance(candidates, list) or len(candidates) != 2:
        raise InputError(f"{row.name}: candidates must be a list of two")
    if preferred is not None and (isinstance(preferred, bool) or preferred not in (1, 2)):
        raise InputError(f"{row.name}: preferred is {preferred!r:.40}; expected 1, 2 or null")
    meta = {} if fields.get("meta") is None else fields["meta"]
    if not isinstance(meta, dict):
        raise InputError(f"{row.name}: meta is {type(meta).__name__}; expected an object")
    if any(shown(fields, row, finder)):
        raise InputError(f"{row.name}: images of the row; each candidate has its own")
    first, second = (_candidate(c, i, row, finder) for i, c in enumerate(candidates, 1))
    return RelevanceRecord(
        id=str(fields.get("id", row.number)),
        query=query,
        candidates=(first, second),
        preferred=preferred,
        meta=meta,
    )


def _candidate(given: Any, number: int, row: Row, finder: Finder) -> Candidate:
    if not isinstance(given, dict) or not isinstance(given.get("text"), str):
        raise InputError(f"{row.name}: a candidate needs a `text`, and may have images or a video")
    media = shown(given, row, finder, of=f"candidate {number}: ")
    if not given["text"].strip() and not any(media):
        raise InputError(f"{row.name}: a candidate is empty: no text, no images, no video")
    count_marks([given["text"]], media, row, finder)
    return Candidate(given["text"], *media)


def write_relevance(path: str, records: Iterable[RelevanceRecord]) -> None:
    """Write records as jsonl; their images are paths below the file's folder, or bytes."""
    rows = (json.dumps(_to_row(record, path), ensure_ascii=False) + "\n" for record in records)
    write_whole(path, "".join(rows))


def _to_row(record: RelevanceRecord, path: str) -> dict[str, Any]:
    folder = f"{epath.Path(path).parent}/"
    row = {
        "id": record.id,
        "query": record.query,
        "candidates": [_candidate_row(c, folder) for c in record.candidates],
        "preferred": record.preferred,
    }
    return row | ({"meta": record.meta} if record.meta else {})


def _candidate_row(candidate: Candidate, folder: str) -> dict[str, Any]:
    images = [image_text(image, folder) for image in candidate.images]
    video = path_of(candidate.video).removeprefix(folder) if candidate.video else ""
    return {"text": candidate.text, "images": images} | ({"video": video} if video else {})
