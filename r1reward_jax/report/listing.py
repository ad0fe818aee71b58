"""The section that lists records and samples: its cards, its filters, and what its script reads."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from r1reward_jax.report.cards import Cards, ItemCard
from r1reward_jax.report.items import (
    LOST,
    WON,
    Item,
    Judged,
    choose,
    count,
    groups_of,
    read_chosen,
    read_items,
)
from r1reward_jax.report.pictures import Pictures
from r1reward_jax.report.read import Run, mapping
from r1reward_jax.report.samples import Source, sources

CARDS, CAP = 240, 40
"""Cards of a page, and of each rare kind before the others are chosen."""
SHORT = 20_000
"""Records that are listed in short, at most."""
GROUPS = 200
"""Groups and parts of them that can be chosen, at most."""
FILTERS = {
    "all": ("All", "every record of an evaluation, and every sample of training"),
    LOST: ("B wrong where A was right", "in more orders right by the first run than by the last"),
    WON: ("B right where A was wrong", "in more orders right by the last run than by the first"),
    "wrong": ("Wrong", "in some order the verdict is not the preferred response, or missing"),
    "right": ("Right", "in every order the verdict is the preferred response"),
    "flipped": ("Flipped", "both orders of a record named the same position"),
    "inconsistent": (
        "Inconsistent",
        "the judge says that the analysis does not support the verdict",
    ),
    "unparsable": ("Unparsable", "no verdict could be read"),
    "skipped": ("Skipped", "the model was not asked; the card says why"),
}
_ALWAYS = ("all", "wrong", "right", "flipped", "unparsable")
"""Filters that are shown even where nothing is of their kind."""


@dataclass(frozen=True)
class Listing:
    """What `templates/samples.html` shows."""

    cards: Sequence[tuple[ItemCard, int, Mapping[str, Any]]]
    """Cards with their places in the list, and what the script reads."""
    short: Sequence[Mapping[str, Any]]
    """Records without a card, for the script."""
    judged: int
    """Records of evaluations, those in short included."""
    written: int
    """Samples of training."""
    written_here: int
    unlisted: int
    """Records that are left out because there are too many."""
    pictures_left_out: int
    elsewhere: Mapping[str, Mapping[str, int]]
    """Run and source of training -> kind -> samples that are not on the page."""
    filters: Sequence[tuple[str, str, str, int, int]]
    """Kind, label, meaning, how many there are on the page, and in all."""
    groups: Sequence[str]
    """And their parts."""
    evaluations: Sequence[tuple[str, str]]
    iterations: Sequence[tuple[str, str]]
    sure: bool
    """Whether any judgement has a confidence."""

    @property
    def surest(self) -> bool:
        """Whether there is a wrong judgement to be sure of."""
        return self.sure and any(kind == "wrong" and here for kind, _, _, here, _ in self.filters)


def labels(runs: Sequence[Run]) -> list[str]:
    """Return the names of runs; two are called A and B, too."""
    if len(runs) != 2:
        return [run.name for run in runs]
    return [f"{letter} · {run.name}" for letter, run in zip("AB", runs)]


def read_all(runs: Sequence[Run], problems: list[str]) -> tuple[list[Source], list[Item]]:
    """Return the files of all runs, and what they hold."""
    found = sources(runs)
    return found, read_items(found, problems)


def listing(
    runs: Sequence[Run],
    found: Sequence[Source],
    items: Sequence[Item],
    problems: list[str],
    *,
    outside: bool = False,
) -> Listing | None:
    """Return the section; None without samples.

    Args:
      runs: in their order.
      found: their files.
      items: what the files hold.
      problems: gets a line for what cannot be read.
      outside: as of `Pictures`.
    """
    chosen = choose(items, limit=CARDS, cap=CAP)
    if not chosen:
        return None
    place = {id(item): n for n, item in enumerate(items)}
    number = {group: n for n, group in enumerate(groups_of(items)[:GROUPS])}
    cards, left_out = _cards(runs, chosen, problems, outside)
    carded = {id(item) for item in chosen}
    rest = [item for item in items if item.about and id(item) not in carded]
    everywhere, here = count(items), count([*chosen, *rest[:SHORT]])
    in_all: Counter[str] = Counter(k for item in items for k in ("all", *item.kinds))
    shown: Counter[str] = Counter(
        k for item in (*chosen, *rest[:SHORT]) for k in ("all", *item.kinds)
    )
    labels = dict.fromkeys((s.key, s.label, s.training) for s in found if s in here)
    confident = any(j.confidence is not None for i in items if not i.training for j in i.judged)
    return Listing(
        cards=[(card, place[id(card.item)], _meta(card.item, number)) for card in cards],
        short=[_short(item, place[id(item)], number) for item in rest[:SHORT]],
        judged=sum(not item.training for item in items),
        written=sum(item.training for item in items),
        written_here=sum(item.training for item in chosen),
        unlisted=len(rest) - len(rest[:SHORT]),
        pictures_left_out=left_out,
        elsewhere={
            f"{s.run} {s.key}": {k: n - here.get(s, Counter())[k] for k, n in kinds.items()}
            for s, kinds in everywhere.items()
            if s.training
        },
        filters=[
            (kind, label, meaning, shown[kind], in_all[kind])
            for kind, (label, meaning) in FILTERS.items()
            if in_all[kind] or kind in _ALWAYS
        ],
        groups=list(number),
        evaluations=[(key, label) for key, label, training in labels if not training],
        iterations=sorted((key, label) for key, label, training in labels if training),
        sure=confident,
    )


def _cards(
    runs: Sequence[Run], chosen: Sequence[Item], problems: list[str], outside: bool
) -> tuple[list[ItemCard], int]:
    """Return the cards, and how many pictures they had no room for."""
    shown = read_chosen(chosen)
    wanted = [(j.source.run, samples[0]) for _, parts in shown for j, samples in parts[:1]]
    pictures = {
        i: Pictures(run, [s for r, s in wanted if r == i], problems, outside=outside)
        for i, run in enumerate(runs)
    }
    cards = Cards(labels(runs), [mapping(run.config.get("rl")) for run in runs])
    made = [
        cards.card(item, parts, *pictures[parts[0][0].source.run].of(parts[0][1][0]))
        for item, parts in shown
    ]
    for run in pictures.values():
        run.note_places()
    return made, cards.left_out


# ------------------------------------------------------- for the page's script


def _meta(item: Item, groups: Mapping[str, int]) -> dict[str, Any]:
    """Return what filters and orders need: the numbers of the group and its part, and of each run
    its number, its source, whether that is training, kinds, the surest wrong judgement and the
    confidence."""
    own = {item.change} if item.change else set()
    judged = [_judged(j, j.kinds | own) for j in item.judged]
    named = item.about.groups if item.about else ()
    return {"g": [groups[name] for name in named if name in groups], "j": judged}


def _judged(j: Judged, kinds: frozenset[str] | set[str]) -> list[Any]:
    training = int(j.source.training)
    numbers = [_three(j.surest_wrong), _three(j.confidence)]
    return [j.source.run, j.source.key, training, " ".join(sorted(kinds)), *numbers]


def _short(item: Item, place: int, groups: Mapping[str, int]) -> dict[str, Any]:
    """Return a record without its texts and images."""
    about = item.about
    assert about is not None
    orders = [[[o.verdict, o.right, _three(o.confidence)] for o in j.orders] for j in item.judged]
    return _meta(item, groups) | {
        "n": place,
        "id": about.id,
        "row": about.row,
        "q": about.question,
        "r": about.responses,
        "p": about.preferred,
        "o": orders,
    }


def _three(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
