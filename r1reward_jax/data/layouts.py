"""What rows look like, told by their fields, and how each kind becomes a record.

    released     id, prompt, chosen, rejected, image or video: what R1-Reward's release evaluates
    hub          id, query, response (two), human_ranking, image: VL-RewardBench as its authors
                 share it; a ranking gives each response's place, 0 is the better one
    multimodal   ID, Category, Text, Image, Output1, Output2, Better: Multimodal RewardBench
    rl           message, question, answer, image or video: the public R1-Reward-RL set, our files
    relevance    query, candidates, preferred: see `data/relevance.py`

Rows that are stored with the better response first stay so: an evaluation shows both orders.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from etils import epath

from r1reward_jax.data import preferences
from r1reward_jax.data.files import Finder, Row
from r1reward_jax.data.relevance import relevance_record
from r1reward_jax.data.video import DEFAULT
from r1reward_jax.types import InputError, PreferenceRecord, Record, Verdict


@dataclass(frozen=True)
class Layout:
    """One kind of row."""

    fields: tuple[str, ...]
    """That each row has; they tell the kind."""
    to_record: Callable[[Row, Finder], Record]
    kept: tuple[str, ...] = ()
    """Further fields that go into a record's meta, where a row has them."""


def read_layout(rows: Sequence[Row]) -> str:
    """The layout of all rows, a key of LAYOUTS.

    Raises:
      InputError: rows of no known layout, or of several.
    """
    name = _layout(rows[0])
    if name is None:
        known = "".join(f"\n  {k}: {', '.join(v.fields)}" for k, v in LAYOUTS.items())
        raise InputError(
            f"{rows[0].where}: unknown fields {', '.join(rows[0].fields)}; expected all of one of"
            f"{known}"
        )
    for row in rows:
        missing = [f for f in LAYOUTS[name].fields if f not in row.fields]
        if missing and (found := _layout(row)):
            raise InputError(
                f"{row.where}: a row of the layout {found}, but the file begins with {name}; "
                "give each layout a file of its own"
            )
        if missing:
            raise InputError(
                f"{row.where}: no field {', '.join(missing)}; a row of the layout {name} has "
                f"{', '.join(LAYOUTS[name].fields)}"
            )
    return name


def to_records(rows: Iterable[Row], layout: str, finder: Finder) -> list[Record]:
    """The records of rows of one layout; files that are missing are the finder's to tell.

    Raises:
      InputError: a row that does not hold what its fields promise.
    """
    return [_record(row, LAYOUTS[layout], finder) for row in rows]


def _layout(row: Row) -> str | None:
    return next((k for k, v in LAYOUTS.items() if set(v.fields) <= row.fields.keys()), None)


def _record(row: Row, layout: Layout, finder: Finder) -> Record:
    try:
        record = layout.to_record(row, finder)
    except (LookupError, TypeError, AttributeError, json.JSONDecodeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{row.name}: not what the fields {', '.join(layout.fields)} hold ({problem})"
        ) from None
    kept = {f: row.fields[f] for f in layout.kept if row.fields.get(f) is not None}
    return replace(record, meta=kept | record.meta)


def _pair(
    row: Row, finder: Finder, question: Any, responses: Sequence[Any], preferred: Verdict
) -> PreferenceRecord:
    """A record of a row whose fields hold plain texts."""
    texts = {"question": question, "first response": responses[0], "second": responses[1]}
    for name, text in texts.items():
        if not isinstance(text, str) or (not text.strip() and name != "question"):
            said = "empty" if text is None or text == "" else repr(text)[:40]
            raise InputError(f"{row.name}: the {name} is {said}; expected a text")
    fields = row.fields
    image = next((fields[f] for f in ("image", "Image", "image_path") if fields.get(f)), None)
    return PreferenceRecord(
        id=str(fields.get("id", fields.get("ID"))),
        question=question,
        responses=(responses[0], responses[1]),
        preferred=preferred,
        images=finder.images(image, row),
        video=finder.video(fields.get("video"), row),
        meta=dict(_meta(row)),
    )


def _meta(row: Row) -> Mapping[str, Any]:
    found = row.fields.get("meta") or {}
    if not isinstance(found, Mapping):
        raise InputError(f"{row.name}: meta is {type(found).__name__}; expected an object")
    return found


def _released(row: Row, finder: Finder) -> PreferenceRecord:
    fields = row.fields
    return _pair(row, finder, fields["prompt"], (fields["chosen"], fields["rejected"]), 1)


def _hub(row: Row, finder: Finder) -> PreferenceRecord:
    responses, ranking = row.fields["response"], list(row.fields["human_ranking"])
    if len(responses) != 2 or ranking not in ([0, 1], [1, 0]):
        raise InputError(
            f"{row.name}: {len(responses)} responses ranked {ranking}; expected two, ranked [0, 1] "
            "or [1, 0], where 0 is the better one"
        )
    return _pair(row, finder, row.fields["query"], responses, 1 if ranking[0] == 0 else 2)


def _multimodal(row: Row, finder: Finder) -> PreferenceRecord:
    fields = row.fields
    better: dict[str, Verdict] = {"output1": 1, "output2": 2}
    preferred = better.get(str(fields["Better"]).strip().lower())
    if preferred is None:
        raise InputError(
            f"{row.name}: Better is {fields['Better']!r}; expected 'Output1' or 'Output2'"
        )
    return _pair(row, finder, fields["Text"], (fields["Output1"], fields["Output2"]), preferred)


def _rl(row: Row, finder: Finder) -> PreferenceRecord:
    message = json.loads(row.fields["message"])
    content = message[-1]["content"]
    unknown = {part["type"] for part in content} - {"text", "image", "video"}
    if unknown:
        raise InputError(f"{row.name}: {', '.join(unknown)} is neither text, image nor video")
    texts = [part for part in content if part["type"] == "text"]
    images = [part["image"] for part in content if part["type"] == "image"]
    videos = [part["video"] for part in content if part["type"] == "video"]
    if len(videos) > 1:
        raise InputError(f"{row.name}: {len(videos)} videos, a record has at most one")
    bare = row.fields | {"image": "", "video": None, "meta": dict(_meta(row))}
    bare["message"] = json.dumps([*message[:-1], message[-1] | {"content": texts}])
    record = preferences.to_record(bare, row.where, epath.Path(""), row.number, DEFAULT)
    given = row.fields.get("image")
    # a table keeps the pictures in its own column; the message only names them
    inside = isinstance(given, (bytes, dict, list))
    return replace(
        record,
        images=finder.images(given if inside or not images else images, row),
        video=finder.video(videos[0] if videos else row.fields.get("video"), row),
    )


def _relevance(row: Row, finder: Finder) -> Record:
    return relevance_record(row, finder)


LAYOUTS = {
    "released": Layout(
        ("id", "prompt", "chosen", "rejected"), _released, ("chosen_reason", "rejected_reason")
    ),
    "hub": Layout(
        ("id", "query", "response", "human_ranking"),
        _hub,
        ("models", "judge", "query_source", "ground_truth", "human_error_analysis"),
    ),
    "multimodal": Layout(
        ("ID", "Category", "Text", "Output1", "Output2", "Better"), _multimodal, ("Category",)
    ),
    "rl": Layout(("message", "answer"), _rl),
    "relevance": Layout(("query", "candidates", "preferred"), _relevance),
}
