"""The parts of an evaluation's section that have charts: accuracy by votes, and calibration."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from r1reward_jax.report.charts import (
    DASHES,
    HEIGHT,
    WIDTH,
    Chart,
    Frame,
    Row,
    Series,
    Shape,
    line_chart,
)
from r1reward_jax.report.read import mapping
from r1reward_jax.report.scale import share_axis
from r1reward_jax.report.view import COLORS, MISSING, Table, color_of

Found = tuple[int, Mapping[str, Any]]
"""Index of a run, and its evaluation."""
SOURCES = {
    "answer": "greedy answer",
    "votes": "share of votes",
    "vote_answers": "votes' answers",
}
"""Where a probability comes from; answers are the verdict's token."""
SCORES = {"accuracy": "accuracy", "readable": "readable"}
ORDERS = {"single": "each order by itself", "averaged": "both orders averaged"}


@dataclass(frozen=True)
class Part:
    """A titled part of the section."""

    title: str
    tables: Sequence[Table]
    charts: Sequence[Sequence[Chart]] = ()
    """Charts in groups, each of which begins a row."""


def title_of(names: Sequence[str], index: int) -> str:
    """Return the beginning of a title about a run: its name if there are several."""
    return f"{names[index]}: " if len(names) > 1 else ""


def three(found: Mapping[str, Any] | None) -> str:
    """Return the value of a score, share or mean; a dash if there is none."""
    return MISSING if found is None or found["value"] is None else f"{found['value']:.3f}"


def interval(found: Mapping[str, Any]) -> str:
    """Return the interval of a score, share or mean; empty if it has none."""
    return "" if found["low"] is None else f"{found['low']:.3f} to {found['high']:.3f}"


def by_all_votes(e: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the decision by all votes; None without any."""
    return e["overall"]["votes"][str(e["sizes"][-1])] if e["sizes"] else None


def calibrated(e: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the calibration of an evaluation; empty if it has none."""
    return mapping(e.get("calibration"))


class _Lines:
    """Collects the curves of a chart: of one run a colour for each kind, of several one for each
    run."""

    def __init__(self, names: Sequence[str]):
        self._names, self.series = names, []

    def add(self, run: int, kind: int, label: str, points: Sequence, *, dash: int = 0) -> None:
        """Add a curve.

        Args:
          run: its index.
          kind: of the curve, from 0.
          label: of the kind.
          points: (step, value).
          dash: where there is only one run.
        """
        color = kind
        if len(self._names) > 1:
            color, dash = run, kind + run // COLORS
            label = f"{self._names[run]}, {label}"
        self.series.append(Series(label, points, color_of(color), dash % DASHES))


def votes(names: Sequence[str], found: Sequence[Found]) -> Iterator[Part]:
    """Yield what more votes bring and would have cost, where there are several numbers of votes."""
    voted = [(i, e) for i, e in found if len(e["overall"]["pass_at_k"]) > 1]
    if not voted:
        return
    majority, some = _Lines(names), _Lines(names)
    for i, e in voted:
        decisions, passed = e["overall"]["votes"], e["overall"]["pass_at_k"]
        for kind, (name, label) in enumerate(SCORES.items()):
            points = [(int(k), d[name]["value"]) for k, d in decisions.items()]
            majority.add(i, kind, label, points, dash=kind)
        some.add(i, 0, "pass@k", [(int(k), a["value"]) for k, a in passed.items()])
    longest = max((e["overall"]["pass_at_k"] for _, e in voted), key=len)
    chance = [(int(k), a["chance"]) for k, a in longest.items()]
    some.series.append(Series("pass@k by chance", chance, color_of(len(names)), 1))
    about = "accuracy of the majority over both orders, by the number of votes"
    about_any = "share of judgements with a right verdict among k votes; by chance: of coins"
    charts = [
        line_chart(Frame("Majority", about, "votes"), majority.series),
        line_chart(Frame("pass@k", about_any, "votes"), some.series),
    ]
    tables = [*_all_votes(names, found), *_stopping(names, found)]
    yield Part("Votes", tables, [[chart for chart in charts if chart]])


def _all_votes(names: Sequence[str], found: Sequence[Found]) -> Iterator[Table]:
    heads = [
        ("votes", "weighted: each by the probability of its verdict's token"),
        ("accuracy", "of judgements; with the votes of both orders, of pairs"),
        ("95 %", ""),
        ("readable", "accuracy of the verdicts that there are"),
        ("right of", ""),
    ]
    rows = []
    for i, e in found:
        overall, both = e["overall"], e["overall"]["both_orders"]
        if not both:  # sampling was stopped early: no two judgements have as many votes
            continue
        kinds = {
            "majority": by_all_votes(e),
            "weighted by probability": overall["weighted"],
            "majority, both orders": both["votes"],
            "weighted, both orders": both["weighted"],
        }
        for name, scores in kinds.items():
            if scores:
                right, readable = scores["accuracy"], scores["readable"]
                counts = f"{right['right']:,} of {right['of']:,}"
                values = [three(right), interval(right), three(readable), counts]
                rows.append([_line_name(names, i, name), *values])
    if rows:
        yield Table("All votes together", rows, heads, look="shares")


def _stopping(names: Sequence[str], found: Sequence[Found]) -> Iterator[Table]:
    heads = [
        ("rule", "exact: no further vote can change the outcome; posterior: it is unlikely to"),
        ("votes saved", "share, drawn one after another"),
        ("tokens saved", "share of the votes' tokens"),
        ("verdicts changed", "of the majority of all votes"),
        ("accuracy", "over both orders"),
    ]
    rows = []
    for i, e in found:
        for name, saved in mapping(e["overall"]["stopping"]).items():
            values = [three(saved["votes_saved"]), three(saved["tokens_saved"])]
            values += [f"{saved['changed']['count']:,}", three(saved["accuracy"])]
            rows.append([_line_name(names, i, name), *values])
    if rows:
        yield Table("If sampling had stopped early", rows, heads, look="shares")


def _line_name(names: Sequence[str], index: int, name: str) -> str:
    return f"{names[index]}, {name}" if len(names) > 1 else name


# ------------------------------------------------------------- calibration


def calibration(names: Sequence[str], found: Sequence[Found]) -> Iterator[Part]:
    """Yield reliability and abstention, before and after both orders are averaged, if there are
    probabilities."""
    reliability, abstention, rows = [], [], []
    for source, words in SOURCES.items():
        having = [(i, s) for i, e in found if (s := calibrated(e).get("sources", {}).get(source))]
        if having:
            reliability.append(_reliability(names, having, words))
            abstention.append(_abstention(names, having, words))
            rows += _figures(names, having, words)
    heads = [
        ("probability from", ""),
        ("ECE", "expected calibration error, ten bins of confidence"),
        ("95 %", "of the ECE, by pairs or units"),
        ("Brier", "mean squared error of the probability"),
        ("AURC", "area under error against coverage"),
        ("confidence", "mean of max(p, 1 - p)"),
        ("accuracy", "of the more probable response"),
        ("items", "with a probability"),
    ]
    if rows:
        charts = [[c for c in group if c] for group in (reliability, abstention)]
        yield Part("Calibration", [Table("Calibration", rows, heads, look="shares")], charts)


def _reliability(names: Sequence[str], having: Sequence[Found], words: str) -> Chart | None:
    lines, middles = _Lines(names), []
    counted: list[tuple[str, dict[float, int]]] = []
    for i, kinds in having:
        for kind, (name, label) in enumerate(ORDERS.items()):
            bins = [(_middle(b), b) for b in kinds[name]["bins"] or () if b["count"]]
            points = [(middle, b["accuracy"]) for middle, b in bins]
            middles += [x for x, _ in points]
            lines.add(i, kind, label, points)
            named = f"{title_of(names, i)}items, {label}"
            counted.append((named, {middle: b["count"] for middle, b in bins}))
    diagonal = [(x, x) for x in sorted(set(middles))]
    color = len(names) if len(names) > 1 else len(ORDERS)
    lines.series.append(Series("perfect calibration", diagonal, color_of(color), 2))
    about = "accuracy against confidence, in bins of 0.05"
    about += "; columns: how many items a bin holds" if len(names) == 1 else ""
    chart = line_chart(
        Frame(f"Reliability: {words}", about, "confidence"), lines.series, share_axis(0.5)
    )
    if chart is None:
        return None
    rows = [Row(label, [f"{of.get(x, 0):,}" for x in chart.steps]) for label, of in counted]
    columns = [_histogram(chart, counted[0][1])] if len(names) == 1 else []
    return replace(chart, shapes=[*columns, *chart.shapes], rows=[*chart.rows, *rows])


def _middle(bin_: Mapping[str, Any]) -> float:
    return round((bin_["low"] + bin_["high"]) / 2, 3)  # 0.525, not 0.5249999


def _histogram(chart: Chart, counts: Mapping[float, int]) -> Shape:
    """Return columns in the lowest quarter of a chart, as high as their share of the largest."""
    most, width = max(counts.values(), default=1), 0.05 / (chart.x.high - chart.x.low) * WIDTH
    columns = [
        f"M{chart.x.place(x) * WIDTH - 0.4 * width:.1f} {HEIGHT}"
        f"h{0.8 * width:.1f}v{-count / most * HEIGHT / 4:.1f}h{-0.8 * width:.1f}z"
        for x, count in counts.items()
    ]
    return Shape("area count", "".join(columns))


def bins(names: Sequence[str], found: Sequence[Found]) -> list[Table]:
    """Return the bins of the reliability charts with their counts, a table for each."""
    heads = [
        ("confidence", "the bin of max(p, 1 - p)"),
        ("items", "each order by itself"),
        ("confidence", "mean within the bin"),
        ("accuracy", ""),
        ("items, averaged", "both orders averaged"),
        ("confidence", "mean within the bin"),
        ("accuracy", ""),
    ]
    tables = []
    for i, e in found:
        for source, words in SOURCES.items():
            kinds = mapping(mapping(calibrated(e).get("sources")).get(source))
            both = [kinds[name]["bins"] for name in ORDERS if kinds and kinds[name]["bins"]]
            rows = (
                [
                    [f"{single['low']:.2f} to {single['high']:.2f}", *_bin(single), *_bin(averaged)]
                    for single, averaged in zip(*both)
                ]
                if len(both) == 2
                else []
            )
            if rows:
                title = f"{title_of(names, i)}Reliability bins: {words}"
                tables.append(Table(title, rows, heads, look="shares"))
    return tables


def _bin(found: Mapping[str, Any]) -> list[str]:
    numbers = [found["confidence"], found["accuracy"]]
    return [f"{found['count']:,}", *(MISSING if n is None else f"{n:.3f}" for n in numbers)]


def _abstention(names: Sequence[str], having: Sequence[Found], words: str) -> Chart | None:
    lines = _Lines(names)
    for i, kinds in having:
        for kind, (name, label) in enumerate(ORDERS.items()):
            lines.add(i, kind, label, [(x, y) for x, y in kinds[name]["curve"] or ()])
    about = "accuracy of the share of items with most confidence"
    return line_chart(
        Frame(f"Abstention: {words}", about, "coverage"), lines.series, share_axis(0.0)
    )


def _figures(names: Sequence[str], having: Sequence[Found], words: str) -> Iterator[list[str]]:
    for i, kinds in having:
        for kind, label in ORDERS.items():
            f = kinds[kind]
            if f["items"]:
                values = [three(f["ece"]), interval(f["ece"]), three(f["brier"])]
                values += [f"{f[n]:.3f}" for n in ("aurc", "confidence", "accuracy")]
                yield [f"{title_of(names, i)}{words}, {label}", *values, f"{f['items']:,}"]
