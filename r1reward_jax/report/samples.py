"""The samples of a run: what its judgements and rollouts say about a record in one order."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from etils import epath

from r1reward_jax.evals.voting import majority
from r1reward_jax.prompts import parse_verdict
from r1reward_jax.report.read import Run, finite, mapping, read_rows
from r1reward_jax.types import Verdict

KINDS = ("skipped", "flipped", "wrong", "inconsistent", "unparsable")
"""What may be the matter with a sample; the rare ones are chosen first."""
TOO_LONG = "the prompt is too long for the model, which was not asked"


@dataclass(frozen=True)
class Source:
    """A file of samples."""

    run: int
    """Index of its run."""
    path: epath.Path
    key: str
    """Name in the page's filters: that of the file."""
    label: str
    training: bool
    """Rollouts of an iteration; otherwise judgements of an evaluation."""


@dataclass(frozen=True)
class Sample:
    """A record in one order, and what was written about it. What a file lacks is None or empty."""

    id: str
    responses: tuple[str, str]
    preferred: Verdict | None
    verdicts: tuple[Verdict | None, ...]
    question: str | None = None
    images: tuple[str, ...] | None = None
    texts: tuple[str, ...] = ()
    """As many as verdicts; none of a scalar model."""
    rewards: tuple[Mapping[str, float], ...] = ()
    judge: tuple[float | None, ...] = ()
    """The judge's probability that each text supports its verdict."""
    scores: tuple[float, float] | None = None
    votes: tuple[Verdict | None, ...] = ()
    truncated: bool = False
    """The text ends at the length limit."""
    flipped: bool = False
    """In the other order, the same position was named."""
    groups: tuple[str, ...] = ()
    """The group of the benchmark, and group/part where that is divided."""
    row: int | None = None
    """Of the benchmark, from 0."""
    probability: float | None = None
    """The model's probability that the first response is better, behind its first text."""
    skipped: str = ""
    """Why the model was not asked; empty if it was."""

    @property
    def verdict(self) -> Verdict | None:
        """The only verdict, or that of the majority."""
        return self.verdicts[0] if len(self.verdicts) == 1 else majority(self.verdicts)

    @property
    def right(self) -> bool | None:
        """Whether the verdict is the preferred response; None without a label, or where the model
        was not asked."""
        return None if self.preferred is None or self.skipped else self.verdict == self.preferred

    @property
    def confidence(self) -> float | None:
        """The model's probability of its own verdict: by the verdict's token, else by the scores,
        else by the share of votes; None without any."""
        verdict, p = self.verdict, self.probability
        if verdict is None:
            return None
        if p is None and self.scores:
            p = bradley_terry(*self.scores)
        if p is None:
            several = self.votes or self.verdicts
            given = [vote for vote in several if vote is not None]
            return given.count(verdict) / len(given) if len(several) > 1 and given else None
        return p if verdict == 1 else 1 - p

    @property
    def kinds(self) -> frozenset[str]:
        """What is the matter with the sample, of KINDS; nothing else with one that was skipped."""
        if self.skipped:
            return frozenset(["skipped"])
        holds = {
            "flipped": self.flipped,
            "wrong": self.right is False,
            "inconsistent": any(self.is_inconsistent(i) for i in range(len(self.verdicts))),
            "unparsable": None in self.verdicts,
        }
        return frozenset(kind for kind, found in holds.items() if found)

    def is_inconsistent(self, i: int) -> bool:
        """Return whether the judge says that a text does not support its verdict; without its
        probability, whether a right verdict earned nothing for consistency."""
        probability = self.judge[i] if i < len(self.judge) else None
        if probability is not None:
            return probability < 0.5
        reward = self.rewards[i] if i < len(self.rewards) else {}
        return reward.get("result") == 1 and reward.get("consistency", 1.0) <= 0


def bradley_terry(first: float, second: float) -> float:
    """Return the probability that the first of two scored responses is better. (The function of
    `evals.types` brings SciPy along.)"""
    return 0.5 * (1 + math.tanh((first - second) / 2))


# ----------------------------------------------------------------- reading


def sources(runs: Sequence[Run]) -> list[Source]:
    """Return the files of all runs: judgements, then iterations in order."""
    found = []
    for r, run in enumerate(runs):
        files = [run.folder / "judgements.jsonl", *sorted(run.folder.glob("judgements_*.jsonl"))]
        for path in files:
            name = path.name[len("judgements") : -len(".jsonl")].strip("_").replace("_", " ")
            label = f"evaluation, {name}" if name else "evaluation"
            if path.exists():
                found.append(Source(r, path, path.name.removesuffix(".jsonl"), label, False))
        for path in sorted((run.folder / "rollouts").glob("[0-9]*.jsonl")):
            key = path.name.removesuffix(".jsonl")
            found.append(Source(r, path, key, f"iteration {key.lstrip('0') or '0'}", True))
    return found


def read_samples(source: Source, notes: list[str]) -> list[Sample]:
    """Return the samples of a file; lines without one are counted in the notes."""
    rows = read_rows(source.path, notes)
    parsed = [_sample(row) for row in rows]
    samples = [sample for sample in parsed if sample is not None]
    if len(samples) < len(parsed):
        lost = len(parsed) - len(samples)
        notes.append(
            f"{source.path.name}: {lost} lines without two responses and a text or verdict"
        )
    return samples if source.training else _with_flips(samples)


def orders_of(samples: Sequence[Sample]) -> Iterator[int]:
    """Yield where the two orders of a record begin. A line that is lost in between would shift
    pairs of fixed places, so words are compared."""
    i = 0
    while i + 1 < len(samples):
        a, b = samples[i], samples[i + 1]
        both = (a.id, a.question, a.responses) == (b.id, b.question, b.responses[::-1])
        if both:
            yield i
        i += 2 if both else 1


def _with_flips(samples: list[Sample]) -> list[Sample]:
    flips = set()
    for i in orders_of(samples):
        verdict = samples[i].verdict
        if verdict is not None and verdict == samples[i + 1].verdict:
            flips |= {i, i + 1}
    return [replace(s, flipped=i in flips) for i, s in enumerate(samples)]


def _sample(row: Mapping[str, Any]) -> Sample | None:
    """Return a line of judgements or of rollouts; None if it is neither."""
    responses = row.get("responses")
    if not isinstance(responses, list) or len(responses) != 2:
        return None
    texts = tuple(map(str, [row["text"]] if "text" in row else _list(row.get("texts"))))
    if "verdicts" in row:
        verdicts = _verdicts(row["verdicts"])
    else:
        verdicts = _verdicts([parse_verdict(text) for text in texts])
    skipped = str(row.get("reason") or TOO_LONG) if row.get("skipped") is True else ""
    if skipped:
        verdicts = verdicts or (None,)
    if not verdicts:
        return None
    rewards = [row["reward"]] if "reward" in row else _list(row.get("rewards"))
    judge = row.get("judge")
    judged = judge if isinstance(judge, list) else [judge]
    question, images = row.get("question"), row.get("images")
    scores = [s for s in map(finite, _list(row.get("scores"))) if s is not None]
    return Sample(
        id=str(row.get("id", "")),
        responses=(str(responses[0]), str(responses[1])),
        preferred=_verdicts([row.get("preferred")])[0],
        verdicts=verdicts,
        question=None if question is None else str(question),
        images=None if images is None else tuple(map(str, _list(images))),
        texts=texts,
        rewards=tuple(_numbers(reward) for reward in rewards),
        judge=tuple(finite(p) for p in judged),
        scores=(scores[0], scores[1]) if len(scores) == 2 else None,
        votes=_verdicts(_list(row.get("votes"))),
        truncated="length" in (row.get("finish_reason"), *_list(row.get("finish_reasons"))[:1]),
        groups=_groups(row),
        row=number if isinstance(number := row.get("row"), int) else None,
        probability=_probability(row),
        skipped=skipped,
    )


def _groups(row: Mapping[str, Any]) -> tuple[str, ...]:
    group, part = str(row.get("group") or ""), str(row.get("subgroup") or "")
    whole = (group,) if group else ()
    return (*whole, "/".join((*whole, part))) if part else whole


def _probability(row: Mapping[str, Any]) -> float | None:
    p = finite(next(iter(_list(row.get("probabilities"))), None))
    return p if p is not None and 0 <= p <= 1 else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _verdicts(values: Any) -> tuple[Verdict | None, ...]:
    known: dict[Any, Verdict] = {1: 1, 2: 2}
    return tuple(known.get(v) if isinstance(v, int) else None for v in _list(values))


def _numbers(reward: Any) -> dict[str, float]:
    parts = {name: finite(value) for name, value in mapping(reward).items()}
    return {name: value for name, value in parts.items() if value is not None}
