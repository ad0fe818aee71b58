"""Annotation for the cold start (paper, section 4.1): ask a teacher until its verdict is right.

A record's difficulty is the number of attempts. All records go into the cold start, with the first
text whose verdict matches the label or else the last one; those that needed more than one attempt,
or failed, make the RL set.
"""

from collections.abc import Sequence
from typing import Protocol

from r1reward_jax.data.preferences import Annotation
from r1reward_jax.prompts import parse_verdict
from r1reward_jax.types import PreferenceRecord


class Teacher(Protocol):
    """Something that judges a record in writing."""

    def write(self, record: PreferenceRecord, attempt: int) -> str:
        """`<think>…</think><answer>…</answer>` for a record; attempts count from 0."""
        ...


def annotate(
    teacher: Teacher, records: Sequence[PreferenceRecord], *, max_attempts: int
) -> list[Annotation]:
    """Ask about each record until verdict and label agree, at most `max_attempts` times."""
    annotations = []
    for record in records:
        for attempt in range(max_attempts):
            text = teacher.write(record, attempt)
            matched = parse_verdict(text) == record.preferred
            if matched:
                break
        annotations.append(Annotation(record, text, attempt + 1, matched))
    return annotations


def hard(annotations: Sequence[Annotation]) -> list[PreferenceRecord]:
    """The records for RL: more than one attempt, or no success at all.

    Every second one is swapped if its label asks for it, so that labels stand 1:1 between the
    positions as in the paper; a biased teacher would else leave them lopsided.
    """
    records = [a.record for a in annotations if a.attempts > 1 or not a.matched]
    wanted = (1 + i % 2 for i in range(len(records)))
    return [r if r.preferred == w else r.swapped() for r, w in zip(records, wanted, strict=True)]
