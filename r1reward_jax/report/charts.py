"""Charts as SVG that needs no script.

The SVG holds lines and areas only and is stretched to its box; numbers stand beside it as text, so
that they keep their size on a phone. Colours are the style sheet's, by number. What a script needs
for its read-outs is in data attributes: the steps of the chart, and the values of each series as
they are written.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from r1reward_jax.report.scale import Axis, short, step_axis, value_axis

Points = Sequence[tuple[float, float | None]]
"""(step, value) in order; None where the value is not finite."""
COLORS = 6
"""Colours of the style sheet; beyond, they come again, dashed."""
DASHES = 4
WIDTH, HEIGHT = 1000, 400
"""Of the drawing, before it is stretched."""
DOTS = 16
"""Curves of at most so many points show each of them."""


@dataclass(frozen=True)
class Series:
    """A curve and how it is drawn."""

    label: str
    points: Points
    color: int
    dash: int = 0
    meaning: str = ""


@dataclass(frozen=True)
class Frame:
    """What stands around the curves of a chart."""

    title: str
    about: str
    unit: str
    """What a step is called."""


def line_chart(frame: Frame, series: Sequence[Series], x: Axis | None = None) -> str:
    """The series over steps, as a figure; empty if none has a finite value.

    Args:
      frame: its words.
      series: the curves.
      x: the axis of steps that are not whole numbers. None: from the first step to the last.
    """
    values = [v for s in series for _, v in s.points if v is not None]
    if not values:
        return ""
    steps = sorted({step for s in series for step, _ in s.points})
    x, y = x or step_axis(int(steps[0]), int(steps[-1])), value_axis(values)
    drawn = "".join(_line(s, x, y) for s in series)
    shown = [_Row(s.label, s.color, s.dash, s.meaning, _at_steps(s.points, steps)) for s in series]
    return _figure(frame, drawn, shown, steps, x, y)


def stacked_chart(
    frame: Frame, parts: Sequence[Series], steps: Sequence[int], top: float | None = None
) -> str:
    """The parts on top of one another, a column per step.

    Args:
      frame: its words.
      parts: from the bottom up; what has no value at a step counts as 0.
      steps: whose columns are drawn; at least one.
      top: where the scale may end; columns beyond it are cut. None: at the highest one.
    """
    tables = [dict(p.points) for p in parts]
    totals = [sum(max(t.get(s) or 0.0, 0.0) for t in tables) for s in steps]
    whole = step_axis(steps[0], steps[-1])
    x = Axis(steps[0] - 0.5, steps[-1] + 0.5, whole.ticks)
    y = value_axis([top or max(totals)], whole=True)
    drawn, floor = "", dict.fromkeys(steps, 0.0)
    for part, table in zip(parts, tables, strict=True):
        height = {s: max(table.get(s) or 0.0, 0.0) for s in steps}
        drawn += f'<path class="area f{part.color}" d="{_columns(floor, height, x, y)}"/>'
        floor = {s: floor[s] + height[s] for s in steps}
    shown = [_Row(p.label, p.color, None, p.meaning, _at_steps(p.points, steps)) for p in parts]
    shown += [_Row("together", None, None, "", [short(t) for t in totals])]
    return _figure(frame, drawn, shown, steps, x, y)


@dataclass(frozen=True)
class _Row:
    """A line of the legend, which is also the read-out."""

    label: str
    color: int | None
    dash: int | None
    """None: an area."""
    meaning: str
    values: Sequence[str | None]


def _at_steps(points: Points, steps: Sequence[float]) -> list[str | None]:
    """The values as they are written, at each of the steps; None where there is none."""
    table = dict(points)
    return [
        None if step not in table else "not finite" if (v := table[step]) is None else short(v)
        for step in steps
    ]


def _line(series: Series, x: Axis, y: Axis) -> str:
    """A path that is broken where values are not finite; dots for what a line would not show."""
    pieces: list[list[str]] = [[]]
    for step, value in series.points:
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{x.place(step) * WIDTH:.1f} {(1 - y.place(value)) * HEIGHT:.1f}")
    few = sum(map(len, pieces)) <= DOTS
    lines = " ".join("M" + "L".join(piece) for piece in pieces if piece)
    dots = " ".join(f"M{p}h0" for piece in pieces for p in piece if few or len(piece) == 1)
    look = f"s{series.color} d{series.dash}"
    return f'<path class="line {look}" d="{lines}"/>' + (
        f'<path class="dots s{series.color}" d="{dots}"/>' if dots else ""
    )


def _columns(floor: dict[int, float], height: dict[int, float], x: Axis, y: Axis) -> str:
    gap = 0.1 if len(floor) <= 80 else 0.0
    width = (1 - 2 * gap) / (x.high - x.low) * WIDTH
    return "".join(
        f"M{x.place(step - 0.5 + gap) * WIDTH:.1f} {(1 - y.place(bottom)) * HEIGHT:.1f}"
        f"h{width:.1f}v{-height[step] / (y.high - y.low) * HEIGHT:.2f}h{-width:.1f}z"
        for step, bottom in floor.items()
        if height[step]
    )


def _figure(
    frame: Frame, drawn: str, rows: Sequence[_Row], steps: Sequence[float], x: Axis, y: Axis
) -> str:
    grid = "".join(f"M0 {(1 - y.place(v)) * HEIGHT:.1f}h{WIDTH}" for v, _ in y.ticks)
    gutter = max(len(text) for _, text in y.ticks)
    legend = "".join(_legend_row(row) for row in rows)
    about = "; ".join(([frame.about] if frame.about else []) + (["log scale"] if y.log else []))
    about = f"<p>{escape(about)}</p>" if about else ""
    return (
        f'<figure class="chart" data-unit="{escape(frame.unit)}" data-steps="{_json(steps)}" '
        f'data-low="{x.low:g}" data-high="{x.high:g}">'
        f'<figcaption><div class="title"><h4>{escape(frame.title)}</h4>'
        f'<span class="at">{escape(frame.unit)} {_step(steps[-1])}</span></div>{about}</figcaption>'
        f'<ul class="legend">{legend}</ul>'
        f'<div class="plot" style="--gutter:{gutter}ch" tabindex="0" role="img" '
        f'aria-label="{escape(_spoken(frame, rows, steps))}">'
        f'<div class="ys" aria-hidden="true">{_labels(y, "bottom")}</div>'
        f'<div class="canvas"><svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" '
        f'aria-hidden="true"><path class="grid" d="{grid}"/>{drawn}</svg>'
        '<i class="cross" hidden></i></div>'
        f'<div class="xs" aria-hidden="true">{_labels(x, "left")}</div>'
        f'<div class="unit" aria-hidden="true">{escape(frame.unit)}</div></div></figure>'
    )


def _legend_row(row: _Row) -> str:
    sign = ""
    if row.color is not None:
        shape = (
            f'<rect class="f{row.color}" width="22" height="10"/>'
            if row.dash is None
            else f'<path class="line s{row.color} d{row.dash}" d="M0 5h22"/>'
        )
        sign = f'<svg class="sign" width="22" height="10" aria-hidden="true">{shape}</svg>'
    title = f' title="{escape(row.meaning)}"' if row.meaning else ""
    last = next((v for v in reversed(row.values) if v is not None), "–")
    return (
        f'<li class="entry" data-values="{_json(row.values)}"{title}>{sign}'
        f"<span>{escape(row.label)}</span> <b>{escape(last)}</b></li>"
    )


def _labels(axis: Axis, side: str) -> str:
    return "".join(
        f'<span style="{side}:{axis.place(v) * 100:.2f}%">{escape(text)}</span>'
        for v, text in axis.ticks
    )


def _spoken(frame: Frame, rows: Sequence[_Row], steps: Sequence[float]) -> str:
    """What a screen reader says."""
    parts = []
    for row in rows:
        said = [v for v in row.values if v is not None]
        parts.append(f"{row.label} from {said[0]} to {said[-1]}" if said else f"{row.label} none")
    span = f"{frame.unit} {_step(steps[0])} to {_step(steps[-1])}"
    return f"{frame.title}, {span}: {'; '.join(parts)}"


def _step(step: float) -> str:
    """As the script writes it: at most three decimals."""
    return f"{step:,}" if isinstance(step, int) else f"{step:,.3f}".rstrip("0").rstrip(".")


def _json(value: object) -> str:
    return escape(json.dumps(value, separators=(",", ":")))
