"""Look at all data of a run before its first update, and before weights are loaded.

Every image and video is decoded once, lengths are counted, labels and completions are read. What
makes a run meaningless ends it here, all of it in one message; what can be left out is left out,
counted by its reason and listed in `skipped_NAME.jsonl`; nothing is ever truncated. What was found
is kept in `data_report_NAME.json`, so that a resumed run looks again only if its data changed.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import jax
from etils import epath

from r1reward_jax.console import counter, detail, warn
from r1reward_jax.data import checks
from r1reward_jax.data.decoding import Decoder, media_keys
from r1reward_jax.files import write_whole
from r1reward_jax.train.data_report import DataReport
from r1reward_jax.train.findings import (
    DataSet,
    Faults,
    Rules,
    Skipped,
    balanced_places,
    left_out,
    listed,
    odd_records,
    places_of,
    refusals,
    set_report,
    skipped_path,
    warnings_of,
)
from r1reward_jax.train.lengths import Measured
from r1reward_jax.types import InputError, PreferenceRecord, Record

T = TypeVar("T")
CHUNK = 1024
"""Items that are looked at between two glances at how many are still wanted."""


@dataclass(frozen=True)
class Looked(Generic[T]):
    """What a run works on after the look."""

    items: list[T]
    heldout: list[Record]
    report: DataReport


def look(
    train: DataSet[T],
    heldout: DataSet[Record] | None,
    rules: Rules,
    *,
    threads: int,
    workdir: str = "",
    settings: str = "",
    tell: Callable[[str], None] = warn,
) -> Looked[T]:
    """Look at all data of a run; tell what is odd and what is left out.

    Args:
      train: what the run trains on.
      heldout: what it measures on; None for nothing.
      rules: what is done about what is found.
      threads: that decode images and tokenise.
      workdir: of the run, which remembers the look; empty to write nothing.
      settings: whatever else lengths depend on, such as tokenizer and buckets; a look with others
        is repeated.
      tell: gets what a person should know.

    Raises:
      InputError: what no run should begin with: images that cannot be read (unless they are to be
        skipped), empty completions, or nothing left; all of it in one message.
    """
    began = time.monotonic()
    sets = [train, heldout] if heldout is not None else [train]
    media = {s.name: [media_keys(s.record_of(item)) for item in s.items] for s in sets}
    state = _fingerprint(sets, media, f"{rules} {settings}")
    before = _known(workdir, train.name)
    if before and before["state"] == state:
        detail("data: looked at before, nothing changed")
        skipped, warnings = before["skipped"], before["warnings"]
        report = DataReport.from_json(before["report"])
    else:
        skipped, report, warnings = _look(sets, media, rules, threads, workdir)
        report = replace(report, seconds=round(time.monotonic() - began, 3))
        same = before is not None and before["settings"] == settings
        if before and same and before["skipped"].get(train.name) != skipped[train.name]:
            warn("data: since the last start files have changed, and other records are left out")
        body = {"state": state, "settings": settings, "warnings": warnings, "skipped": skipped}
        _keep(workdir, train.name, body | {"report": report.to_json()})
    for warning in warnings:
        tell(warning)
    places = balanced_places(train, places_of(train, skipped[train.name]), rules)
    measured = list[Record]()
    if heldout is not None:
        measured = [heldout.items[i] for i in places_of(heldout, skipped[heldout.name])]
    return Looked([train.items[i] for i in places], measured, report)


def _look(
    sets: Sequence[DataSet[Any]],
    media: Mapping[str, Sequence[Sequence[str]]],
    rules: Rules,
    threads: int,
    workdir: str,
) -> tuple[Skipped, DataReport, list[str]]:
    """Return what is left out, the counts, and what to warn of."""
    skipped: Skipped = {}
    errors, warnings, problems, decoded, reports = [], [], [], 0, []
    for data in sets:
        with Decoder(data.source) as decoder:
            faults, measured = _inspect(data, decoder, threads)
        decoded += decoder.decoded
        errors += refusals(data, faults, rules, problems)
        skipped[data.name] = left_out(data, faults, rules)
        places = places_of(data, skipped[data.name])
        if not places and not errors:
            first = skipped[data.name][0]["reason"] if skipped[data.name] else ""
            why = f"; the first of {len(data.items)}: {first}" if first else "; is the file empty?"
            use = "to measure on" if data.name == "heldout" else "to train on"
            errors.append(f"{data.name}: no records {use}{why}")
        if not errors:
            reports.append(set_report(data, places, faults, measured, skipped[data.name], rules))
            warnings += warnings_of(data, reports[-1], skipped[data.name], workdir, rules)
            warnings += odd_records(data, places, media[data.name])
    if errors:
        raise InputError("; ".join([*errors, *listed(problems, workdir)]))
    both = [[d.record_of(d.items[i]) for i in places_of(d, skipped[d.name])] for d in sets]
    shared = checks.overlap(*both) if len(both) == 2 else 0
    if shared:
        warnings.append(
            f"heldout: {shared:,} of {len(both[1]):,} records have the question and responses of a "
            "training record; what is measured on them is not held out"
        )
    heldout = reports[1] if len(reports) == 2 else None
    return skipped, DataReport(reports[0], heldout, shared, decoded), warnings


# ------------------------------------------------------------------ one item


def _inspect(
    data: DataSet[T], decoder: Decoder, threads: int
) -> tuple[list[Faults], list[Measured | None]]:
    """Return what is wrong with each item, and how long it is; of as many items as are needed to
    find `most` without faults."""

    def one(item: T) -> tuple[Faults, Measured | None]:
        odd: tuple[str, ...] = ()
        if data.completion_of is not None:
            text, matched = data.completion_of(item)
            odd = tuple(checks.completion_faults(text, data.record_of(item).preferred, matched))
        if unreadable := decoder.problems(data.record_of(item)):
            return Faults("; ".join(unreadable), odd=odd), None
        try:
            measured = data.measure(item)
        except InputError as error:
            return Faults(str(error), odd=odd), None
        return Faults(misfit=measured.misfit or "", odd=odd), measured

    found: list[tuple[Faults, Measured | None]] = []
    most = len(data.items) if data.most is None else data.most
    bar = counter(f"{data.name}: data", len(data.items) if data.most is None else most)
    # the threads do not start before they are needed, and a handful of items needs few
    with bar as one_more, ThreadPoolExecutor(max(1, threads)) as pool:
        good = 0
        while good < most and len(found) < len(data.items):
            size = CHUNK if data.most is None else min(CHUNK, most - good)
            for result in pool.map(one, data.items[len(found) : len(found) + size]):
                found.append(result)
                good += not (result[0].unreadable or result[0].misfit)
                one_more()
    return [faults for faults, _ in found], [measured for _, measured in found]


# ------------------------------------------------------------------ memory


def _fingerprint(
    sets: Sequence[DataSet[Any]], media: Mapping[str, Sequence[Sequence[str]]], settings: str
) -> str:
    """Return a hash of all that a look depends on; images count by size and time of change."""
    digest = hashlib.sha256(settings.encode("utf-8", "surrogatepass"))
    for data in sets:
        digest.update(repr((data.name, data.most, len(data.items))).encode())
        for item, keys in zip(data.items, media[data.name], strict=True):
            record = replace(data.record_of(item), **_bare(data.record_of(item)))
            text = data.completion_of(item) if data.completion_of is not None else None
            digest.update(repr((record, keys, text)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _bare(record: Record) -> dict[str, Any]:
    """Return the fields of a record that count by their keys: bytes of images have no place in a
    hash of texts."""
    bare: dict[str, Any] = {"images": (), "video": None}
    if isinstance(record, PreferenceRecord):
        return bare
    return {"candidates": tuple(replace(candidate, **bare) for candidate in record.candidates)}


def _known(workdir: str, name: str) -> dict[str, Any] | None:
    """Return what the last look of a run found; None if there was none."""
    path = _report_path(workdir, name)
    if not workdir or not path.exists():
        return None
    try:
        body = json.loads(path.read_text())
        DataReport.from_json(body["report"])
        missing = {"state", "settings", "skipped", "warnings"} - body.keys()
        if missing:
            raise ValueError(f"without {', '.join(sorted(missing))}")
        return body
    except (ValueError, LookupError, TypeError) as error:
        warn(f"{path}: cannot be read ({error!r}); the data are looked at again")
        return None


def _keep(workdir: str, name: str, body: Mapping[str, Any]) -> None:
    """Write what a look found into the run's folder."""
    if not workdir or jax.process_index():
        return
    for each, rows in body["skipped"].items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_whole(skipped_path(workdir, each), text)
    write_whole(_report_path(workdir, name), json.dumps(body, indent=2))


def _report_path(workdir: str, name: str) -> epath.Path:
    return epath.Path(workdir) / f"data_report_{name}.json"
