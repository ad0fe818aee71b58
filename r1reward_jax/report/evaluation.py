"""An evaluation: what to look at first, the groups of the benchmark, votes, and calibration."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from r1reward_jax.report.evaluation_charts import Found, calibrated, calibration, votes
from r1reward_jax.report.read import Run
from r1reward_jax.report.shares import interval, table, three
from r1reward_jax.report.summary import card, number

CONVENTIONS = {"left_out": "leaves them out", "coin": "gives half a point", "wrong": "does so too"}


def evaluation(runs: Sequence[Run]) -> str:
    """Everything about the evaluations of the runs; empty if there is none."""
    found = [(i, run.evaluation) for i, run in enumerate(runs) if run.evaluation]
    if not found:
        return ""
    parts = [_about(runs, found), _cards(runs, found), _groups(runs, found)]
    parts += [votes(runs, found), calibration(runs, found), _more(runs, found)]
    return f'<section id="evaluation"><h2>Evaluation</h2>{"".join(parts)}</section>'


def _about(runs: Sequence[Run], found: Sequence[Found]) -> str:
    lines, notes = "", []
    for i, e in found:
        name = f"{runs[i].name}: " if len(runs) > 1 else ""
        notes += [f"{name}{note}" for note in (*e["notes"], *calibrated(e).get("notes", ()))]
        of = f"{e['benchmark']}, " if e.get("benchmark") else ""
        each = f", {e['sizes'][-1]} votes each" if e["sizes"] else ""
        lines += (
            f"<p>{escape(name)}{escape(of)}{e['overall']['pairs']:,} pairs, each in both orders"
            f"{each}. Accuracy counts unparsable verdicts and ties as wrong; the official one "
            f"{CONVENTIONS[e['convention']]}.</p>"
        )
    rows = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return lines + (f'<ul class="remarks">{rows}</ul>' if notes else "")


# ------------------------------------------------------------------- cards


def _most(e: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The decision by all votes; None without any."""
    return e["overall"]["votes"][str(e["sizes"][-1])] if e["sizes"] else None


def _cards(runs: Sequence[Run], found: Sequence[Found]) -> str:
    sizes = {e["sizes"][-1] for _, e in found if e["sizes"]}
    size = f"{sizes.pop()} votes" if len(sizes) == 1 else "all votes"
    kinds: list[tuple[str, str, Callable[[Mapping[str, Any]], Any]]] = [
        ("Accuracy", "of greedy verdicts, over both orders", _greedy("release")),
        (
            f"Majority of {size}",
            "accuracy over both orders; ties are wrong",
            lambda e: (_most(e) or {}).get("release"),
        ),
        ("Right in both orders", "share of pairs, greedy", _greedy("strict")),
        (
            "All pairs of a unit right",
            "Acc+: share of units, greedy, in the stored order",
            lambda e: (e["overall"]["units"] or {}).get("greedy", {}).get("stored"),
        ),
        (
            "Same position in both orders",
            "share of pairs with a verdict in both: 0 is best",
            _greedy("flips"),
        ),
    ]
    cards = ""
    for title, about, of in kinds:
        values = [(i, each) for i, e in found if (each := of(e))]
        rows = "".join(number(runs, i, three(v), interval(v)) for i, v in values)
        cards += card(title, rows, about, many=len(values) > 1) if values else ""
    return f'<div class="cards">{cards}</div>'


def _greedy(name: str) -> Callable[[Mapping[str, Any]], Any]:
    return lambda e: e["overall"]["greedy"][name]


# ------------------------------------------------------------------ tables


def _groups(runs: Sequence[Run], found: Sequence[Found]) -> str:
    tables = ""
    for i, e in found:
        of = f"{runs[i].name}: " if len(runs) > 1 else ""
        tables += _decisions(e, f"{of}Greedy verdicts", lambda part: part["greedy"])
        if e["sizes"]:
            most = str(e["sizes"][-1])
            title = f"{of}Majority of {most} votes"
            tables += _decisions(e, title, lambda part, most=most: part["votes"][most])
    return f'<section class="phase"><h3>By group</h3>{tables}</section>'


def _decisions(e: Mapping[str, Any], title: str, of: Callable[[Any], Any]) -> str:
    heads = {
        "group": "",
        "pairs": "each judged in both orders",
        "accuracy": "over both orders; unparsable and tied is wrong",
        "95 %": "of the accuracy, by pairs or units",
        "stored": "accuracy in the stored order",
        "swapped": "accuracy in the other order",
        "official": f"accuracy as the benchmark has it, which {CONVENTIONS[e['convention']]}",
        "right of": "points, of judgements that count officially",
        "strict": "share of pairs that are right in both orders",
        "flips": "share of pairs in which both orders name one position",
        "says 1": "share of verdicts that name the first response",
    }
    rows = []
    for name, part in [*e["groups"].items(), ("overall", e["overall"])]:
        d, pairs = of(part), part["pairs"]
        official = d["official"]
        values = [f"{pairs:,}", three(d["release"]), interval(d["release"])]
        values += [three(d["release_stored"]), three(d["release_swapped"]), three(official)]
        values += [f"{official['right']:,} of {official['of']:,}"]
        rows.append([name, *values, *(three(d[n]) for n in ("strict", "flips", "says_1"))])
    if e["macro"]:
        mean = of(e["macro"])
        release, blank = mean["release"], [""] * 2
        values = ["", three(release), interval(release), *blank, three(mean["official"])]
        rows.append(["mean over groups", *values, *[""] * 4])
    return table(title, heads, rows)


# -------------------------------------------------------------------- more


def _more(runs: Sequence[Run], found: Sequence[Found]) -> str:
    """What is left, as a table of numbers with their meaning."""
    columns = [dict(_numbers(e["overall"])) for _, e in found]
    names = list(dict.fromkeys(name for column in columns for name in column))
    heads = "".join(
        f'<th scope="col">{escape(runs[i].name if len(runs) > 1 else "value")}</th>'
        for i, _ in found
    )
    rows = ""
    for name in names:
        cells = "".join(f"<td>{escape(c.get(name, '–'))}</td>" for c in columns)
        rows += f'<tr><th scope="row">{escape(name)}</th>{cells}<td>{escape(MORE[name])}</td></tr>'
    return (
        '<details><summary>More numbers</summary><div class="scroll"><table class="numbers">'
        f'<thead><tr><th scope="col">number</th>{heads}<th scope="col">meaning</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


MORE = {
    "weighted votes": "accuracy of all votes, weighted by the probability of their verdict's token",
    "votes of both orders": "accuracy of one verdict per pair, from the votes of both orders",
    "votes of both orders, weighted": "the same, weighted by probability",
    "response tokens": "mean length of a greedy response",
    "vote tokens": "mean length of a sampled response",
    "prompt tokens, in all": "of all judgements, images included",
    "response tokens, in all": "of all greedy responses",
    "vote tokens, in all": "of all sampled responses",
    "well-formed": "share of greedy responses in the format of training",
    "cut at the limit": "share of greedy responses that ran into the length limit",
    "unparsable": "share of greedy responses without a verdict",
    "unparsable votes": "share of sampled responses without a verdict",
    "tied majorities": "share of judgements with as many votes for either response",
    "prompts not asked": "too long for the model; they have no verdict",
}


def _numbers(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(name, value), for those that there are."""
    both = part["both_orders"] or {}
    scores = {
        "weighted votes": part["weighted"],
        "votes of both orders": both.get("votes"),
        "votes of both orders, weighted": both.get("weighted"),
    }
    for name, found in scores.items():
        if found:
            yield name, three(found["release"])
    for name, kind in (("response", "greedy"), ("vote", "votes")):
        if length := part["length"][kind]:
            yield f"{name} tokens", f"{length['value']:,.1f}"
    for name, kind in (("prompt", "prompt"), ("response", "greedy"), ("vote", "votes")):
        if part["tokens"][kind]:
            yield f"{name} tokens, in all", f"{part['tokens'][kind]:,}"
    if part["format"]:
        yield "well-formed", three(part["format"])
        yield "cut at the limit", three(part["cut"])
    yield "unparsable", three(part["greedy"]["unparsable"])
    if part["unparsable_votes"]["of"]:
        yield "unparsable votes", three(part["unparsable_votes"])
        yield "tied majorities", three([*part["votes"].values()][-1]["ties"])
    yield "prompts not asked", f"{part['skipped']['count']:,}"
