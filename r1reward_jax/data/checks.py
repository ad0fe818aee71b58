"""What can be said about the texts and labels of records without any model."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from r1reward_jax.prompts import parse_analysis, parse_verdict, well_formed
from r1reward_jax.types import InputError, PreferenceRecord, Record, Verdict

LOPSIDED = 0.6
"""Share of labels on one side above which the cold start warns."""
FEW = 20
"""Records below which that share says nothing."""
Balance = Literal["none", "drop", "repeat"]
"""What is done about labels that are not 1:1: nothing, the surplus is left out, the rarer ones are
repeated."""

EMPTY = "empty completions"
NO_VERDICT = "without a verdict"
AGAINST = "against the label"
MALFORMED = "not of the form <think>…</think><answer>…</answer>"
NO_ANALYSIS = "without an analysis"
WRONG_FIELD = "whose field `matched` says otherwise"


def completion_faults(text: str, label: Verdict | None, matched: bool | None = None) -> list[str]:
    """Return what is odd about a completion that is to be imitated, none where it is as it should
    be.

    Args:
      text: of the completion.
      label: of its record.
      matched: what its row says about verdict and label; None where it says nothing.
    """
    if not text.strip():
        return [EMPTY]
    verdict, found = parse_verdict(text), []
    if verdict is None:
        found.append(NO_VERDICT)
    elif verdict != label:
        found.append(AGAINST)
    if not well_formed(text.strip()):
        found.append(MALFORMED)
    if not parse_analysis(text).strip():
        found.append(NO_ANALYSIS)
    if matched is not None and matched != (verdict == label):
        found.append(WRONG_FIELD)
    return found


def label_counts(labels: Sequence[Verdict | None]) -> tuple[int, int]:
    """Return how many labels name the first response, and how many the second."""
    counts = Counter(labels)
    return counts[1], counts[2]


def lopsided(labels: tuple[int, int]) -> int | None:
    """Return which position, 1 or 2, most labels name, if that is too many of them to be chance or
    too many to learn from; None if they are balanced."""
    total, most = sum(labels), max(labels)
    if total < FEW or most <= LOPSIDED * total:
        return None
    return 1 + labels.index(most)


@dataclass(frozen=True)
class Repetitions:
    """What occurs more than once in a set of records."""

    ids: int = 0
    """Records whose id another one has."""
    same: int = 0
    """Records that another one equals in question, responses, images and label."""
    opposed: int = 0
    """Records of which another one says that the other response is better."""


def repetitions(records: Sequence[PreferenceRecord], media: Sequence[Sequence[str]]) -> Repetitions:
    """Count what occurs more than once.

    Args:
      records: labelled or not.
      media: of each record, what tells its images from others (`decoding.media_keys`).
    """
    ids = Counter(r.id for r in records)
    seen: dict[tuple, Counter] = {}
    for record, keys in zip(records, media, strict=True):
        best = record.preferred and record.responses[record.preferred - 1]
        seen.setdefault((*_texts(record), *keys), Counter())[best] += 1
    return Repetitions(
        sum(n for n in ids.values() if n > 1),
        sum(n for found in seen.values() for n in found.values() if n > 1),
        sum(sum(found.values()) for found in seen.values() if len(found) > 1),
    )


def odd_records(records: Sequence[PreferenceRecord]) -> Mapping[str, int]:
    """Count the records that teach little: no question, or twice the same response."""
    counts = {
        "without a question": sum(not r.question.strip() for r in records),
        "whose two responses are the same": sum(
            r.responses[0].strip() == r.responses[1].strip() for r in records
        ),
    }
    return {what: count for what, count in counts.items() if count}


def overlap(train: Sequence[Record], heldout: Sequence[Record]) -> int:
    """Return how many held-out records have the question and the responses of a training record,
    whatever their order, labels and images."""
    known = {_texts(r) for r in train if isinstance(r, PreferenceRecord)}
    return sum(isinstance(r, PreferenceRecord) and _texts(r) in known for r in heldout)


def _texts(record: PreferenceRecord) -> tuple:
    return record.question.strip(), *sorted(text.strip() for text in record.responses)


def swapped_evenly(records: Sequence[PreferenceRecord], seed: int) -> list[PreferenceRecord]:
    """Return the records with as few of them swapped as it takes for labels to stand 1:1 (paper,
    section 4.3); which ones is drawn at random. Records that stand 1:1 are returned as they are."""
    first, second = label_counts([r.preferred for r in records])
    surplus: Verdict = 1 if first > second else 2
    places = [i for i, r in enumerate(records) if r.preferred == surplus]
    chosen = set(random.Random(seed).sample(places, abs(first - second) // 2))
    return [r.swapped() if i in chosen else r for i, r in enumerate(records)]


def balanced(labels: Sequence[Verdict | None], how: Balance, seed: int) -> list[int]:
    """Return the places of items so that their labels stand 1:1.

    The completion of an annotated record names the responses by their positions, so that it cannot
    be swapped: items can only be left out, or repeated.

    Args:
      labels: of the items.
      how: what is done.
      seed: of the choice.

    Raises:
      InputError: one of the two labels does not occur.
    """
    places = list(range(len(labels)))
    counts = label_counts(labels)
    if how == "none" or counts[0] == counts[1]:
        return places
    if 0 in counts:
        raise InputError(
            f"sft.balance={how}: all {max(counts):,} labels name response "
            f"{1 + counts.index(max(counts))}; swap the responses of half of the records before "
            "they are annotated"
        )
    rarer: Verdict = 1 if counts[0] < counts[1] else 2
    fewer, more = ([i for i in places if labels[i] == x] for x in (rarer, 3 - rarer))
    rng = random.Random(seed)
    if how == "drop":
        gone = set(rng.sample(more, len(more) - len(fewer)))
        return [i for i in places if i not in gone]
    whole, rest = divmod(len(more), len(fewer))
    return places + fewer * (whole - 1) + sorted(rng.sample(fewer, rest))
