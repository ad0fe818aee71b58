"""Configs as text: their knobs with values and comments, and what differs between two."""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from r1reward_jax.config import files
from r1reward_jax.config.files import items

WIDTH = 46
"""Column in which comments begin."""


def listing(config: ConfigDict, option: str = "") -> Iterator[str]:
    """Yield all knobs of a config by section, as `path = value  # comment`.

    Args:
      config: whose values are shown.
      option: stands before each path, such as --.
    """
    comments, last, values = files.shipped_comments(), "", dict(items(config))
    # a ConfigDict sorts by name; the files that introduce the knobs have them in a reader's order
    for path in [p for p in comments if p in values] + [p for p in values if p not in comments]:
        value = values[path]
        section = path.rpartition(".")[0]
        if section != last:
            about = comments.get(section, "")
            yield f"\n{section}{f': {about}' if about else ''}"
        last = section
        text = f"  {option}{path} = {shown(value)}"
        yield f"{text:<{WIDTH}}  # {comments[path]}" if path in comments else text


def shown(value: Any) -> str:
    """Return a value as it may be written on a command line."""
    return value if isinstance(value, str) and value else repr(value)


def differences(a: ConfigDict, b: ConfigDict) -> Iterator[str]:
    """Yield the knobs that two configs do not share, as `path: value of a -> value of b`."""
    one, two, none = dict(items(a)), dict(items(b)), "(none)"
    for path in dict.fromkeys([*one, *two]):
        old, new = (shown(side[path]) if path in side else none for side in (one, two))
        if old != new:
            yield f"{path}: {old} -> {new}"


def summaries() -> Iterator[str]:
    """Yield the names of the shipped configs with the first line of their docstrings."""
    names = files.names()
    width = max(map(len, names))
    for name in names:
        about = (files.module(name).__doc__ or "").split("\n")[0]
        yield f"{name:<{width}}  {about}"
