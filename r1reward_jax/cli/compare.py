"""`r1reward compare`: is one of two models better on the same records, or is it chance?"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from r1reward_jax.console import say
from r1reward_jax.evals import paired
from r1reward_jax.evals.table import aligned, wrapped
from r1reward_jax.files import write_whole
from r1reward_jax.types import InputError

SHOWN = 8
"""Settings that differ, at most, that are printed."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("a", metavar="RUN_A", help="the folder of an evaluation")
    parser.add_argument("b", metavar="RUN_B", help="another one, of the same records")
    parser.add_argument("--out", metavar="FILE", help="all numbers as JSON")


def run(args: Namespace) -> None:
    a, b = paired.read(args.a), paired.read(args.b)
    paired.require_same_records(a, b)
    differences = paired.config_differences(a, b)
    # where sampling was stopped early, only the config knows how many votes there were to be
    samples = a.config.get("eval.samples"), b.config.get("eval.samples")
    compared = paired.compare(a.judged, b.judged, samples)
    found = {"a": args.a, "b": args.b, "config": differences}
    found |= {"images": [a.images, b.images], **compared}
    for line in _lines(found):
        say(line)
    if args.out:
        _write(args.out, found)


def _write(path: str, found: Mapping[str, Any]) -> None:
    try:
        write_whole(path, json.dumps(found, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error}); give another --out") from None


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
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
