"""The judgements of an evaluation as lines of a file, from which all its numbers come.

`judgements.jsonl` has two lines per record, in the order of the records: as stored, and with the
responses swapped. Rows are numbered by their position in the benchmark; ids of benchmarks repeat.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from etils import epath

from r1reward_jax.evals.types import ORDERS, Judgement, PairJudgement
from r1reward_jax.files import sync, write_whole
from r1reward_jax.images import open_image
from r1reward_jax.prompts import parse_verdict
from r1reward_jax.responses import ResponseFormat
from r1reward_jax.types import InputError, Record, RelevanceRecord, VideoPart


class Journal:
    """A judgements.jsonl that grows by a line per judgement, in order.

    A killed process loses at most the line that was being written; a later one keeps the others.
    """

    def __init__(self, path: str, total: int):
        """
        Args:
          path: of the file; made if needed.
          total: judgements that it is to have.

        Raises:
          InputError: it holds other lines, or more of them.
        """
        self._path = epath.Path(path)
        self.done, torn = 0, False
        """Judgements that are there."""
        with contextlib.ExitStack() as stack:
            lines = stack.enter_context(self._path.open()) if self._path.exists() else ()
            for line in lines:
                if torn := not line.endswith("\n"):
                    break
                if _number(line) != self.done or self.done == total:
                    raise InputError(
                        f"{path}: line {self.done + 1} is not the judgement that belongs there (of "
                        f"{total}); delete the file, or take another workdir"
                    )
                self.done += 1
        if torn:
            text = self._path.read_text()
            write_whole(self._path, text[: text.rfind("\n") + 1])

    def __enter__(self) -> "Journal":
        self._file = self._path.open("a")
        return self

    def __exit__(self, *_: object) -> None:
        sync(self._file)
        self._file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """Append a line."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        self.done += 1


def _number(line: str) -> int | None:
    """Return 2 * row + order of a line, from 0; None for a malformed line."""
    try:
        row = json.loads(line)
        return 2 * row["row"] + row["order"] - 1
    except (ValueError, LookupError, TypeError):
        return None


def read_judged(path: str, released: ResponseFormat | None = None) -> list[PairJudgement]:
    """Return the judgements of a finished evaluation, in the order of rows.

    Args:
      path: of a judgements.jsonl.
      released: how the authors' release reads a text; None leaves that out.

    Raises:
      InputError: no such file, a line that is no judgement, or an order that is missing.
    """
    file = epath.Path(path)
    if not file.exists():
        raise InputError(f"{path}: not found; expected the judgements of `r1reward evaluate`")
    orders: dict[int, dict[int, Mapping[str, Any]]] = {}
    for number, line in enumerate(file.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
            orders.setdefault(row["row"], {})[row["order"]] = row
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"{path}:{number}: not a judgement ({error!r})") from None
    missing = [row for row, found in orders.items() if found.keys() != {1, 2}]
    if missing or not orders:
        raise InputError(f"{path}: rows {missing[:5]} lack an order; did the evaluation end?")
    return [_pair(orders[row], path, released) for row in sorted(orders)]


def _pair(
    orders: Mapping[int, Mapping[str, Any]], path: str, released: ResponseFormat | None
) -> PairJudgement:
    row = orders[1]
    try:
        both = (_judgement(orders[1], released), _judgement(orders[2], released))
        if {both[0].label, both[1].label} != {1, 2}:
            raise ValueError("the labels of both orders are not 1 and 2")
        place = row["row"], row["id"], row["group"], row["unit"]
        # lines of earlier versions have no parts of groups
        return PairJudgement(*place, both, both[0].scores, row.get("subgroup", ""))
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: row {row['row']} is not a judgement ({error!r})") from None


def _judgement(row: Mapping[str, Any], released: ResponseFormat | None) -> Judgement:
    """Return the judgement of a line; a scalar model's has no texts, so no lengths."""
    first = lambda name, default: (row[name] or [default])[0]  # noqa: E731
    scores = row.get("scores")
    return Judgement(
        label=row["preferred"],
        position=first("verdicts", None),
        first_probability=first("probabilities", None),
        votes=tuple(row["votes"]),
        vote_probabilities=tuple(row["vote_probabilities"]),
        tokens=first("tokens", 0),
        vote_tokens=tuple(row["vote_tokens"]),
        prompt_tokens=row["prompt_tokens"],
        well_formed=first("well_formed", False),
        truncated=first("finish_reasons", "eos") == "length",
        skipped=row["skipped"],
        # the first versions skipped for one reason only
        reason=row.get("reason", "longer than the largest bucket" if row["skipped"] else ""),
        stopped=row["stopped"],
        stopped_tokens=row["stopped_tokens"],
        shown=ORDERS[row["order"] - 1],
        scores=scores and (scores[0], scores[1]),
        released=parse_verdict(first("texts", ""), released) if released else None,
    )


EMBEDDED = "embedded"
"""First word of the name of an image without a path; the beginning of its sha256 follows."""


def judgement_row(record: Record, judgement: Judgement, number: int) -> dict[str, Any]:
    """Return a judgement as a line of judgements.jsonl, which `read_judged` reads.

    Args:
      record: as stored.
      judgement: of the record, in one order.
      number: of the judgement among all, 2 * row + order.
    """
    row, swapped = divmod(number, 2)
    place = {
        "row": row,
        "order": swapped + 1,
        "group": group_of(record),
        "subgroup": subgroup_of(record),
        "unit": unit_of(record, row),
    }
    greedy = judgement.completions[:1]
    whole = [c for c in judgement.completions[1:] if c.finish_reason != "stopped"]
    said = {
        "skipped": judgement.skipped,
        "reason": judgement.reason,
        "prompt_tokens": judgement.prompt_tokens,
        "scores": judgement.scores,
        "verdicts": (judgement.position,),
        "probabilities": (judgement.first_probability,),
        "texts": [c.text for c in greedy],
        "tokens": [len(c.token_ids) for c in greedy],
        "finish_reasons": [c.finish_reason for c in greedy],
        "well_formed": [judgement.well_formed for _ in greedy],
        "votes": list(judgement.votes),
        "vote_probabilities": list(judgement.vote_probabilities),
        "vote_texts": [c.text for c in whole],
        "vote_tokens": list(judgement.vote_tokens),
        "stopped": judgement.stopped,
        "stopped_tokens": judgement.stopped_tokens,
    }
    return place | record_row(record.swapped() if swapped else record) | said


def group_of(record: Record) -> str:
    """Return the group of the benchmark that a record is in; empty if it has none."""
    return str(record.meta.get("group", ""))


def subgroup_of(record: Record) -> str:
    """Return the part of the group that a record is in; empty if the group is not divided."""
    return str(record.meta.get("subgroup", ""))


def unit_of(record: Record, row: int) -> str:
    """Return what a record shares with those that belong to it; else its row's number."""
    return str(record.meta.get("unit", row))


def record_row(record: Record) -> dict[str, Any]:
    """Return a record, as it is shown to the model, as a part of a line. Embedded images count by
    the beginning of their sha256."""
    if isinstance(record, RelevanceRecord):
        question, holders = record.query, record.candidates
        responses = tuple(c.text for c in record.candidates)
    else:
        question, holders, responses = record.question, (record,), record.responses
    videos = [video_name(holder.video) for holder in holders if holder.video]
    return {
        "id": record.id,
        "question": question,
        "responses": responses,
        "preferred": record.preferred,
        "images": [_image_name(i) for holder in holders for i in holder.images],
    } | ({"videos": videos} if videos else {})


def is_embedded(name: str) -> bool:
    """Return whether a line of judgements.jsonl names an image like this that was not a file."""
    # the bare word is what the first versions wrote
    return re.fullmatch(f"{EMBEDDED}( [0-9a-f]{{16}})?", name) is not None


def _image_name(image: Any) -> str:
    if isinstance(image, str):
        return image
    data = image if isinstance(image, bytes) else open_image(image).tobytes()
    return f"{EMBEDDED} {hashlib.sha256(data).hexdigest()[:16]}"


def video_name(video: VideoPart) -> str:
    """Return the path of a video's file, or of its first frame, and how many frames there are."""
    path = getattr(video.frames, "path", None)
    first = next(iter(video.frames), None) if path is None else None
    named = path or (first if isinstance(first, str) else EMBEDDED)
    return f"{named} ({len(video.frames)} frames)"


def images_of(record: Record) -> list[Any]:
    """Return the images of a record, or of both candidates, and the frames of videos in folders."""
    holders = record.candidates if isinstance(record, RelevanceRecord) else (record,)
    frames = [h.video.frames for h in holders if h.video and isinstance(h.video.frames, tuple)]
    return [i for h in holders for i in h.images] + [f for fs in frames for f in fs]
