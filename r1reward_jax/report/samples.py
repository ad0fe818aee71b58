"""The samples of a run: its judgements and rollouts, and which of them a page shows.

Files are read twice, the second time only for the samples that were chosen: the completions of a
long run need not be in memory together.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from etils import epath

from r1reward_jax.evals.voting import majority
from r1reward_jax.prompts import parse_verdict
from r1reward_jax.report.read import Run, finite, mapping, read_rows
from r1reward_jax.types import Verdict

KINDS = ("flipped", "wrong", "inconsistent", "unparsable")
"""What may be the matter with a sample; the rare ones are chosen first."""


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

    @property
    def verdict(self) -> Verdict | None:
        """The only verdict, or that of the majority."""
        return self.verdicts[0] if len(self.verdicts) == 1 else majority(self.verdicts)

    @property
    def kinds(self) -> frozenset[str]:
        """What is the matter with the sample, of KINDS."""
        holds = {
            "flipped": self.flipped,
            "wrong": self.preferred is not None and self.verdict != self.preferred,
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
    if row.get("skipped") is True:  # the prompt was too long, so the model was not asked
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
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _verdicts(values: Any) -> tuple[Verdict | None, ...]:
    known: dict[Any, Verdict] = {1: 1, 2: 2}
    return tuple(known.get(v) if isinstance(v, int) else None for v in _list(values))


def _numbers(reward: Any) -> dict[str, float]:
    parts = {name: finite(value) for name, value in mapping(reward).items()}
    return {name: value for name, value in parts.items() if value is not None}


# ---------------------------------------------------------------- choosing


@dataclass(frozen=True)
class Entry:
    """A sample that may be chosen."""

    source: Source
    row: int
    kinds: frozenset[str]
    pair: int | None = None
    """Number of the record within its file, where both orders are there."""


def read_entries(found: Sequence[Source], notes: list[str]) -> list[Entry]:
    """Return every sample of the files, without its words."""
    entries = []
    for source in found:
        samples = read_samples(source, notes)
        pairs = {k: n for n, i in enumerate(orders_of(samples)) for k in (i, i + 1)}
        pairs = {} if source.training else pairs
        entries += [
            Entry(source, i, sample.kinds, pairs.get(i)) for i, sample in enumerate(samples)
        ]
    return entries


def count(entries: Sequence[Entry]) -> dict[Source, Counter[str]]:
    """Return source -> kind -> how many samples; "all" counts every one."""
    found: dict[Source, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        found[entry.source].update(["all", *entry.kinds])
    return dict(found)


def choose(entries: Sequence[Entry], *, limit: int, cap: int) -> list[Entry]:
    """Return the samples to show, in the order of their sources: up to `cap` of each kind, then an
    even spread over the rest. Runs, and within them judgements and rollouts, get equal shares as
    far as they have so many. A flipped judgement comes with its other order."""
    chosen: set[int] = set()
    for kind in KINDS:
        open_ = [i for i, e in enumerate(entries) if kind in e.kinds and i not in chosen]
        have = sum(kind in entries[i].kinds for i in chosen)
        room = min(cap - have, limit - len(chosen))
        units = _orders_together(entries, open_) if kind == "flipped" else [[i] for i in open_]
        chosen |= {i for unit in _shares(entries, units, room) for i in unit}
    left = [[i] for i in range(len(entries)) if i not in chosen]
    chosen |= {i for unit in _shares(entries, left, limit - len(chosen)) for i in unit}
    return [entries[i] for i in sorted(chosen)]


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return so many of the items, evenly, the first and the last among them."""
    if count >= len(items):
        return list(items)
    if count < 2:
        return list(items[: max(count, 0)])
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _orders_together(entries: Sequence[Entry], indices: Sequence[int]) -> list[list[int]]:
    units: dict[Any, list[int]] = {}
    for i in indices:
        entry = entries[i]
        units.setdefault((entry.source.run, entry.source.key, entry.pair), []).append(i)
    return list(units.values())


def _shares(entries: Sequence[Entry], units: list[list[int]], room: int) -> list[list[int]]:
    """Return units with at most `room` members, from each run's judgements and rollouts alike."""
    groups: dict[tuple[int, bool], list[list[int]]] = {}
    for unit in units:
        source = entries[unit[0]].source
        groups.setdefault((source.run, source.training), []).append(unit)
    found = []
    ordered = sorted(groups.values(), key=len)  # what small groups leave goes to the large ones
    for n, group in enumerate(ordered):
        share = room // (len(ordered) - n)
        taken = spread(group, share // len(group[0]))
        room -= sum(map(len, taken))
        found += taken
    return found
