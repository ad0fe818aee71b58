"""What a page lists: records with all that was judged of them, and which get a card.

A record of an evaluation is one item, with both orders of its responses and, where several runs
judged the same records, with the judgements of each. A sample of training is an item of its own.

Files are read twice, the second time only for the items that were chosen: the completions of a long
run need not be in memory together. Of every judged record a few words are kept, so that filters and
orders reach all of them.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from r1reward_jax.report.samples import KINDS, Sample, Source, orders_of, read_samples
from r1reward_jax.types import Verdict

WON, LOST = "won", "lost"
"""The last of several runs is right where the first was wrong, and the other way round."""
WORDS = 160
"""Characters of a question and of each response that are kept of every record."""


@dataclass(frozen=True)
class Order:
    """A judgement in one order, in short."""

    verdict: Verdict | None
    right: bool | None
    confidence: float | None


@dataclass(frozen=True)
class Judged:
    """What one run says about a record."""

    source: Source
    rows: tuple[int, ...]
    """Places among the samples of the source: both orders, or the only one."""
    kinds: frozenset[str]
    orders: tuple[Order, ...]

    @property
    def surest_wrong(self) -> float | None:
        """The highest confidence of a wrong judgement; None without one."""
        known = [o.confidence for o in self.orders if o.right is False]
        return max((c for c in known if c is not None), default=None)

    @property
    def confidence(self) -> float | None:
        """The mean confidence over the orders; None without any."""
        known = [o.confidence for o in self.orders if o.confidence is not None]
        return sum(known) / len(known) if known else None

    @property
    def points(self) -> int:
        """Orders whose verdict is right."""
        return sum(o.right is True for o in self.orders)


@dataclass(frozen=True)
class About:
    """A record, in short."""

    id: str
    groups: tuple[str, ...]
    """Its group, and group/part where that is divided."""
    row: int | None
    question: str
    responses: tuple[str, str]
    preferred: Verdict | None


@dataclass(frozen=True)
class Item:
    """A record with what was judged of it."""

    judged: tuple[Judged, ...]
    """One for each run that has it."""
    about: About | None = None
    """None of a sample of training: there may be too many."""

    @property
    def training(self) -> bool:
        """Whether it is a sample of training."""
        return self.judged[0].source.training

    @property
    def change(self) -> str | None:
        """WON or LOST, by the verdicts in both orders; None where both runs have as many right, or
        there is one run only."""
        first, last = self.judged[0], self.judged[-1]
        if len(self.judged) < 2 or first.points == last.points:
            return None
        return WON if last.points > first.points else LOST

    @property
    def kinds(self) -> frozenset[str]:
        """What is the matter with it, in any run."""
        own = [self.change] if self.change else []
        return frozenset(own).union(*(judged.kinds for judged in self.judged))


def read_items(found: Sequence[Source], notes: list[str]) -> list[Item]:
    """Return every item of the files, without its texts. Records are one item of several runs where
    one of these has judged all the records of the other; else ids may be the same by chance."""
    training, judged = [], {}
    for source in found:
        samples = read_samples(source, notes)
        if source.training:
            training += [Item((_judged(source, (i,), samples),)) for i in range(len(samples))]
        else:
            judged[source] = _records(source, samples)
    merged: list[dict[Any, Item]] = []
    for source, items in judged.items():
        for known in merged:
            one = next(iter(known))[0] == source.key
            if one and (items.keys() <= known.keys() or known.keys() <= items.keys()):
                for key, item in items.items():
                    others = known[key].judged if key in known else ()
                    known[key] = Item((*others, *item.judged), item.about)
                break
        else:
            merged += [items] if items else []
    return [*(item for items in merged for item in items.values()), *training]


def _records(source: Source, samples: Sequence[Sample]) -> dict[Any, Item]:
    """Return what tells a record of a source from others -> its item."""
    items: dict[Any, Item] = {}
    seen: Counter[Any] = Counter()
    for rows in _rows(samples):
        first = samples[rows[0]]
        # benchmarks repeat ids, questions and even responses: then their order tells them apart
        key = (source.key, len(rows), first.id, first.question, first.responses)
        seen[key] += 1
        items[*key, seen[key]] = Item((_judged(source, rows, samples),), _about(first))
    return items


def _rows(samples: Sequence[Sample]) -> Iterator[tuple[int, ...]]:
    """Yield the places of each record's judgements."""
    begun = 0
    for i in orders_of(samples):
        yield from ((k,) for k in range(begun, i))
        yield (i, i + 1)
        begun = i + 2
    yield from ((k,) for k in range(begun, len(samples)))


def _judged(source: Source, rows: tuple[int, ...], samples: Sequence[Sample]) -> Judged:
    own = [samples[row] for row in rows]
    kinds = set().union(*(sample.kinds for sample in own))
    if all(sample.right for sample in own):
        kinds.add("right")
    orders = tuple(Order(s.verdict, s.right, s.confidence) for s in own)
    return Judged(source, rows, frozenset(kinds), orders)


def _about(sample: Sample) -> About:
    first, second = (response[:WORDS] for response in sample.responses)
    question = (sample.question or "")[:WORDS]
    return About(sample.id, sample.groups, sample.row, question, (first, second), sample.preferred)


def read_chosen(items: Sequence[Item]) -> list[tuple[Item, list[tuple[Judged, list[Sample]]]]]:
    """Return the items with their samples. Lines of a run that continues may have vanished since
    they were counted: those are left out."""
    wanted: dict[Source, set[int]] = {}
    for item in items:
        for judged in item.judged:
            wanted.setdefault(judged.source, set()).update(judged.rows)
    files = {
        source: {i: sample for i, sample in enumerate(read_samples(source, [])) if i in rows}
        for source, rows in wanted.items()
    }
    found = []
    for item in items:
        parts = [
            (judged, [files[judged.source][row] for row in judged.rows])
            for judged in item.judged
            if set(judged.rows) <= files[judged.source].keys()
        ]
        found += [(item, parts)] if parts else []
    return found


def count(items: Sequence[Item]) -> dict[Source, Counter[str]]:
    """Return source -> kind -> how many of its items; "all" counts every one."""
    found: dict[Source, Counter[str]] = {}
    for item in items:
        for judged in item.judged:
            found.setdefault(judged.source, Counter()).update(["all", *judged.kinds])
    return found


def groups_of(items: Sequence[Item]) -> list[str]:
    """Return the names of all groups, each with its parts behind it."""
    found: dict[str, dict[str, None]] = {}
    for item in items:
        if item.about and item.about.groups:
            first, *parts = item.about.groups
            found.setdefault(first, {}).update(dict.fromkeys(parts))
    return list(dict.fromkeys(name for first, parts in found.items() for name in (first, *parts)))


# ---------------------------------------------------------------- choosing


def choose(items: Sequence[Item], *, limit: int, cap: int) -> list[Item]:
    """Return the items that get a card, in their order: up to `cap` of each kind (records that a
    run won or lost first; of wrong ones the surest), then an even spread over the rest. Runs, and
    within them judgements and rollouts, get equal shares as far as they have so many."""
    chosen: set[int] = set()

    def take(
        indices: Sequence[int], room: int, pick: Callable[[list[int], int], list[int]]
    ) -> None:
        chosen.update(_shares(items, indices, room, pick))

    for kind in (LOST, WON, *KINDS):
        open_ = [i for i, item in enumerate(items) if kind in item.kinds and i not in chosen]
        if kind == "wrong":
            open_.sort(key=lambda i: -_surest(items[i]))
        have = sum(kind in items[i].kinds for i in chosen)
        room = min(cap - have, limit - len(chosen))
        take(open_, room, (lambda a, n: a[:n]) if kind == "wrong" else spread)
    left = [i for i in range(len(items)) if i not in chosen]
    take(left, limit - len(chosen), spread)
    return [items[i] for i in sorted(chosen)]


def _surest(item: Item) -> float:
    return max((j.surest_wrong or 0.0 for j in item.judged), default=0.0)


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return so many of the items, evenly, the first and the last among them."""
    if count >= len(items):
        return list(items)
    if count < 2:
        return list(items[: max(count, 0)])
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _shares(
    items: Sequence[Item],
    indices: Sequence[int],
    room: int,
    pick: Callable[[list[int], int], list[int]],
) -> list[int]:
    """Return at most `room` of the indices, from each run's judgements and rollouts alike."""
    groups: dict[tuple[Any, bool], list[int]] = {}
    for i in indices:
        runs = tuple(judged.source.run for judged in items[i].judged)
        groups.setdefault((runs, items[i].training), []).append(i)
    found: list[int] = []
    ordered = sorted(groups.values(), key=len)  # what small groups leave goes to the large ones
    for n, group in enumerate(ordered):
        taken = pick(group, max(room, 0) // (len(ordered) - n))
        room -= len(taken)
        found += taken
    return found


def changes(items: Sequence[Item]) -> Mapping[str, list[Item]]:
    """Return the records that the last run won, and those that it lost."""
    return {kind: [i for i in items if i.change == kind] for kind in (LOST, WON)}
