"""The section about two evaluations of the same records: what one model gained over the other, by
group, and a list of the records that it won and lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from r1reward_jax.evals.paired import Differences, FolderComparison
from r1reward_jax.report.items import LOST, WON, Item, changes, groups_of
from r1reward_jax.report.read import Run, finite, mapping
from r1reward_jax.report.view import MISSING, Table

LISTED = 200
"""Records that each list has at most; the cards below have all of them."""
WORDS = 120
"""Characters of a question in the lists."""


@dataclass(frozen=True)
class Line:
    """A record of a list."""

    id: str
    link: str
    """Fragment of the page that shows its card."""
    group: str
    question: str
    signs: Sequence[Sequence[tuple[str, str]]]
    """Of each run, look and sign of each order."""


@dataclass(frozen=True)
class Comparison:
    """The section."""

    a: str
    """Name of the first run."""
    b: str
    """Name of the last run."""
    records: int
    """Records that both have judged."""
    lost: Sequence[Line]
    won: Sequence[Line]
    counts: tuple[int, int]
    """How many were lost and won; the lists may be shorter."""
    tables: Sequence[Table]


def compared(
    runs: Sequence[Run], items: Sequence[Item], tested: FolderComparison | None = None
) -> Comparison | None:
    """Return the section; None unless two runs have judged the same records.

    Args:
      runs: the first and the last are compared.
      items: what they judged.
      tested: their difference with intervals and p-values, if it was computed.
    """
    both = [item for item in items if len(item.judged) > 1]
    if not both:
        return None
    changed = changes(both)
    tables = [_by_group(runs, both)]
    if tested:
        kinds = {
            "Greedy verdicts": tested.greedy,
            f"Majority of {tested.votes} votes": tested.voting,
        }
        tables += [_tested(f"{title}: B − A", d) for title, d in kinds.items() if d]
    return Comparison(
        runs[0].name,
        runs[-1].name,
        len(both),
        [_line(item, LOST) for item in changed[LOST][:LISTED]],
        [_line(item, WON) for item in changed[WON][:LISTED]],
        (len(changed[LOST]), len(changed[WON])),
        tables,
    )


def _line(item: Item, kind: str) -> Line:
    about = item.about
    assert about is not None  # only records of evaluations are of two runs
    signs = [
        [
            ("", "–") if o.right is None else ("good", "✓") if o.right else ("bad", "✗")
            for o in j.orders
        ]
        for j in (item.judged[0], item.judged[-1])
    ]
    words = about.question[:WORDS] + ("…" if len(about.question) > WORDS else "")
    link = urlencode({"kind": kind, "q": about.id.encode("utf-8", "replace")})
    return Line(about.id, link, about.groups[-1] if about.groups else "", words, signs)


def _by_group(runs: Sequence[Run], both: Sequence[Item]) -> Table:
    heads = [
        ("group", ""),
        ("records", "that both have judged"),
        ("A", f"accuracy of {runs[0].name}, greedy, over both orders"),
        ("B", f"accuracy of {runs[-1].name}"),
        ("B − A", ""),
        ("B lost", "records with fewer orders right than in A"),
        ("B won", "records with more orders right than in A"),
    ]
    names = groups_of(both)[:LISTED]
    parts = {g: [i for i in both if i.about and g in i.about.groups] for g in names}
    rows = []
    for name, part in (
        [*parts.items(), ("overall", both)] if len(parts) > 1 else [("overall", both)]
    ):
        a, b = (_accuracy(runs[i], name, [item.judged[i] for item in part]) for i in (0, -1))
        change = MISSING if a is None or b is None else f"{b - a:+.3f}".replace("-", "−")
        found = changes(part)
        values = [MISSING if x is None else f"{x:.3f}" for x in (a, b)]
        lost_won = [f"{len(found[kind]):,}" for kind in (LOST, WON)]
        rows.append([name, f"{len(part):,}", *values, change, *lost_won])
    return Table("Side by side", rows, heads, look="shares")


def _accuracy(run: Run, group: str, judged: Sequence[Any]) -> float | None:
    """Return the accuracy that the evaluation states, else that of the judgements with a label."""
    stated: Any = mapping(run.evaluation.get("overall"))
    if group != "overall":
        named = mapping(run.evaluation.get("groups")), mapping(run.evaluation.get("subgroups"))
        stated = mapping(named[0].get(group, named[1].get(group)))
    greedy = mapping(stated.get("greedy"))
    accuracy = mapping(greedy.get("accuracy", greedy.get("release")))  # as earlier versions name it
    if accuracy and stated.get("pairs") == len(judged):
        return finite(accuracy.get("value"))
    right = [order.right for one in judged for order in one.orders if order.right is not None]
    return sum(right) / len(right) if right else None


def _tested(title: str, differences: Differences) -> Table:
    heads = [
        ("group", ""),
        ("pairs", ""),
        ("difference", "of the accuracy over both orders"),
        ("95 %", "a bootstrap over units"),
        ("units that differ", ""),
        ("p", "two-sided, exact"),
        ("p (Holm)", "adjusted for the number of groups"),
    ]
    rows = []
    adjusted: Mapping[str, float] = {n: d.p_holm for n, d in differences.groups.items()}
    for name, d in [*differences.groups.items(), ("overall", differences.overall)]:
        reach = "" if d.low is None else f"{d.low:+.3f} to {d.high:+.3f}".replace("-", "−")
        holm = f"{adjusted[name]:.3g}" if d is not differences.overall else ""
        change = f"{d.difference:+.3f}".replace("-", "−")
        rows.append([name, f"{d.pairs:,}", change, reach, f"{d.differ:,}", f"{d.p:.3g}", holm])
    return Table(title, rows, heads, look="shares")
