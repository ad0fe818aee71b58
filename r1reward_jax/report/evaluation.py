"""The section about an evaluation: numbers to look at first, the benchmark's groups, the rest.

What is read here is the JSON of an evaluation.json, which `evals.results` describes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from r1reward_jax.report.evaluation_charts import (
    Found,
    Part,
    bins,
    by_all_votes,
    calibrated,
    calibration,
    interval,
    three,
    title_of,
    votes,
)
from r1reward_jax.report.read import Run
from r1reward_jax.report.view import MISSING, Card, Table, named, titles

CONVENTIONS = {
    "left_out": "leaves them out, and wants more than half of all votes",
    "coin": "gives half a point",
    "wrong": "does so too",
    "none": "is not defined for this data",
}
"""What a benchmark's authors do with verdicts that are unparsable or tied."""


@dataclass(frozen=True)
class Evaluation:
    """The section about the evaluations of all runs."""

    about: Sequence[str]
    remarks: Sequence[str]
    cards: Sequence[Card]
    parts: Sequence[Part]
    more: Table
    bins: Sequence[Table]
    """How many judgements each reliability chart's bins hold."""


def evaluation(runs: Sequence[Run]) -> Evaluation | None:
    """Return what there is to say about the evaluations of the runs; None if there is none."""
    found = [(i, run.evaluation) for i, run in enumerate(runs) if run.evaluation]
    if not found:
        return None
    names = [run.name for run in runs]
    parts = [_groups(names, found), *votes(names, found), *calibration(names, found)]
    about = [_about(title_of(names, i), e) for i, e in found]
    remarks = [
        f"{title_of(names, i)}{note}"
        for i, e in found
        for note in (*e["notes"], *calibrated(e).get("notes", ()))
    ]
    return Evaluation(
        about, remarks, _cards(names, found), parts, _more(names, found), bins(names, found)
    )


def _about(name: str, e: Mapping[str, Any]) -> str:
    benchmark = f"{e['benchmark']}, " if e.get("benchmark") else ""
    each = f", {e['sizes'][-1]} votes each" if e["sizes"] else ""
    return (
        f"{name}{benchmark}{e['overall']['pairs']:,} pairs, each in both orders{each}. Accuracy "
        "counts unparsable verdicts and ties as wrong; the official one "
        f"{CONVENTIONS[e['convention']]}."
    )


# ------------------------------------------------------------------- cards


def _cards(names: Sequence[str], found: Sequence[Found]) -> list[Card]:
    sizes = {e["sizes"][-1] for _, e in found if e["sizes"]}
    size = f"{sizes.pop()} votes" if len(sizes) == 1 else "all votes"
    kinds: list[tuple[str, str, Callable[[Mapping[str, Any]], Any]]] = [
        ("Accuracy", "of greedy verdicts, over both orders", _greedy("accuracy")),
        (
            f"Majority of {size}",
            "accuracy over both orders; ties are wrong",
            lambda e: (by_all_votes(e) or {}).get("accuracy"),
        ),
        ("Right in both orders", "share of pairs, greedy", _greedy("strict")),
        (
            "All pairs of a unit right",
            "Acc+: share of units, greedy, in the stored order",
            lambda e: (e["overall"]["units"] or {}).get("greedy", {}).get("stored"),
        ),
        (
            "Flip rate",
            "share of pairs whose two orders name the same position, of those with a verdict in "
            "both: 0 is best",
            _greedy("flip_rate"),
        ),
    ]
    cards = []
    for title, about, of in kinds:
        values = [(i, value) for i, e in found if (value := of(e))]
        numbers = [named(three(value), i, names, interval(value)) for i, value in values]
        cards += [Card(title, numbers, about)] if numbers else []
    return cards


def _greedy(name: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda e: e["overall"]["greedy"][name]


# ------------------------------------------------------------------ groups


def _groups(names: Sequence[str], found: Sequence[Found]) -> Part:
    tables = []
    for i, e in found:
        of = title_of(names, i)
        tables.append(_decisions(e, f"{of}Greedy verdicts", lambda part: part["greedy"]))
        if e["sizes"]:
            most = str(e["sizes"][-1])
            title = f"{of}Majority of {most} votes"
            tables.append(_decisions(e, title, lambda part, most=most: part["votes"][most]))
    return Part("By group", tables)


def _inside(parts: Mapping[str, Any], group: str) -> list[tuple[str, Any]]:
    """Return the parts of a group, such as reasoning/math."""
    return [(name, part) for name, part in parts.items() if name.startswith(f"{group}/")]


def _decisions(e: Mapping[str, Any], title: str, of: Callable[[Any], Any]) -> Table:
    heads = [
        ("group", ""),
        ("pairs", "each judged in both orders"),
        ("accuracy", "over both orders; unparsable and tied is wrong"),
        ("95 %", "of the accuracy, by pairs or units"),
        ("stored", "accuracy in the stored order"),
        ("swapped", "accuracy in the other order"),
        ("readable", "accuracy of the verdicts that there are"),
        ("official", f"accuracy as the benchmark has it, which {CONVENTIONS[e['convention']]}"),
        ("right of", "points, of judgements that count officially; without that, of verdicts"),
        ("strict", "share of pairs that are right in both orders"),
        ("flip rate", "share of pairs in which both orders name one position"),
        ("position bias", "share of verdicts that name the first response; 0.5 is none"),
    ]
    rows = []
    parts = [
        each
        for name, part in e["groups"].items()
        for each in [(name, part), *_inside(e["subgroups"], name)]
    ]
    for name, part in [*parts, ("overall", e["overall"])]:
        d, official = of(part), of(part)["official"]
        counted = official or d["readable"]
        values = [f"{part['pairs']:,}", three(d["accuracy"]), interval(d["accuracy"])]
        values += [three(d["accuracy_stored"]), three(d["accuracy_swapped"])]
        values += [three(d["readable"]), three(official)]
        values += [f"{counted['right']:,} of {counted['of']:,}"]
        rows.append([name, *values, *(three(d[n]) for n in ("strict", "flip_rate", "says_1"))])
    if e["macro"]:
        mean = of(e["macro"])
        right, blank = mean["accuracy"], [""] * 2
        values = ["", three(right), interval(right), *blank]
        values += [three(mean["readable"]), three(mean["official"])]
        rows.append(["mean over groups", *values, *[""] * 4])
    return Table(title, rows, heads, look="shares")


# -------------------------------------------------------------------- more

MORE = {
    "weighted votes": "accuracy of all votes, weighted by the probability of their verdict's token",
    "votes of both orders": "accuracy of one verdict per pair, from the votes of both orders",
    "votes of both orders, weighted": "the same, weighted by probability",
    "as the release has it": "greedy texts as R1-Reward's code reads them, the preferred response "
    "always shown first",
    "as the release has it, both orders": "the same in both orders",
    "response tokens": "mean length of a greedy response",
    "vote tokens": "mean length of a sampled response",
    "prompt tokens, in all": "of all judgements, images included",
    "response tokens, in all": "of all greedy responses",
    "vote tokens, in all": "of all sampled responses",
    "well-formed": "share of greedy responses in the format of training",
    "truncated": "share of greedy responses that ran into the length limit",
    "unparsable": "share of greedy responses without a verdict",
    "unparsable votes": "share of sampled responses without a verdict",
    "tied majorities": "share of judgements with as many votes for either response",
    "skipped prompts": "too long for the model; they have no verdict",
}


def _more(names: Sequence[str], found: Sequence[Found]) -> Table:
    """Return the numbers that are left, with their meaning."""
    columns = [dict(_numbers(e["overall"])) for _, e in found]
    rows = [
        (name, *(column.get(name, MISSING) for column in columns), MORE[name])
        for name in dict.fromkeys(name for column in columns for name in column)
    ]
    heads = titles("number", *(names[i] if len(names) > 1 else "value" for i, _ in found))
    return Table("", rows, [*heads, ("meaning", "")], look="numbers")


def _numbers(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (name, value) of the numbers that there are."""
    both = part["both_orders"] or {}
    scores = {
        "weighted votes": part["weighted"],
        "votes of both orders": both.get("votes"),
        "votes of both orders, weighted": both.get("weighted"),
    }
    for name, found in scores.items():
        if found:
            yield name, three(found["accuracy"])
    if released := part["released"]:
        yield "as the release has it", three(released["preferred_first"])
        yield "as the release has it, both orders", three(released["both_orders"])
    for name, kind in (("response", "greedy"), ("vote", "votes")):
        if length := part["length"][kind]:
            yield f"{name} tokens", f"{length['value']:,.1f}"
    for name, kind in (("prompt", "prompt"), ("response", "greedy"), ("vote", "votes")):
        if part["tokens"][kind]:
            yield f"{name} tokens, in all", f"{part['tokens'][kind]:,}"
    if part["format"]:
        yield "well-formed", three(part["format"])
        yield "truncated", three(part["truncated"])
    yield "unparsable", three(part["greedy"]["unparsable"])
    if part["unparsable_votes"]["of"]:
        yield "unparsable votes", three(part["unparsable_votes"])
        yield "tied majorities", three([*part["votes"].values()][-1]["ties"])
    yield "skipped prompts", f"{part['skipped']['count']:,}"
