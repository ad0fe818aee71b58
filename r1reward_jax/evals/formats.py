"""How numbers are written for people, and lines of them as tables.

Not by rich: aligned columns are ten lines here and as many with it, where every cell would have to
be escaped besides, since an interval in brackets is markup there.
"""

from collections.abc import Sequence

from r1reward_jax.evals.results import Estimate, Saving, Score

WIDTH = 100
"""Columns of a line."""
NAME = 20
"""Characters of a group's name."""


def three(number: Estimate | Saving) -> str:
    """Return the value with three digits; a dash if there is none."""
    return "–" if number.value is None else f"{number.value:.3f}"


def interval(number: Estimate, digits: str = ".3f") -> str:
    """Return the interval in brackets; nothing if there is none."""
    if number.low is None:
        return ""
    return f"[{number.low:{digits}}, {number.high:{digits}}]"


def counts(score: Score) -> str:
    """Return the points, and of how many judgements."""
    right = f"{score.right:,}" if isinstance(score.right, int) else f"{score.right:,.1f}"
    return f"{right}/{score.of:,}"


def shortened(name: str) -> str:
    """Return the beginning of a name that is too long for a column."""
    return name if len(name) <= NAME else name[: NAME - 1] + "…"


def wrapped(text: str) -> list[str]:
    """Return a text in lines of at most 100 columns; all but the first are indented."""
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) + 1 > WIDTH and lines[-1].strip():
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as columns: the first to the left, the others to the right; they are closer where
    they would be too wide."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= WIDTH else " "
    return [
        gap.join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
