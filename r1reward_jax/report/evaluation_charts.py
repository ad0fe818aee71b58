"""The charts of an evaluation: accuracy by the number of votes, and calibration."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from r1reward_jax.evals.table import all_votes
from r1reward_jax.report.charts import COLORS, DASHES, Frame, Series, line_chart
from r1reward_jax.report.read import Run, mapping
from r1reward_jax.report.scale import share_axis
from r1reward_jax.report.shares import interval, table, three

Found = tuple[int, Mapping[str, Any]]
"""Index of a run, and its evaluation."""
SOURCES = {
    "answer": "greedy answer",
    "votes": "share of votes",
    "vote_answers": "votes' answers",
}
"""Where a probability comes from; answers are the verdict's token."""
ORDERS = {"single": "each order by itself", "averaged": "both orders averaged"}


def calibrated(e: Mapping[str, Any]) -> Mapping[str, Any]:
    """The calibration of an evaluation; empty if it has none."""
    return mapping(e.get("calibration"))


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


def votes(runs: Sequence[Run], found: Sequence[Found]) -> str:
    """What more votes bring, and would have cost; empty without several numbers of votes."""
    curves = [(i, e) for i, e in found if len(e["overall"]["any_correct"]) > 1]
    if not curves:
        return ""
    majority, some = _Lines(runs), _Lines(runs)
    for i, e in curves:
        decisions, any_correct = e["overall"]["votes"], e["overall"]["any_correct"]
        for kind, name in enumerate(("release", "official")):
            label = "accuracy" if name == "release" else "official"
            points = [(int(k), d[name]["value"]) for k, d in decisions.items()]
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
        f"{_all_votes(runs, found)}{_stopping(runs, found)}</section>"
    )


def _all_votes(runs: Sequence[Run], found: Sequence[Found]) -> str:
    heads = {
        "votes": "weighted: each by the probability of its verdict's token",
        "accuracy": "of judgements; with the votes of both orders, of pairs",
        "95 %": "",
        "official": "",
        "right of": "",
    }

    def values(scores: Mapping[str, Any]) -> list[str]:
        told = scores["release"]
        counts = f"{told['right']:,} of {told['of']:,}"
        return [three(told), interval(told), three(scores["official"]), counts]

    rows = _rows(runs, [(i, all_votes(e["overall"])) for i, e in found], values)
    return table("All votes together", heads, rows) if rows else ""


def _stopping(runs: Sequence[Run], found: Sequence[Found]) -> str:
    heads = {
        "rule": "exact: nothing to come can change the outcome; posterior: hardly anything",
        "votes saved": "share, drawn one after another",
        "tokens saved": "share of the votes' tokens",
        "verdicts changed": "of the majority of all votes",
        "accuracy": "over both orders",
    }

    def values(saved: Mapping[str, Any]) -> list[str]:
        shares = [three(saved["votes_saved"]), three(saved["tokens_saved"])]
        return [*shares, f"{saved['changed']['count']:,}", three(saved["release"])]

    rows = _rows(runs, [(i, e["overall"]["stopping"] or {}) for i, e in found], values)
    return table("Had sampling stopped early", heads, rows) if rows else ""


def _rows(
    runs: Sequence[Run],
    parts: Sequence[Found],
    values: Callable[[Mapping[str, Any]], list[str]],
) -> list[list[str]]:
    """Rows of a table, one for each name in the parts of each run."""
    several = len(runs) > 1
    return [
        [f"{runs[i].name}, {name}" if several else name, *values(found)]
        for i, part in parts
        for name, found in part.items()
    ]


def calibration(runs: Sequence[Run], found: Sequence[Found]) -> str:
    """Reliability and abstention, before and after both orders are averaged; empty without."""
    reliability, abstention, rows = "", "", []
    for source, words in SOURCES.items():
        having = [(i, s) for i, e in found if (s := calibrated(e).get("sources", {}).get(source))]
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
        f"{table('Calibration', heads, rows)}</section>"
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
