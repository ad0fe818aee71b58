"""Axes, paths and colours."""

import itertools
import json
import math
import re
from html import unescape
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1reward_jax.report import curves, scale, view
from r1reward_jax.report.charts import Chart, Frame, Series, line_chart, stacked_chart

FRAME = Frame("Title", "about", "iteration")


def figure_of(chart: Chart | None):
    """The chart as the page writes it."""
    assert chart is not None
    return str(vars(view.template("macros.html").module)["chart"](chart))


def paths(figure, kind):
    return re.findall(rf'<path class="{kind} [^"]*" d="([^"]*)"/>', figure)


def read_out(figure):
    return [json.loads(unescape(v)) for v in re.findall(r"data-values='([^']*)'", figure)]


def test_ticks_are_round_and_shares_end_at_one():
    axis = scale.value_axis([0.66, 0.93, 0.992])
    assert [t for _, t in axis.ticks] == ["0.6", "0.7", "0.8", "0.9", "1.0"]
    assert (axis.low, axis.high) == pytest.approx((0.6, 1.0))
    axis = scale.value_axis([0.0, 0.053])
    assert [t for _, t in axis.ticks] == ["0", "0.02", "0.04", "0.06"]
    assert [t for _, t in scale.value_axis([2_000.0, 16_066.0]).ticks][-1] == "20k"
    assert [t for _, t in scale.value_axis([-6.7, 1.6]).ticks][0] == "−8"


def test_a_scale_over_decades_is_logarithmic():
    axis = scale.value_axis([6.8, 0.11, 0.05, 0.04])
    assert axis.log and [t for _, t in axis.ticks] == ["0.01", "0.1", "1", "10"]
    assert axis.place(1.0) == pytest.approx(2 / 3)
    assert [t for _, t in scale.value_axis([1e-3, 1e-7, 2e-7]).ticks] == [
        *("10⁻⁷", "10⁻⁶", "10⁻⁵", "10⁻⁴", "10⁻³")
    ]
    assert not scale.value_axis([6.8, 5.0, 0.04]).log  # most are large


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=6))
def test_every_value_is_inside_its_axis(values):
    axis = scale.value_axis(values)
    assert all(-1e-6 <= axis.place(v) <= 1 + 1e-6 for v in values)
    assert len(axis.ticks) <= 9 and all(math.isfinite(v) for v, _ in axis.ticks)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_steps_have_whole_ticks(first, length):
    axis = scale.step_axis(first, first + length)
    assert 1 <= len(axis.ticks) <= 8
    assert all(axis.low <= v <= axis.high and v == int(v) for v, _ in axis.ticks)


def test_a_line_is_broken_where_values_are_not_finite():
    points = ((1, 0.0), (2, 1.0), (3, None), (4, 0.5))
    figure = figure_of(line_chart(FRAME, [Series("a", points, 1)]))
    (line,) = paths(figure, "line")[1:]  # behind the legend's
    assert line == "M0.0 400.0L333.3 0.0 M1000.0 200.0"
    assert read_out(figure) == [["0", "1", "not finite", "0.5"]]
    assert line_chart(FRAME, [Series("a", ((1, None),), 1)]) is None


def test_series_of_different_steps_share_a_read_out():
    series = [Series("a", ((1, 1.0), (3, 2.0)), 1), Series("b", ((2, 5.0), (3, 6.0)), 2)]
    figure = figure_of(line_chart(FRAME, series))
    assert read_out(figure) == [["1", None, "2"], [None, "5", "6"]]
    assert "data-steps='[1,2,3]'" in figure


def test_words_of_a_chart_cannot_leave_their_attributes():
    words = "'\"><b>&amp;"
    figure = figure_of(line_chart(Frame(words, words, words), [Series(words, ((1, 1.0),), 1)]))
    assert "<b>&amp;" not in figure and unescape(figure).count(words) == 9
    assert read_out(figure) == [["1"]]


def test_intervals_are_bands_and_are_read_out():
    points = ((0, 0.5), (1, 0.75), (2, 1.0))
    band = (((0, 0.4), (2, 0.8)), ((0, 0.6), (2, 1.0)))
    chart = line_chart(FRAME, [Series("a", points, 1, band=band)])
    figure = figure_of(chart)
    (path,) = areas(figure)
    assert path == "M0.0 240.0L1000.0 80.0L1000.0 0.0L0.0 160.0z"
    assert read_out(figure) == [["0.5 [0.4, 0.6]", "0.75", "1 [0.8, 1]"]]
    one = figure_of(line_chart(FRAME, [Series("a", points[:1], 1, band=band)]))
    assert areas(one) == [] and "thin" in one


def test_columns_are_stacked_to_their_sum():
    parts = [
        Series("a", ((1, 1.0), (2, 2.0)), 1),
        Series("b", ((1, 3.0), (2, 0.0)), 2),
    ]
    figure = figure_of(stacked_chart(FRAME, parts, [1, 2]))
    first, second = (re.findall(r"M[\d.]+ ([\d.]+)h[\d.]+v(-[\d.]+)", p) for p in areas(figure))
    assert first == [("400.0", "-100.00"), ("400.0", "-200.00")]  # of 4 seconds on 400 units
    assert second == [("300.0", "-300.00")]
    assert read_out(figure)[-1] == ["4", "2"]


def areas(figure):
    return re.findall(r'<path class="area [^"]*" d="([^"]*)"/>', figure)


def test_a_first_step_that_compiles_does_not_dwarf_the_rest():
    assert curves.scale_top([10.9] + [2.0] * 39) == 2.0
    assert curves.scale_top([2.2] + [2.0] * 39) == 2.2
    assert curves.scale_top([5.0]) == 5.0


# ----------------------------------------------------------------- colours

VISION = {  # Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB
    "all": np.eye(3),
    "no red": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no green": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "no blue": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}
XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])


def linear(color):
    rgb = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(a, b):
    low, high = sorted(float((XYZ @ linear(c))[1]) for c in (a, b))
    return (high + 0.05) / (low + 0.05)


def lab(rgb):
    t = XYZ @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.0888]
    x, y, z = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def style():
    return resources.files("r1reward_jax.report").joinpath("page.css").read_text("utf-8")


def themes():
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);", style())
    return [{name: colors[theme] for name, *colors in found} for theme in range(2)]


def test_colours_are_written_once():
    """Both themes beside one another; elsewhere only the white of paper and behind images."""
    light, dark = themes()
    assert len(light) == 19 and len(re.findall(r"^ *--[\w-]+:", style(), re.M)) == len(light)
    rest = re.sub(r"light-dark\(.*\)", "", style())
    assert set(re.findall(r"#\w{6}\b", rest)) == {"#ffffff"}
    assert not [name for name in light if light[name] == dark[name]]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_and_lines_have_contrast(theme):
    found = themes()[theme]
    for name in ("ink", "muted", "accent", "good", "bad", "odd"):
        assert min(contrast(found[name], found[g]) for g in ("ground", "panel")) >= 4.5, name
    for name in ("good", "bad", "odd"):
        assert contrast(found[name], found[f"{name}-ground"]) >= 4.5, name
    for i in range(1, view.COLORS + 1):
        assert contrast(found[f"s{i}"], found["panel"]) >= 3, i


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_series_can_be_told_apart(theme, vision):
    found = themes()[theme]
    seen = {
        i: lab(np.array(VISION[vision]) @ linear(found[f"s{i}"])) for i in range(1, view.COLORS + 1)
    }
    for a, b in itertools.combinations(seen, 2):
        least = 20 if max(a, b) <= 4 else 12
        assert np.linalg.norm(seen[a] - seen[b]) > least, (a, b)
