"""What of the data can be trained on: looked at before the first update, not in the middle of the
night."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jax
from etils import epath

from r1reward_jax.console import progress, say
from r1reward_jax.files import write_whole
from r1reward_jax.prompts import Template, evaluator_prompt
from r1reward_jax.types import InputError, PreferenceRecord, Processor

T = TypeVar("T")


def fitting(
    items: Sequence[T],
    misfit: Callable[[T], str | None],
    name: Callable[[T], str],
    *,
    phase: str,
    workdir: str,
    threads: int,
) -> list[T]:
    """The items that fit. Those that do not are counted, and listed with the reason in
    `skipped_PHASE.jsonl`; nothing is ever cut.

    Args:
      items: records, or what is made of them.
      misfit: why an item does not fit; None if it does.
      name: what errors call an item.
      phase: of the run.
      workdir: of the run.
      threads: that look at items at a time.

    Raises:
      InputError: images that cannot be read, or nothing is left.
    """
    found: list[str | None] = []
    unreadable: list[str] = []

    def look(item: T) -> str | None | InputError:
        try:
            return misfit(item)
        except InputError as error:
            return InputError(f"{name(item)}: {error}")

    with ThreadPoolExecutor(max(1, threads)) as pool:
        for problem in progress(pool.map(look, items), f"{phase}: data", len(items)):
            if isinstance(problem, InputError):
                unreadable.append(str(problem))
            else:
                found.append(problem)
    if unreadable:
        more = f"; and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
        raise InputError(f"{'; '.join(unreadable[:5])}{more}")
    _report(items, found, name, phase, workdir)
    kept = [item for item, problem in zip(items, found, strict=True) if problem is None]
    if not kept:
        why = f"; the first of {len(items)}: {found[0]}" if items else "; is the file empty?"
        raise InputError(f"{phase}: no records to train on{why}")
    return kept


def _report(
    items: Sequence[T],
    found: Sequence[str | None],
    name: Callable[[T], str],
    phase: str,
    workdir: str,
) -> None:
    rows = [
        {"place": place, "name": name(item), "reason": problem}
        for place, (item, problem) in enumerate(zip(items, found, strict=True))
        if problem is not None
    ]
    path = epath.Path(workdir) / f"skipped_{phase}.jsonl"
    if rows and jax.process_index() == 0:
        write_whole(path, "".join(json.dumps(row) + "\n" for row in rows))
    if rows:
        kinds = Counter(row["reason"].split(" ", 1)[-1] for row in rows).most_common(3)
        shown = "; ".join(f"{count} x {kind}" for kind, count in kinds)
        say(f"{phase}: {len(rows)} of {len(items)} records do not fit and are skipped ({shown})")
        say(f"{phase}: they are listed in {path}")


def fitting_records(
    records: Sequence[PreferenceRecord],
    template: Template,
    processor: Processor,
    *,
    phase: str,
    workdir: str,
    threads: int,
) -> list[PreferenceRecord]:
    """`fitting` of records whose prompts must fit in both orders."""

    def misfit(record: PreferenceRecord) -> str | None:
        problems = (
            processor.misfit(evaluator_prompt(shown, template))
            for shown in (record, record.swapped())
        )
        return next((problem for problem in problems if problem), None)

    name = lambda record: f"record {record.id}"  # noqa: E731
    return fitting(records, misfit, name, phase=phase, workdir=workdir, threads=threads)
