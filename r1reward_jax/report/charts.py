"""Charts: the paths of a drawing, its axes, and the numbers that a script reads out.

Nothing is HTML here: `templates/macros.html` writes a `Chart` as SVG that needs no script. Colours
and dashes are the style sheet's, by number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from r1reward_jax.report.scale import Axis, short, step_axis, value_axis

Points = Sequence[tuple[float, float | None]]
"""(step, value) in order; None where the value is not finite."""
DASHES = 4
"""Patterns of lines in the style sheet."""
WIDTH, HEIGHT = 1000, 400
"""Size of the drawing, before it is stretched to its box."""
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
    band: tuple[Points, Points] | None = None
    """The lower and the upper ends of the values' intervals, at some of the steps."""


@dataclass(frozen=True)
class Frame:
    """The words around the curves of a chart."""

    title: str
    about: str
    unit: str
    """What a step is called."""


@dataclass(frozen=True)
class Shape:
    """A path of the drawing."""

    look: str
    """Its classes in the style sheet."""
    path: str


@dataclass(frozen=True)
class Row:
    """A line of the legend, which is also the read-out."""

    label: str
    values: Sequence[str | None]
    """As they are written, at each of the chart's steps; None where there is none."""
    color: int | None = None
    """None: the sum of the others, which is not drawn."""
    dash: int | None = None
    """None: an area."""
    meaning: str = ""

    @property
    def last(self) -> str:
        """The last value."""
        return next((value for value in reversed(self.values) if value is not None), "–")


@dataclass(frozen=True)
class Chart:
    """A chart as its template wants it."""

    frame: Frame
    shapes: Sequence[Shape]
    rows: Sequence[Row]
    steps: Sequence[float]
    x: Axis
    y: Axis
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def about(self) -> str:
        """The words below the title."""
        return "; ".join(filter(None, (self.frame.about, "log scale" if self.y.log else "")))

    @property
    def at(self) -> str:
        """The last step, whose numbers the legend shows until a pointer asks for others."""
        return f"{self.frame.unit} {_step(self.steps[-1])}"

    @property
    def grid(self) -> str:
        """The path of the lines at the ticks of the values."""
        return "".join(f"M0 {_down(self.y, value)}h{WIDTH}" for value, _ in self.y.ticks)

    @property
    def gutter(self) -> int:
        """Characters of the longest tick of the values."""
        return max(len(text) for _, text in self.y.ticks)

    @property
    def spoken(self) -> str:
        """Return what a screen reader says."""
        parts = []
        for row in self.rows:
            there = [value for value in row.values if value is not None]
            reach = f"from {there[0]} to {there[-1]}" if there else "none"
            parts.append(f"{row.label} {reach}")
        span = f"{self.frame.unit} {_step(self.steps[0])} to {_step(self.steps[-1])}"
        return f"{self.frame.title}, {span}: {'; '.join(parts)}"


def line_chart(frame: Frame, series: Sequence[Series], x: Axis | None = None) -> Chart | None:
    """Return a chart of curves over steps; None if none of them has a finite value.

    Args:
      frame: its words.
      series: the curves.
      x: the axis of steps that are not whole numbers. None: from the first step to the last.
    """
    values = [v for s in series for _, v in s.points if v is not None]
    if not values:
        return None
    values += [v for s in series for ends in s.band or () for _, v in ends if v is not None]
    steps = sorted({step for s in series for step, _ in s.points})
    x, y = x or step_axis(int(steps[0]), int(steps[-1])), value_axis(values)
    shapes = [shape for s in series for shape in _band(s, x, y)]  # below all lines
    shapes += [shape for s in series for shape in _line(s, x, y)]
    rows = [
        Row(s.label, _with_band(_at(s.points, steps), s, steps), s.color, s.dash, s.meaning)
        for s in series
    ]
    return Chart(frame, shapes, rows, steps, x, y)


def stacked_chart(
    frame: Frame, parts: Sequence[Series], steps: Sequence[int], top: float | None = None
) -> Chart:
    """Return a chart of parts on top of one another, a column per step.

    Args:
      frame: its words.
      parts: from the bottom up; what has no value at a step counts as 0.
      steps: whose columns are drawn; at least one.
      top: where the scale may end; columns beyond it are cut off. None: at the highest one.
    """
    tables = [{s: max(v or 0.0, 0.0) for s, v in p.points} for p in parts]
    totals = [sum(table.get(step, 0.0) for table in tables) for step in steps]
    whole = step_axis(steps[0], steps[-1])
    x = Axis(steps[0] - 0.5, steps[-1] + 0.5, whole.ticks)  # a column is as wide as a step
    y = value_axis([top or max(totals)], whole=True)
    shapes, floor = [], dict.fromkeys(steps, 0.0)
    for part, table in zip(parts, tables, strict=True):
        height = {step: table.get(step, 0.0) for step in steps}
        shapes.append(Shape(f"area f{part.color}", _columns(floor, height, x, y)))
        floor = {step: floor[step] + height[step] for step in steps}
    rows = [Row(p.label, _at(p.points, steps), p.color, meaning=p.meaning) for p in parts]
    rows.append(Row("together", [short(total) for total in totals]))
    return Chart(frame, shapes, rows, steps, x, y)


def _at(points: Points, steps: Sequence[float]) -> list[str | None]:
    table = dict(points)
    return [
        None if step not in table else "not finite" if (v := table[step]) is None else short(v)
        for step in steps
    ]


def _ends(series: Series) -> list[tuple[float, float, float]]:
    """Return (step, low, high) where a curve has an interval."""
    low, high = map(dict, series.band or ((), ()))
    found = [(step, low.get(step), high.get(step)) for step, _ in series.points]
    return [(step, a, b) for step, a, b in found if a is not None and b is not None]


def _with_band(written: list[str | None], series: Series, steps: Sequence[float]):
    """Return the values as they are written, with their intervals."""
    ends = {step: f" [{short(low)}, {short(high)}]" for step, low, high in _ends(series)}
    return [v if v is None else v + ends.get(step, "") for v, step in zip(written, steps)]


def _band(series: Series, x: Axis, y: Axis) -> list[Shape]:
    """Return the area between the ends of a curve's intervals; an upright line for one point."""
    ends = _ends(series)
    if not ends:
        return []
    there = [f"{x.place(step) * WIDTH:.1f} {_down(y, low)}" for step, low, _ in ends]
    back = [f"{x.place(step) * WIDTH:.1f} {_down(y, high)}" for step, _, high in ends[::-1]]
    if len(ends) == 1:
        return [Shape(f"line s{series.color} d0 thin", f"M{there[0]}L{back[0]}")]
    return [Shape(f"area band f{series.color}", "M" + "L".join(there + back) + "z")]


def _line(series: Series, x: Axis, y: Axis) -> list[Shape]:
    """Return a path that is broken where values are not finite, and dots for what a line would not
    show."""
    pieces: list[list[str]] = [[]]
    for step, value in series.points:
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{x.place(step) * WIDTH:.1f} {_down(y, value)}")
    few = sum(map(len, pieces)) <= DOTS
    lines = " ".join("M" + "L".join(piece) for piece in pieces if piece)
    # a stroke of no length with round ends
    dots = " ".join(f"M{p}h0" for piece in pieces for p in piece if few or len(piece) == 1)
    shapes = [Shape(f"line s{series.color} d{series.dash}", lines)]
    return shapes + ([Shape(f"dots s{series.color}", dots)] if dots else [])


def _columns(floor: Mapping[int, float], height: Mapping[int, float], x: Axis, y: Axis) -> str:
    gap = 0.1 if len(floor) <= 80 else 0.0  # of a step, on either side; of many it would flicker
    width = (1 - 2 * gap) / (x.high - x.low) * WIDTH
    return "".join(
        f"M{x.place(step - 0.5 + gap) * WIDTH:.1f} {_down(y, bottom)}"
        f"h{width:.1f}v{-height[step] / (y.high - y.low) * HEIGHT:.2f}h{-width:.1f}z"
        for step, bottom in floor.items()
        if height[step]
    )


def _down(y: Axis, value: float) -> str:
    """Return a value's place in the drawing, which counts from its upper edge."""
    return f"{(1 - y.place(value)) * HEIGHT:.1f}"


def _step(step: float) -> str:
    """Return a step as the script writes it: with at most three decimals."""
    return f"{step:,}" if isinstance(step, int) else f"{step:,.3f}".rstrip("0").rstrip(".")
