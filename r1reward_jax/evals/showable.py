"""Which records can be shown to the model at all, looked up before it is loaded.

Only the headers of pictures are read here: one that turns out to be broken when it is decoded is
left out then, with its reason in its line of judgements.jsonl.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from r1reward_jax.console import warn
from r1reward_jax.errors import record_name
from r1reward_jax.evals.journal import images_of
from r1reward_jax.images import image_size
from r1reward_jax.prompts import Template, evaluator_prompt
from r1reward_jax.types import InputError, Processor, Record

LISTED = 5
"""Records that a message names."""


def prompt_problem(record: Record, template: Template, processor: Processor) -> str | None:
    """Return why a record cannot be shown in one of its orders; None if it can."""
    try:
        for image in images_of(record):
            image_size(image)
        for each in (record, record.swapped()):
            if reason := processor.misfit(evaluator_prompt(each, template)):
                return reason
    except InputError as error:
        return str(error)
    return None


def require_some(
    records: Sequence[Record], problem: Callable[[Record], str | None], threads: int
) -> dict[int, str]:
    """Return the rows that cannot be shown, with their reasons, and warn of them.

    Args:
      records: to be judged.
      problem: says why one cannot be shown; None if it can.
      threads: that look at records.

    Raises:
      InputError: none can be shown; it names up to five.
    """
    with ThreadPoolExecutor(max(1, threads)) as pool:
        reasons = enumerate(pool.map(problem, records))
        found = {row: reason for row, reason in reasons if reason is not None}
    if not found:
        return found
    named = [f"{record_name(records[row].id)} (row {row + 1}): {why}" for row, why in found.items()]
    more = f"; and {len(named) - LISTED} more" if len(named) > LISTED else ""
    said = f"{'; '.join(named[:LISTED])}{more}"
    if len(found) == len(records):
        raise InputError(f"none of {len(records):,} records can be shown to the model: {said}")
    warn(
        f"{len(found):,} of {len(records):,} records cannot be shown to the model, and are left "
        f"out of all numbers: {said}"
    )
    return found
