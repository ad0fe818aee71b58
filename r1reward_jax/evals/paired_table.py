"""The comparison of two evaluations as lines for a terminal."""

from collections.abc import Sequence

from r1reward_jax.evals.formats import aligned, shortened, wrapped
from r1reward_jax.evals.paired import FEW, Changed, Differences, FolderComparison

SETTINGS = 8
"""Settings that differ, at most, that are printed."""
LISTED = 8
"""Ids of records that a line lists, at most."""


def paired_table(compared: FolderComparison) -> list[str]:
    """Return the differences between two evaluations, in lines."""
    lines = [*wrapped(f"A: {compared.a}"), *wrapped(f"B: {compared.b}")]
    differences = list(compared.config.items())
    for name, (one, two) in differences[:SETTINGS]:
        lines += wrapped(f"their configs differ in {name}: {one!r}, {two!r}")
    if len(differences) > SETTINGS:
        lines.append(f"and in {len(differences) - SETTINGS} more settings")
    one, two = compared.images
    if one != two:
        lines += wrapped(f"their images are in different folders: {one!r}, {two!r}")
    lines.append("mean of both orders; unparsable verdicts and ties are wrong; difference is B - A")
    kinds = {"greedy": compared.greedy, f"voting@{compared.votes}": compared.voting}
    for title, differences in kinds.items():
        if differences:
            lines += ["", *aligned(_difference_rows(title, differences)), *_few(differences)]
    return [*lines, "", *_changed("wrong where A was right", compared.lost)] + _changed(
        "right where A was wrong", compared.won
    )


def _changed(what: str, records: Sequence[Changed]) -> list[str]:
    """Return which records a model won or lost; `--out` has all of them."""
    if not records:
        return [f"B is {what}: no records"]
    ids = ", ".join(shortened(record.id) for record in records[:LISTED])
    more = f" and {len(records) - LISTED:,} more (--out)" if len(records) > LISTED else ""
    counted = "1 record" if len(records) == 1 else f"{len(records):,} records"
    return wrapped(f"B is {what}: {counted}, {ids}{more}")


def _difference_rows(title: str, differences: Differences) -> list[list[str]]:
    rows = [[title, "pairs", "A", "B", "difference", "95 %", "B better", "worse", "p", "p (Holm)"]]
    holm = {name: f"{d.p_holm:.3g}" for name, d in differences.groups.items()}
    for name, d in [*differences.groups.items(), ("overall", differences.overall)]:
        rows.append(
            [
                shortened(name),
                f"{d.pairs:,}",
                f"{d.a:.3f}",
                f"{d.b:.3f}",
                f"{d.difference:+.3f}",
                "" if d.low is None else f"[{d.low:+.3f}, {d.high:+.3f}]",
                f"{d.better:,}",
                f"{d.worse:,}",
                f"{d.p:.3g}",
                "" if d is differences.overall else holm[name],
            ]
        )
    return rows


def _few(differences: Differences) -> list[str]:
    """Return a warning about intervals that rest on little."""
    rows = [*differences.groups.items(), ("overall", differences.overall)]
    few = [f"{name} ({d.differ})" for name, d in rows if d.differ < FEW and d.units > 1]
    if not few:
        return []
    return wrapped(
        f"note: fewer than {FEW} units differ in {', '.join(few)}; there the interval, a "
        "bootstrap, is optimistic; p is exact"
    )
