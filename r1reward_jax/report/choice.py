"""Which samples a page shows: every sample is looked at, some are chosen.

Files are read twice, the second time only those of the samples that were chosen: the completions of
a long run need not be in memory together.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from r1reward_jax.report.samples import Source, orders_of, read_samples

KINDS = ("flipped", "wrong", "inconsistent", "unparsable")
"""What may be the matter with a sample; the rare ones are chosen first."""


@dataclass(frozen=True)
class Entry:
    """A sample that may be chosen."""

    source: Source
    row: int
    kinds: frozenset[str]
    pair: int | None = None
    """Number of the record within its file, where both orders are there."""


def read_entries(found: Sequence[Source], notes: list[str]) -> list[Entry]:
    """Every sample of the files, without its words."""
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
    """Source -> kind -> how many samples; "all" of them, too."""
    found: dict[Source, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        found[entry.source].update(["all", *entry.kinds])
    return found


def choose(entries: Sequence[Entry], *, limit: int, cap: int) -> list[Entry]:
    """The samples to show, in the order of their sources: up to `cap` of each kind, then an even
    spread over the rest. Runs, and within them judgements and rollouts, get equal shares as far as
    they go. A flipped judgement comes with its other order."""
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
    """So many of the items, evenly, the first and the last among them."""
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
    """Units with `room` members at most, from each run's judgements and rollouts alike."""
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
