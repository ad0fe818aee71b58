"""Annotate records for the cold start (paper, section 4.3): ask a teacher until it is right.

A record's difficulty is the number of attempts. All records go into the cold start, with the first
text whose verdict matches the label or else the last one; those that needed more than one attempt,
or failed, are the RL set.
"""

from collections.abc import Sequence
from typing import Protocol

from r1reward_jax.data.checks import swapped_evenly
from r1reward_jax.data.preferences import Annotation
from r1reward_jax.prompts import parse_verdict
from r1reward_jax.types import PreferenceRecord


class Teacher(Protocol):
    """A model, or a person, that judges records in writing."""

    def write(self, record: PreferenceRecord, attempt: int) -> str:
        """Return `<think>…</think><answer>…</answer>` for a record; attempts count from 0."""
        ...


def annotate(
    teacher: Teacher, records: Sequence[PreferenceRecord], *, max_attempts: int
) -> list[Annotation]:
    """Ask about each record until verdict and label agree, at most `max_attempts` times.

    Where labels do not stand 1:1, responses are swapped first, in as few records as it takes
    (paper, section 4.3): what is written names them by their positions, so that later is too late.
    """
    annotations = []
    for record in swapped_evenly(records, seed=0):
        for attempt in range(max_attempts):
            text = teacher.write(record, attempt)
            matched = parse_verdict(text) == record.preferred
            if matched:
                break
        annotations.append(Annotation(record, text, attempt + 1, matched))
    return annotations


def hard(annotations: Sequence[Annotation]) -> list[PreferenceRecord]:
    """Return the records for RL: those that took more than one attempt, or never succeeded.

    Responses are swapped where needed so that labels alternate between the positions, 1:1 as in the
    paper; what a biased teacher fails on has most of its labels on one side.
    """
    records = [a.record for a in annotations if a.attempts > 1 or not a.matched]
    wanted = (1 + i % 2 for i in range(len(records)))
    return [r if r.preferred == w else r.swapped() for r, w in zip(records, wanted, strict=True)]
