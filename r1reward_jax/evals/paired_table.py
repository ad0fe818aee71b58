"""The comparison of two evaluations as lines for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from r1reward_jax.evals import paired
from r1reward_jax.evals.table import aligned, wrapped

SHOWN = 8
"""Settings that differ, at most, that are printed."""


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of what `paired.compare` found."""
    yield from wrapped(f"A: {found['a']}")
    yield from wrapped(f"B: {found['b']}")
    differences = found["config"]
    for name, (one, two) in list(differences.items())[:SHOWN]:
        yield from wrapped(f"their configs differ in {name}: {one!r}, {two!r}")
    if len(differences) > SHOWN:
        yield f"and in {len(differences) - SHOWN} more settings"
    one, two = found["images"]
    if one != two:
        yield from wrapped(f"their images are in different folders: {one!r}, {two!r}")
    yield "mean of both orders; unparsable verdicts and ties are wrong; difference is B - A"
    for kind in ("greedy", "voting"):
        if found[kind]:
            yield ""
            title = kind if kind == "greedy" else f"voting@{found['votes']}"
            yield from aligned(_rows(title, found[kind]))
            yield from _note(found[kind])


def _note(found: Mapping[str, Any]) -> Iterator[str]:
    """A warning about intervals that rest on little."""
    rows = [*found["groups"].items(), ("overall", found["overall"])]
    few = [
        f"{name} ({r['differ']})" for name, r in rows if r["differ"] < paired.FEW and r["units"] > 1
    ]
    if few:
        yield from wrapped(
            f"note: fewer than {paired.FEW} units differ in {', '.join(few)}; there the "
            "interval, a bootstrap, is optimistic; p is exact"
        )


def _rows(title: str, found: Mapping[str, Any]) -> list[list[str]]:
    rows = [[title, "pairs", "A", "B", "difference", "95 %", "B better", "worse", "p", "p (Holm)"]]
    for name, row in [*found["groups"].items(), ("overall", found["overall"])]:
        low, high = row["low"], row["high"]
        interval = "" if low is None else f"[{low:+.3f}, {high:+.3f}]"
        rows.append(
            [
                name if len(name) <= 20 else name[:19] + "…",
                f"{row['pairs']:,}",
                f"{row['a']:.3f}",
                f"{row['b']:.3f}",
                f"{row['difference']:+.3f}",
                interval,
                f"{row['better']:,}",
                f"{row['worse']:,}",
                f"{row['p']:.3g}",
                f"{row['p_holm']:.3g}" if "p_holm" in row else "",
            ]
        )
    return rows
