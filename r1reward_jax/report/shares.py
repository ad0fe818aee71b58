"""Scores, shares and means of an evaluation as text and as tables."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any


def table(title: str, heads: Mapping[str, str], rows: Sequence[Sequence[str]]) -> str:
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
