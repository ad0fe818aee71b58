"""Tell the layout of rows by their fields, and turn each row into a record.

    released     id, prompt, chosen, rejected, image or video: what R1-Reward's release evaluates
    hub          id, query, response (two), human_ranking, image: VL-RewardBench as its authors
                 share it; a ranking gives each response's place, 0 is the better one
    multimodal   ID, Category, Text, Image, Output1, Output2, Better: Multimodal RewardBench
    rl           message, question, answer, image or video: the public R1-Reward-RL set, our files
    relevance    query, candidates, preferred: see `data/relevance.py`

`read_table` is the one way from files to records, for training and evaluation alike; a further
layout is a function from row to record and an entry in LAYOUTS. Responses stay in the order that
they are stored in, also where that is the better one first: an evaluation shows both orders, and
the cold start warns (`train.preflight`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from etils import epath

from r1reward_jax.data.chats import last_turn
from r1reward_jax.data.files import Row, read_rows
from r1reward_jax.data.media import Finder
from r1reward_jax.data.relevance import relevance_record
from r1reward_jax.data.shown import count_marks, may_hold_media, shown
from r1reward_jax.data.tables import NotRead
from r1reward_jax.data.video import Sampling
from r1reward_jax.prompts import parse_verdict, split_message
from r1reward_jax.reading import shortened
from r1reward_jax.types import InputError, PreferenceRecord, Record, Verdict


@dataclass(frozen=True)
class Layout:
    """One kind of row."""

    fields: tuple[str, ...]
    """Fields that each row of the layout has; they tell it from others."""
    to_record: Callable[[Row, Finder], Record]
    kept: tuple[str, ...] = ()
    """Further fields that go into a record's meta, where a row has them."""


@dataclass(frozen=True)
class Table:
    """The rows of a data file, all of one layout."""

    paths: Sequence[str]
    """The file, or its parts in order."""
    rows: list[Row]
    layout: str
    """A key of LAYOUTS."""

    notes: list[str] = field(default_factory=list)
    """What `records` found that its user should know, a line each."""

    def records(
        self,
        frames: Sampling,
        *,
        folder: str = "",
        require_files: bool | Literal["some"] = True,
        outside: bool = True,
    ) -> list[Record]:
        """Return the record of each row; images are not decoded yet.

        Args:
          frames: how many frames of a video are read.
          folder: where the paths of images may start, beside the folder of the file.
          require_files: False keeps the paths of images and videos that are missing; whoever looks
            at one gets the error, as with a video that cannot be read. "some" does so, with a note,
            unless each record that names files lacks some of them.
          outside: whether images may lie outside of the folders; False refuses them.

        Raises:
          InputError: a row that is not as its layout says, with file, line and id; or images and
            videos that are missing, all in one message.
        """
        beside = str(epath.Path(self.paths[0]).parent)
        given = [folder] if folder and epath.Path(folder).is_dir() else []
        finder = Finder([beside, *given], frames)
        records, naming, lacking = [], 0, 0
        for row in self.rows:
            files, missing = finder.files, len(finder.missing)
            records.append(_record(row, LAYOUTS[self.layout], finder))
            naming += finder.files > files
            lacking += len(finder.missing) > missing
        if require_files is True or (require_files and lacking == naming):
            finder.require_all()
        if not outside:
            finder.require_inside()
        blind = [row for row, record in zip(self.rows, records) if not has_media(record)]
        if len(blind) < len(records):
            for row in blind:
                finder.note("have no image and no video", row)
        told = [finder.lacking()] if require_files and lacking else []
        self.notes[:] = [*told, *finder.notes()]
        return records


def has_media(record: Record) -> bool:
    """Return whether a record shows an image or a video."""
    holders: tuple[Any, ...] = getattr(record, "candidates", (record,))
    return any(holder.images or holder.video for holder in holders)


def _wanted(name: str) -> bool:
    """Return whether somebody reads a column of a table, or looks at it for pictures."""
    return name in KNOWN or may_hold_media(name)


def read_table(paths: Sequence[str]) -> Table:
    """Read the rows of a file and tell their layout.

    Args:
      paths: the file, or its parts in order.

    Raises:
      InputError: a file that cannot be read, or rows of no known layout, or of several.
    """
    rows = read_rows(paths, _wanted)
    return Table(paths, rows, _layout_of(rows))


def _layout_of(rows: Sequence[Row]) -> str:
    """Return the layout of all rows. Raises InputError if it is unknown or not the same."""
    name = _layout(rows[0])
    if name is None:
        raise _unknown(rows[0])
    for row in rows:
        missing = _lacking(row, LAYOUTS[name])
        if missing and (found := _layout(row)):
            raise InputError(
                f"{row.name}: a row of the layout {found}, but the file begins with {name}; "
                "give each layout a file of its own"
            )
        if missing:
            raise InputError(
                f"{row.name}: no field {', '.join(missing)}; a row of the layout {name} has "
                f"{', '.join(LAYOUTS[name].fields)}"
            )
    return name


def _layout(row: Row) -> str | None:
    return next((k for k, v in LAYOUTS.items() if set(v.fields) <= row.fields.keys()), None)


def _unknown(row: Row) -> InputError:
    """Return the error for a row of no known layout; it names the nearest one."""
    known = "".join(f"\n  {name}: {', '.join(x.fields)}" for name, x in LAYOUTS.items())
    near = min(LAYOUTS, key=lambda k: len(_lacking(row, LAYOUTS[k])) / len(LAYOUTS[k].fields))
    return InputError(
        f"{row.name}: unknown fields {shortened(', '.join(row.fields))}; "
        f"expected all of one of{known}\n"
        f"The nearest is {near}, without {', '.join(_lacking(row, LAYOUTS[near]))}"
    )


def _lacking(row: Row, layout: Layout) -> list[str]:
    return [field for field in layout.fields if field not in row.fields]


def _record(row: Row, layout: Layout, finder: Finder) -> Record:
    unread = [f for f in layout.fields if isinstance(row.fields[f], NotRead)]
    assert not unread, f"columns {unread} of a layout are not among KNOWN"
    try:
        record = layout.to_record(row, finder)
    # a field of another type than the layout's; its function need not check each of them
    except (LookupError, TypeError, AttributeError, RecursionError):
        kinds = ", ".join(f"{f} ({type(row.fields[f]).__name__})" for f in layout.fields)
        raise InputError(f"{row.name}: not what the layout has in its fields {kinds}") from None
    kept = {f: row.fields[f] for f in layout.kept if row.fields.get(f) is not None}
    return replace(record, meta=kept | record.meta)


def _pair(
    row: Row, finder: Finder, question: Any, responses: Sequence[Any], preferred: Verdict
) -> PreferenceRecord:
    """Return the record of a row whose fields hold plain texts."""
    texts = {"question": question, "first response": responses[0], "second": responses[1]}
    for name, text in texts.items():
        if not isinstance(text, str) or (not text.strip() and name != "question"):
            said = "empty" if text is None or text == "" else shortened(repr(text))[:40]
            raise InputError(f"{row.name}: the {name} is {said}; expected a text")
    media = shown(row.fields, row, finder)
    count_marks([question], media, row, finder)
    return PreferenceRecord(
        id=_id(row),
        question=question,
        responses=(responses[0], responses[1]),
        preferred=preferred,
        images=media[0],
        video=media[1],
        meta=dict(_meta(row)),
    )


def _id(row: Row) -> str:
    """Return a row's id, or its number if it has none."""
    given = row.fields.get("id", row.fields.get("ID"))
    if isinstance(given, (dict, list, bytes)):
        raise InputError(f"{row.where}: id is {type(given).__name__}; expected a text or a number")
    return str(row.number if given is None else given)


def _meta(row: Row) -> Mapping[str, Any]:
    meta = row.fields.get("meta")
    if meta is None:
        return {}
    if not isinstance(meta, Mapping):
        raise InputError(f"{row.name}: meta is {type(meta).__name__}; expected an object")
    return meta


def _released(row: Row, finder: Finder) -> PreferenceRecord:
    fields = row.fields
    return _pair(row, finder, fields["prompt"], (fields["chosen"], fields["rejected"]), 1)


def _hub(row: Row, finder: Finder) -> PreferenceRecord:
    responses, ranking = row.fields["response"], row.fields["human_ranking"]
    if not isinstance(responses, list) or not isinstance(ranking, list):
        kinds = f"{type(responses).__name__} and {type(ranking).__name__}"
        raise InputError(f"{row.name}: response and human_ranking are {kinds}; expected two lists")
    if len(responses) != 2 or ranking not in ([0, 1], [1, 0]):
        raise InputError(
            f"{row.name}: {len(responses)} responses ranked {ranking!r:.40}; expected two, ranked "
            "[0, 1] or [1, 0], where 0 is the better one"
        )
    return _pair(row, finder, row.fields["query"], responses, 1 if ranking[0] == 0 else 2)


def _multimodal(row: Row, finder: Finder) -> PreferenceRecord:
    fields = row.fields
    better: dict[str, Verdict] = {"output1": 1, "output2": 2}
    preferred = better.get(str(fields["Better"]).strip().lower())
    if preferred is None:
        raise InputError(
            f"{row.name}: Better is {fields['Better']!r:.40}; expected 'Output1' or 'Output2'"
        )
    return _pair(row, finder, fields["Text"], (fields["Output1"], fields["Output2"]), preferred)


def _rl(row: Row, finder: Finder) -> PreferenceRecord:
    """Return the record of an R1-Reward-RL row: its message is a chat whose last turn is an
    evaluator prompt, from which question and responses are cut out again."""
    said = last_turn(row, finder)
    sections = split_message("".join(said.texts))
    if sections is None:
        raise InputError(
            f"{row.name}: the message needs the sections [Question]:, [Response 1]: and "
            "[Response 2]:, each exactly once"
        )
    if not all(sections[1:]):
        raise InputError(f"{row.name}: a response is empty; expected two texts")
    question = row.fields.get("question")
    if question is not None and not isinstance(question, str):
        raise InputError(f"{row.name}: question is {type(question).__name__}; expected a text")
    media = shown(row.fields, row, finder, images=said.images, videos=said.videos)
    if said.unread and not any(media):
        raise InputError(
            f"{row.name}: an image or a video of the message is given by "
            f"{shortened(', '.join(said.unread))}, which is not read; expected a path, base64 or "
            "bytes"
        )
    if said.empty and said.empty != len(media[0]) + bool(media[1]):
        finder.note("have another number of images than parts of their message ask for", row)
    count_marks(said.texts, media, row, finder)
    return PreferenceRecord(
        id=_id(row),
        question=question or sections[0],
        responses=sections[1:],
        preferred=_label(row),
        images=media[0],
        video=media[1],
        meta=dict(_meta(row)),
    )


def _label(row: Row) -> Verdict:
    """Return the label of a row's answer: `<answer>2</answer>`, or the number alone, also in a
    list."""
    answer = row.fields["answer"]
    given = answer if isinstance(answer, list) and answer else [answer]
    labels = {_verdict(each) for each in given}
    if len(labels) != 1 or None in labels:
        raise InputError(
            f"{row.name}: answer {answer!r:.60} is neither <answer>1</answer> nor "
            "<answer>2</answer>, nor one of these numbers"
        )
    return 1 if labels == {1} else 2


def _verdict(given: Any) -> Verdict | None:
    if isinstance(given, str):
        word = given.strip()
        return parse_verdict(f"<answer>{word}</answer>" if word in ("1", "2") else given)
    # tables hold whole numbers as floats where a value is missing; True is not a position
    whole = isinstance(given, (int, float)) and not isinstance(given, bool)
    return (1 if given == 1 else 2) if whole and given in (1, 2) else None


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
    "relevance": Layout(("query", "candidates", "preferred"), relevance_record),
}

KNOWN = frozenset(
    ("id", "ID", "meta", "question", "completion", "attempts", "matched"),
).union(*(layout.fields + layout.kept for layout in LAYOUTS.values()))
"""Columns of tables that are read, beside those of images and videos."""
