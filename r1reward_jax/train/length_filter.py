"""Look at all data before the first update: lengths, and images by their heads. (What is broken
behind an image's head ends a run when its turn comes.)"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax
from etils import epath

from r1reward_jax.console import progress, warn
from r1reward_jax.files import write_whole
from r1reward_jax.prompts import Template, evaluator_prompt
from r1reward_jax.types import InputError, PreferenceRecord, Processor

T = TypeVar("T")
SPARE = 64
"""Tokens by which the two orders of a record differ at most: words that grow together, or do not,
where its parts meet."""


def drop_overlong(
    items: Sequence[T],
    misfit: Callable[[T], str | None],
    name: Callable[[T], str],
    *,
    phase: str,
    workdir: str,
    threads: int,
) -> list[T]:
    """Return the items that fit. Those that do not are counted, and listed with the reason in
    `skipped_PHASE.jsonl`, which a resumed run reads again; nothing is ever truncated.

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
    path = epath.Path(workdir) / f"skipped_{phase}.jsonl"
    if path.exists():  # the folder belongs to this config and these data
        skipped = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        skipped = _look(items, misfit, name, phase, threads)
        if jax.process_index() == 0:
            write_whole(path, "".join(json.dumps(row) + "\n" for row in skipped))
    if len(skipped) == len(items):
        why = f"; the first of {len(items)}: {skipped[0]['reason']}" if items else ""
        raise InputError(f"{phase}: no records to train on{why or '; is the file empty?'}")
    if skipped:
        kinds = Counter(row["reason"].split(" ", 1)[-1] for row in skipped).most_common(3)
        shown = "; ".join(f"{count} x {kind}" for kind, count in kinds)
        warn(
            f"{phase}: {len(skipped)} of {len(items)} records do not fit and are skipped ({shown})"
        )
        warn(f"{phase}: they are listed in {path}")
    places = {row["place"] for row in skipped}
    return [item for place, item in enumerate(items) if place not in places]


def _look(
    items: Sequence[T],
    misfit: Callable[[T], str | None],
    name: Callable[[T], str],
    phase: str,
    threads: int,
) -> list[dict[str, Any]]:
    """Return place, name and reason of every item that does not fit."""

    def look(item: T) -> str | None | InputError:
        try:
            return misfit(item)
        except InputError as error:
            return InputError(f"{name(item)}: {error}")

    with ThreadPoolExecutor(max(1, threads)) as pool:
        found = list(progress(pool.map(look, items), f"{phase}: data", len(items)))
    unreadable = [str(problem) for problem in found if isinstance(problem, InputError)]
    if unreadable:
        more = f"; and {len(unreadable) - 5} more" if len(unreadable) > 5 else ""
        raise InputError(f"{'; '.join(unreadable[:5])}{more}")
    return [
        {"place": place, "name": name(item), "reason": problem}
        for place, (item, problem) in enumerate(zip(items, found, strict=True))
        if problem is not None
    ]


def drop_overlong_records(
    records: Sequence[PreferenceRecord],
    template: Template,
    processor: Processor,
    *,
    phase: str,
    workdir: str,
    threads: int,
) -> list[PreferenceRecord]:
    """Apply `drop_overlong` to records whose prompts must fit in both orders."""

    def misfit(record: PreferenceRecord) -> str | None:
        prompt = evaluator_prompt(record, template)
        if processor.misfit(prompt, spare=SPARE) is None:
            return None
        swapped = evaluator_prompt(record.swapped(), template)
        return processor.misfit(prompt) or processor.misfit(swapped)

    name = lambda record: f"record {record.id}"  # noqa: E731
    return drop_overlong(records, misfit, name, phase=phase, workdir=workdir, threads=threads)
