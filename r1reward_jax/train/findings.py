"""What is wrong with the items of a data set, and what is done about it (`train.preflight`).

Three ends: an error that refuses the run, an item that is left out and counted by its reason, or a
warning.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import jax
from etils import epath

from r1reward_jax.data import checks
from r1reward_jax.data.decoding import count_media
from r1reward_jax.errors import record_name
from r1reward_jax.files import write_whole
from r1reward_jax.prompts import parse_verdict
from r1reward_jax.train.data_report import Lengths, SetReport
from r1reward_jax.train.lengths import Measured
from r1reward_jax.types import PreferenceRecord, Record, Verdict

T = TypeVar("T")
SHOWN = 5
"""Problems of a kind that one message names; it counts the others."""
UNREADABLE = "unreadable"
MISMATCHED = {
    odd: f"completions {odd} (sft.mismatched=skip)" for odd in (checks.NO_VERDICT, checks.AGAINST)
}
"""What may be wrong with a verdict to imitate, and how records without it are counted."""
SURPLUS = "surplus of a label (sft.balance=drop)"


VERDICTS = "sft.mismatched=refuse; keep imitates them, skip leaves them out"
REFUSED = {
    UNREADABLE: (
        "records cannot be read",
        "mend them, or leave them out by data.skip_unreadable=true",
    ),
    checks.EMPTY: (
        checks.EMPTY,
        "annotate these records again, or take them out of the file",
    ),
}
"""What errors call the records of a kind, and what to do about them."""


@dataclass(frozen=True)
class Faults:
    """What is wrong with one item; an item without faults is as it should be."""

    unreadable: str = ""
    """Why its images or videos cannot be shown."""
    misfit: str = ""
    """Why it does not fit."""
    odd: tuple[str, ...] = ()
    """What is odd about its completion, see `checks.completion_faults`."""


@dataclass(frozen=True)
class DataSet(Generic[T]):
    """A set of items to look at."""

    name: str
    """The phase that trains on it, or `heldout`; names `skipped_NAME.jsonl`."""
    source: str
    """Its file, for messages; empty where the run makes its own records."""
    items: Sequence[T]
    record_of: Callable[[T], Record]
    measure: Callable[[T], Measured]
    """Called in threads, after the images are known to be readable."""
    completion_of: Callable[[T], tuple[str, bool]] | None = None
    """The completion to imitate, and its row's `matched`; None where nothing is imitated."""
    most: int | None = None
    """Items to use, the first ones that fit; None uses all."""


@dataclass(frozen=True)
class Rules:
    """What is done about what is found."""

    skip_unreadable: bool = False
    """Leave out records whose images or videos cannot be read; else they end the run."""
    mismatched: str = "keep"
    """Completions without verdict, or with one against the label: keep, skip or refuse."""
    balance: checks.Balance = "none"
    """What is done about labels of completions that are not 1:1."""
    seed: int = 0
    """Of what `balance` chooses."""


Skipped = dict[str, list[dict[str, Any]]]
"""For each set, its items that are left out: place, name, kind and reason."""


def skipped_path(workdir: str, name: str) -> epath.Path:
    return epath.Path(workdir) / f"skipped_{name}.jsonl"


def where(data: DataSet[T], place: int) -> str:
    """Return what messages call an item: its file and row, and its record."""
    name = record_name(data.record_of(data.items[place]).id)
    return f"{data.source} row {place + 1} ({name})" if data.source else name


def _kind(reason: str) -> str:
    """Return the kind of a misfit, by which it is counted."""
    knob = re.search(r"buckets\.\w+|[\w.]*max_\w+_tokens", reason)
    if knob:
        return f"larger than {knob[0]}"
    return "images of a shape that the model cannot take" if "aspect" in reason else "misfits"


def places_of(data: DataSet[Any], skipped: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the places of the items that are used."""
    gone = {row["place"] for row in skipped}
    return [i for i in range(len(data.items)) if i not in gone][: data.most]


def balanced_places(data: DataSet[Any], places: Sequence[int], rules: Rules) -> list[int]:
    """Return the places that are trained on; of completions to imitate so that labels stand 1:1, if
    the rules say so."""
    if data.completion_of is None:
        return list(places)
    labels: list[Verdict | None] = [data.record_of(data.items[i]).preferred for i in places]
    return [places[i] for i in checks.balanced(labels, rules.balance, rules.seed)]


# ------------------------------------------------------------------ verdicts


def refusals(
    data: DataSet[Any], faults: Sequence[Faults], rules: Rules, problems: list[dict[str, Any]]
) -> list[str]:
    """Return what ends the run, a message for each kind; add each item to `problems`."""
    kinds: dict[str, list[tuple[int, str]]] = {}
    for place, fault in enumerate(faults):
        if fault.unreadable and not rules.skip_unreadable:
            kinds.setdefault(UNREADABLE, []).append((place, fault.unreadable))
        for odd in fault.odd:
            if odd == checks.EMPTY or (rules.mismatched == "refuse" and odd in MISMATCHED):
                kinds.setdefault(odd, []).append((place, f"completion {odd}"))
    messages = []
    for kind, found in kinds.items():
        rows = [(where(data, place), reason) for place, reason in found]
        problems += [{"set": data.name, "where": w, "kind": kind, "reason": r} for w, r in rows]
        more = f"; and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
        what, remedy = REFUSED.get(kind, (f"completions {kind}", VERDICTS))
        first = (f"{at}: {reason}" if kind == UNREADABLE else at for at, reason in rows[:SHOWN])
        messages.append(f"{data.name}: {len(rows):,} {what} ({'; '.join(first)}{more}); {remedy}")
    return messages


def listed(problems: Sequence[Mapping[str, Any]], workdir: str) -> list[str]:
    """Write all problems into the run's folder if a message cannot hold them; return where."""
    if len(problems) <= SHOWN or not workdir:
        return []
    path = epath.Path(workdir) / "data_problems.jsonl"
    if jax.process_index() == 0:
        write_whole(path, "".join(json.dumps(row) + "\n" for row in problems))
    return [f"all are listed in {path}"]


def left_out(data: DataSet[Any], faults: Sequence[Faults], rules: Rules) -> list[dict[str, Any]]:
    """Return the items that are left out, with their reasons."""
    rows = []
    for place, fault in enumerate(faults):
        mismatched = [odd for odd in fault.odd if odd in MISMATCHED]
        if fault.unreadable:
            kind, reason = UNREADABLE, fault.unreadable
        elif fault.misfit:
            kind, reason = _kind(fault.misfit), fault.misfit
        elif mismatched and rules.mismatched == "skip":
            kind, reason = MISMATCHED[mismatched[0]], f"the completion is {mismatched[0]}"
        else:
            continue
        name = record_name(data.record_of(data.items[place]).id)
        rows.append({"place": place, "name": name, "kind": kind, "reason": reason})
    return rows


def set_report(
    data: DataSet[Any],
    places: Sequence[int],
    faults: Sequence[Faults],
    measured: Sequence[Measured | None],
    skipped: Sequence[Mapping[str, Any]],
    rules: Rules,
) -> SetReport:
    """Return the counts of a set."""
    kinds = Counter(row["kind"] for row in skipped)
    kept = balanced_places(data, places, rules)
    if len(kept) < len(places):
        kinds[SURPLUS] = len(places) - len(kept)
    places = kept
    records = [data.record_of(data.items[i]) for i in places]
    media = [count_media(record) for record in records]
    lengths = [m for i in places if (m := measured[i])]
    verdicts = None
    if data.completion_of is not None:
        texts = [data.completion_of(data.items[i])[0] for i in places]
        verdicts = checks.label_counts([parse_verdict(text) for text in texts])
    return SetReport(
        data.source,
        len(data.items),
        len(records),
        dict(kinds.most_common()),
        sum(images for images, _ in media),
        sum(videos for _, videos in media),
        checks.label_counts([record.preferred for record in records]),
        verdicts,
        dict(Counter(odd for i in places for odd in faults[i].odd).most_common()),
        Lengths.of([m.prompt for m in lengths]),
        Lengths.of([m.completion for m in lengths if m.completion is not None]),
    )


# ------------------------------------------------------------------ warnings


def warnings_of(
    data: DataSet[Any],
    report: SetReport,
    skipped: Sequence[Mapping[str, Any]],
    workdir: str,
    rules: Rules,
) -> Iterator[str]:
    """Yield what to warn of in a set."""
    if skipped:
        kinds = Counter(row["kind"] for row in skipped)
        shown = "; ".join(f"{count:,} x {kind}" for kind, count in kinds.most_common())
        use = "are not measured on" if data.name == "heldout" else "are skipped"
        if not kinds.keys() & {UNREADABLE, *MISMATCHED.values()}:
            use = f"do not fit and {use}"
        first = skipped[0]
        yield (
            f"{data.name}: {len(skipped):,} of {report.given:,} records {use} ({shown}); the "
            f"first, {where(data, first['place'])}: {first['reason']}"
        )
        if workdir:
            yield f"{data.name}: they are listed in {skipped_path(workdir, data.name)}"
    for what, count in report.doubtful.items():
        remedy = "; they are imitated as they are (sft.mismatched=keep; or skip, refuse)"
        yield (
            f"{data.name}: {count:,} of {report.records:,} completions {_are(what)}"
            f"{remedy if what in MISMATCHED else ''}"
        )
    side = checks.lopsided(report.labels)
    if side and data.completion_of is not None and rules.balance == "none":
        yield (
            f"{data.name}: {max(report.labels):,} of {report.records:,} labels name response "
            f"{side}; a generative model may learn the position instead of the quality. Swap the "
            "responses of half of the records before they are annotated, or set "
            "sft.balance=drop or repeat"
        )


def _are(what: str) -> str:
    """Return a kind of oddity as the end of a sentence about completions."""
    return f"have a record {what}" if what == checks.WRONG_FIELD else f"are {what}"


def odd_records(
    data: DataSet[Any], places: Sequence[int], media: Sequence[Sequence[str]]
) -> Iterator[str]:
    """Yield what to warn of in the records of a set."""
    records = [data.record_of(data.items[i]) for i in places]
    pairs = [(r, media[i]) for i, r in zip(places, records) if isinstance(r, PreferenceRecord)]
    preferences = [r for r, _ in pairs]
    for what, count in checks.odd_records(preferences).items():
        yield f"{data.name}: {count:,} records {what}"
    again = checks.repetitions(preferences, [keys for _, keys in pairs])
    if again.opposed:
        yield (
            f"{data.name}: {again.opposed:,} records have the same question, responses and images "
            "as another one, and the opposite label"
        )
    if again.ids:
        yield (
            f"{data.name}: {again.ids:,} records have the id of another one; messages and "
            "rollouts.jsonl name records by their ids"
        )
    if again.same:
        yield f"{data.name}: {again.same:,} records are in the file more than once"
