"""The page's templates, and the shapes that several of its sections share.

Python decides what is shown, `templates/*.html` how it is written. Everything that a template is
given is escaped, unless it is a `Markup`, which only the style sheet and the script are.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from r1reward_jax.report.scale import short

COLORS = 6
"""Colours of the style sheet for runs and series; beyond, they come again, dashed."""
MISSING = "–"
"""What stands where a number is missing."""


@dataclass(frozen=True)
class Table:
    """A table with one row per name, which stands first."""

    caption: str
    rows: Sequence[Sequence[str]]
    heads: Sequence[tuple[str, str]] = ()
    """Title of each column, and what it means. Empty: a table without titles."""
    look: str = ""
    """Its class in the style sheet."""
    empty: str = ""
    """What stands for an empty text."""


@dataclass(frozen=True)
class Number:
    """A number of a card."""

    value: str
    run: str = ""
    """Name of its run; empty where there is only one."""
    color: int = 1
    """Colour of that run."""
    small: str = ""
    """What stands beside it."""


@dataclass(frozen=True)
class Card:
    """Numbers to look at first, and what they mean."""

    title: str
    numbers: Sequence[Number]
    about: str


def titles(*names: str) -> list[tuple[str, str]]:
    """Return the heads of columns that need no explanation."""
    return [(name, "") for name in names]


def color_of(index: int) -> int:
    """Return the style sheet's number of the colour of a run or a series, counted from 0."""
    return index % COLORS + 1


def named(value: str, index: int, names: Sequence[str], small: str = "") -> Number:
    """Return a number with the name of its run, if there are several.

    Args:
      value: as it is written.
      index: of the run.
      names: of all runs.
      small: what stands beside it.
    """
    return Number(value, names[index] if len(names) > 1 else "", color_of(index), small)


def template(name: str) -> jinja2.Template:
    """Return a file of `templates`. Values that it needs and is not given are an error."""
    return _ENVIRONMENT.get_template(name)


_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Control characters, signs that turn the direction of writing, and halves of surrogates."""


def visible(text: str) -> str:
    """Return a text in which no character is unseen, works on its neighbours, or cannot be written
    as UTF-8: controls have their pictures, other such characters their numbers."""
    return _UNSEEN.sub(_picture, text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else f"[U+{code:04X}]"


def _finalize(value: Any) -> Any:
    return visible(value) if type(value) is str else value


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("r1reward_jax.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # charts carry their numbers in attributes, thousands of them: without spaces
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    made.filters |= {"thousands": "{:,}".format, "short": short}
    return made


_ENVIRONMENT = _environment()
