"""An evaluation: what to look at first, the groups of the benchmark, votes, and calibration."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from r1reward_jax.report.charts import COLORS, DASHES, Frame, Series, line_chart
from r1reward_jax.report.read import Run, mapping
from r1reward_jax.report.scale import share_axis
from r1reward_jax.report.summary import card, number

Found = tuple[int, Mapping[str, Any]]
"""Index of a run, and its evaluation."""
CONVENTIONS = {"left_out": "leaves them out", "coin": "gives half a point", "wrong": "does so too"}
SOURCES = {
    "answer": "greedy answer",
    "votes": "share of votes",
    "vote_answers": "votes' answers",
}
"""Where a probability comes from; answers are the verdict's token."""
ORDERS = {"single": "each order by itself", "averaged": "both orders averaged"}


def evaluation(runs: Sequence[Run]) -> str:
    """Everything about the evaluations of the runs; empty if there is none."""
    found = [(i, run.evaluation) for i, run in enumerate(runs) if run.evaluation]
    if not found:
        return ""
    parts = [_about(runs, found), _cards(runs, found), _groups(runs, found)]
    parts += [_votes(runs, found), _calibration(runs, found), _more(runs, found)]
    return f'<section id="evaluation"><h2>Evaluation</h2>{"".join(parts)}</section>'


def _about(runs: Sequence[Run], found: Sequence[Found]) -> str:
    lines, notes = "", []
    for i, e in found:
        name = f"{runs[i].name}: " if len(runs) > 1 else ""
        notes += [f"{name}{note}" for note in (*e["notes"], *_calibrated(e).get("notes", ()))]
        of = f"{e['benchmark']}, " if e.get("benchmark") else ""
        votes = f", {e['sizes'][-1]} votes each" if e["sizes"] else ""
        lines += (
            f"<p>{escape(name)}{escape(of)}{e['overall']['pairs']:,} pairs, each in both orders"
            f"{votes}. Accuracy counts unparsable verdicts and ties as wrong; the official one "
            f"{CONVENTIONS[e['convention']]}.</p>"
        )
    rows = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return lines + (f'<ul class="remarks">{rows}</ul>' if notes else "")


def _calibrated(e: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(e.get("calibration"))


# ------------------------------------------------------------------- cards


def _most(e: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The decision by all votes; None without any."""
    return e["overall"]["votes"][str(e["sizes"][-1])] if e["sizes"] else None


def _cards(runs: Sequence[Run], found: Sequence[Found]) -> str:
    sizes = {e["sizes"][-1] for _, e in found if e["sizes"]}
    votes = f"{sizes.pop()} votes" if len(sizes) == 1 else "all votes"
    kinds: list[tuple[str, str, Callable[[Mapping[str, Any]], Any]]] = [
        ("Accuracy", "of greedy verdicts, over both orders", _greedy("release")),
        (
            f"Majority of {votes}",
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
    return _table(title, heads, rows)


def _table(title: str, heads: Mapping[str, str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are numbers but for the first."""
    top = ""
    for head, about in heads.items():
        meaning = f' title="{escape(about)}"' if about else ""
        top += f'<th scope="col"{meaning}>{escape(head)}</th>'
    body = ""
    for first, *rest in rows:
        cells = "".join(f"<td>{escape(value)}</td>" for value in rest)
        body += f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>'
    return (
        f'<div class="scroll"><table class="shares"><caption>{escape(title)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def three(found: Mapping[str, Any]) -> str:
    """The value of a score, share or mean; a dash if it has none."""
    return "–" if found["value"] is None else f"{found['value']:.3f}"


def interval(found: Mapping[str, Any], digits: str = ".3f") -> str:
    """Its interval; empty if it has none."""
    return "" if found["low"] is None else f"{found['low']:{digits}} to {found['high']:{digits}}"


# ------------------------------------------------------------------ charts


class _Lines:
    """Collects the series of a chart: of one run a colour for each kind, of several one for each
    run."""

    def __init__(self, runs: Sequence[Run]):
        self._runs, self.series = runs, []

    def add(self, run: int, kind: int, label: str, points: Sequence, *, dash: int = 0) -> None:
        """
        Args:
          run: its index.
          kind: of the line, from 0.
          label: of the kind.
          points: (step, value).
          dash: of the only run.
        """
        color = kind
        if len(self._runs) > 1:
            color, dash = run, kind + run // COLORS
            label = f"{self._runs[run].name}, {label}"
        self.series.append(Series(label, points, color % COLORS + 1, dash % DASHES))


def _votes(runs: Sequence[Run], found: Sequence[Found]) -> str:
    curves = [(i, e) for i, e in found if len(e["overall"]["any_correct"]) > 1]
    if not curves:
        return ""
    majority, some = _Lines(runs), _Lines(runs)
    for i, e in curves:
        votes, any_correct = e["overall"]["votes"], e["overall"]["any_correct"]
        for kind, name in enumerate(("release", "official")):
            label = "accuracy" if name == "release" else "official"
            points = [(int(k), d[name]["value"]) for k, d in votes.items()]
            majority.add(i, kind, label, points, dash=kind)
        some.add(i, 0, "any correct", [(int(k), a["value"]) for k, a in any_correct.items()])
    longest = max((e["overall"]["any_correct"] for _, e in curves), key=len)
    coins = [(int(k), a["chance"]) for k, a in longest.items()]
    some.series.append(Series("coins", coins, len(runs) % COLORS + 1, 1))
    told = "accuracy of the majority over both orders, by the number of votes"
    any_told = "share of judgements with a right one among the votes, and what coins score"
    charts = line_chart(Frame("Majority", told, "votes"), majority.series)
    charts += line_chart(Frame("Any correct", any_told, "votes"), some.series)
    return (
        f'<section class="phase"><h3>Votes</h3><div class="charts">{charts}</div>'
        f"{_stopping(runs, found)}</section>"
    )


def _stopping(runs: Sequence[Run], found: Sequence[Found]) -> str:
    heads = {
        "rule": "exact: nothing to come can change the outcome; posterior: hardly anything",
        "votes saved": "share, drawn one after another",
        "tokens saved": "share of the votes' tokens",
        "verdicts changed": "of the majority of all votes",
        "accuracy": "over both orders",
    }
    rows = []
    for i, e in found:
        name = f"{runs[i].name}, " if len(runs) > 1 else ""
        for rule, saved in (e["overall"]["stopping"] or {}).items():
            values = [three(saved["votes_saved"]), three(saved["tokens_saved"])]
            values += [f"{saved['changed']['count']:,}", three(saved["release"])]
            rows.append([name + rule, *values])
    return _table("Had sampling stopped early", heads, rows) if rows else ""


def _calibration(runs: Sequence[Run], found: Sequence[Found]) -> str:
    reliability, abstention, rows = "", "", []
    for source, words in SOURCES.items():
        having = [(i, s) for i, e in found if (s := _calibrated(e).get("sources", {}).get(source))]
        if having:
            reliability += _reliability(runs, having, words)
            abstention += _abstention(runs, having, words)
            rows += _figures(runs, having, words)
    if not rows:
        return ""
    heads = {
        "probability from": "",
        "ECE": "expected calibration error, ten bins of confidence",
        "95 %": "of the ECE, by pairs or units",
        "Brier": "mean squared error of the probability",
        "AURC": "area under error against coverage",
        "confidence": "mean of max(p, 1 - p)",
        "accuracy": "of the more probable response",
        "items": "with a probability",
    }
    return (
        f'<section class="phase"><h3>Calibration</h3>'
        f'<div class="charts">{reliability}</div><div class="charts">{abstention}</div>'
        f"{_table('Calibration', heads, rows)}</section>"
    )


def _reliability(runs: Sequence[Run], having: Sequence[Found], words: str) -> str:
    lines, middles = _Lines(runs), []
    for i, kinds in having:
        for kind, (name, label) in enumerate(ORDERS.items()):
            bins = [b for b in kinds[name]["bins"] or () if b["count"]]
            points = [((b["low"] + b["high"]) / 2, b["accuracy"]) for b in bins]
            points = [(round(x, 3), y) for x, y in points]
            middles += [x for x, _ in points]
            lines.add(i, kind, label, points)
    diagonal = [(x, x) for x in sorted(set(middles))]
    color = len(runs) if len(runs) > 1 else len(ORDERS)
    lines.series.append(Series("as sure as right", diagonal, color % COLORS + 1, 2))
    about = "accuracy against confidence, in bins of 0.05"
    return line_chart(
        Frame(f"Reliability: {words}", about, "confidence"), lines.series, share_axis(0.5)
    )


def _abstention(runs: Sequence[Run], having: Sequence[Found], words: str) -> str:
    lines = _Lines(runs)
    for i, kinds in having:
        for kind, (name, label) in enumerate(ORDERS.items()):
            lines.add(i, kind, label, [(x, y) for x, y in kinds[name]["curve"] or ()])
    about = "accuracy of the share of items with most confidence"
    return line_chart(
        Frame(f"Abstention: {words}", about, "coverage"), lines.series, share_axis(0.0)
    )


def _figures(runs: Sequence[Run], having: Sequence[Found], words: str) -> Iterator[list[str]]:
    for i, kinds in having:
        name = f"{runs[i].name}: " if len(runs) > 1 else ""
        for kind, label in ORDERS.items():
            f = kinds[kind]
            if f["items"]:
                values = [three(f["ece"]), interval(f["ece"]), three(f["brier"])]
                values += [f"{f[n]:.3f}" for n in ("aurc", "confidence", "accuracy")]
                yield [f"{name}{words}, {label}", *values, f"{f['items']:,}"]


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
