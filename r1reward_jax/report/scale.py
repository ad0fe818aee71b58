"""Axes: which stretch of numbers a chart shows and where its ticks stand; numbers as text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Axis:
    """A stretch of numbers from `low` to `high`, on a linear or a logarithmic scale."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    """Values and what is written beside them."""
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value stands: 0 at `low`, 1 at `high`."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return (math.log(value) - low) / (high - low)
        return (value - self.low) / (self.high - self.low)


def value_axis(values: Sequence[float], *, whole: bool = False) -> Axis:
    """Return an axis for the values of curves: logarithmic for positive ones over several decades
    of which most are small, else linear, and from zero where zero is near.

    Args:
      values: finite, at least one.
      whole: the values start from 0, as stacked ones do.
    """
    low, high = min(values), max(values)
    middle = sorted(values)[len(values) // 2]
    # 1e-300: the ratio of denormal numbers overflows
    if not whole and low > 1e-300 and high / low > 30 and high / middle > 5:
        return _log_axis(low, high)
    share = low >= 0 and high <= 1  # its axis does not reach beyond 1
    if whole or (low >= 0 and low < 0.55 * high):
        low = 0.0
    if high <= 0 and high > 0.55 * low:
        high = 0.0
    if high - low < 1e-12 * max(abs(high), abs(low), 1e-300):  # all the same: an axis needs room
        room = abs(high) / 2 or 1.0
        low, high = (0.0, high + room) if low >= 0 else (low - room, high + room)
    step = nice_step((high - low) / 5)
    # 1e-9: an end that is a tick but for rounding does not get a step of its own
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Axis(low, min(high, 1.0) if share else high, _ticks(low, high, step))


def step_axis(first: int, last: int, ticks: int = 6) -> Axis:
    """Return an axis for steps, which are whole numbers."""
    if first == last:
        return Axis(first - 1, last + 1, ((first, str(first)),))
    step = max(1, round(nice_step((last - first) / ticks)))
    start = math.ceil(first / step) * step
    return Axis(first, last, tuple((t, f"{t:,}") for t in range(start, last + 1, step)))


def share_axis(low: float) -> Axis:
    """Return an axis for shares, from `low` to 1, with a tick at every tenth or fifth."""
    step = 0.1 if low >= 0.5 else 0.2
    return Axis(low, 1.0, _ticks(low, 1.0, step))


def nice_step(least: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next((m * power for m in (1, 2, 5) if m * power >= least * (1 - 1e-9)), 10 * power)


def _ticks(low: float, high: float, step: float) -> tuple[tuple[float, str], ...]:
    count = round((high - low) / step)
    return tuple((v, _tick_text(v, step)) for v in (low + i * step for i in range(count + 1)))


def _tick_text(value: float, step: float) -> str:
    if abs(value) < step / 2:
        return "0"
    if step < 1e-4:
        return short(value)
    if step >= 1000:
        return f"{value / 1000:,.0f}k"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{decimals}f}".replace("-", "−")


def _log_axis(low: float, high: float) -> Axis:
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    every = math.ceil((last - first) / 5)
    plain = first >= -3 and last <= 4
    ticks = [
        (10.0**p, short(10.0**p) if plain else "10" + str(p).translate(_RAISED))
        for p in range(first, last + 1, every)
    ]
    return Axis(10.0**first, 10.0**last, tuple(ticks), log=True)


def short(value: float) -> str:
    """Return a number in at most four digits, and as short as that allows."""
    text = f"{value:.3g}" if abs(value) < 1e-3 else f"{value:.4g}"
    if abs(value) >= 10_000:
        text = f"{value:,.0f}"
    if "e" in text:
        mantissa, _, power = text.partition("e")
        text = f"{mantissa}e{int(power)}"
    return text.replace("-", "−")
