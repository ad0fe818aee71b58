"""Making a config: a name or a file, and what is put over it."""

import ast
import copy
import functools
import math
import re
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from r1reward_jax.config import files as config_files
from r1reward_jax.config.files import items, near
from r1reward_jax.config.judges import NONE, without_judge
from r1reward_jax.config.renamed import RENAMED
from r1reward_jax.console import note
from r1reward_jax.errors import InputError
from r1reward_jax.reading import shortened


def load(name: str) -> ConfigDict:
    """Return the config of a name in configs/, a .py, .yaml or .json file, or a run's folder.

    Args:
      name: a .yaml or .json file may hold a part of a config: its values are put over those of the
        config that it names as `base`, or over default.

    Raises:
      InputError: there is no such config, or it holds fields or values that no config may have.
    """
    source = config_files.read(name)
    config = source.base
    wrong = _rename(config) + _type_problems(config)
    for path, value in source.changes.items():
        wrong += _set(config, path, value, f"{path}={config_files.shown(value)}")
    if wrong:
        raise InputError(f"config {name}: {'; '.join(wrong)}")
    if source.changes:
        _say_what_is_taken(name, source, config)
    return config


def _say_what_is_taken(name: str, source: config_files.Source, config: ConfigDict) -> None:
    """Say what a file that does not hold a whole config sets, or what it lacks."""
    given = {RENAMED.get(path, path) for path in source.changes}
    lacks = [path for path, _ in items(config) if path not in given]
    if not lacks:
        return
    if len(lacks) < len(given):
        shown = ", ".join(lacks[:5]) + (" …" if len(lacks) > 5 else "")
        note(f"config {name}: lacks {shown}, as written by another version; of {source.base_name}")
    else:
        note(f"config {name}: sets {', '.join(sorted(given))}; all else is of {source.base_name}")


def explicit(name: str, config: ConfigDict) -> set[str]:
    """Return the paths that a config sets itself: what its file assigns, and what differs from
    default by whatever it builds on.

    Args:
      name: of the config, as `load` takes it.
      config: what it is, or has become.
    """
    source = config_files.read(name)
    default = dict(items(config_files.read("default").base))
    paths = set(source.changes) | config_files.assigned(source.source)
    paths |= {path for path, value in items(source.base) if default.get(path, value) != value}
    known = dict(items(config))
    return {RENAMED.get(path, path) for path in paths} & known.keys()


def override(config: ConfigDict, assignments: Sequence[str]) -> None:
    """Apply assignments such as `rl.lr=1e-6`, one after the other.

    Raises:
      InputError: fields that there are not, or values of another type; all in one message.
    """
    wrong = override_problems(config, assignments)
    if wrong:
        raise InputError("; ".join(wrong))


def override_problems(config: ConfigDict, assignments: Sequence[str]) -> list[str]:
    """Apply those of the assignments that can be; return what is wrong with the others."""
    wrong = []
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if equals:
            wrong += _set(config, path, text, shortened(assignment))
        else:
            wrong.append(f"{config_files.shown(assignment)}: expected section.field=value")
    return wrong


def renamed(body: dict[str, Any]) -> dict[str, Any]:
    """Return the config of an older run, as run.json has it, with the present names of its knobs.
    Knobs that have both names keep the value of the present one."""
    new = copy.deepcopy(body)
    for old_path, path in RENAMED.items():
        (*old_parents, old), (*parents, field) = old_path.split("."), path.split(".")
        section = functools.reduce(lambda part, name: part.get(name, {}), old_parents, new)
        if old in section:
            value = section.pop(old)
            functools.reduce(lambda p, n: p.setdefault(n, {}), parents, new).setdefault(
                field, value
            )
    return new


def _rename(config: ConfigDict) -> list[str]:
    """Move the values of knobs that a Python config calls by their older names."""
    wrong = []
    for path, value in list(items(config)):
        if path in RENAMED:
            *parents, field = path.split(".")
            del _section(config, parents)[field]
            wrong += _set(config, path, value, f"{path}={config_files.shown(value)}")
    return wrong


def _set(config: ConfigDict, path: str, value: Any, shown: str) -> list[str]:
    """Set one knob, from a text or a value of a file; return what is wrong."""
    if path in RENAMED:
        note(f"{path} is called {RENAMED[path]} now")
        path = RENAMED[path]
    if path == NONE:
        return without_judge(config, value, shown)
    known = dict(items(config))
    if path not in known:
        return [f"config has no field {config_files.shown(path)}; {near(path, known)}"]
    *parents, field = path.split(".")
    found = _converted(value, known[path])
    if type(found) is not type(known[path]):
        kind, given = type(known[path]).__name__, type(found).__name__
        return [f"{shown}: expected {kind}, like {known[path]!r}, not {given}"]
    _section(config, parents)[field] = found
    return []


def _section(config: ConfigDict, parents: Sequence[str]) -> ConfigDict:
    for parent in parents:
        config = config[parent]
    return config


def _converted(value: Any, old: Any) -> Any:
    """A value, or a text, as the type of the old value where that can be."""
    if isinstance(old, str):
        return value
    if isinstance(value, str):
        text = value
        words = {"true": True, "false": False}
        try:
            value = words[text.lower()] if isinstance(old, bool) else ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
            names_of = isinstance(old, tuple) and old and isinstance(old[0], str)
            value = tuple(re.findall(r"[\w-]+", text)) if names_of else text
    if isinstance(old, float) and type(value) is int:
        try:
            return float(value)
        except OverflowError:  # refused with all that is not finite
            return math.inf
    if isinstance(old, tuple) and isinstance(value, list):
        return tuple(value)
    return value


def _type_problems(config: ConfigDict) -> list[str]:
    """Fields of a Python config that are none of ours, or have values of another type."""
    known = dict(items(config_files.read("quickstart").base))
    wrong = []
    for path, value in items(config):
        if path not in known:
            wrong.append(f"there is no field {path!r}; {near(path, known)}")
        elif type(value) is not type(known[path]):
            wrong.append(
                f"{path}={config_files.shown(value)}: expected {type(known[path]).__name__}"
            )
    absent = sorted(dict(items(config_files.read("default").base)).keys() - dict(items(config)))
    if absent:
        shown = ", ".join(absent[:5]) + (" …" if len(absent) > 5 else "")
        wrong.append(f"it lacks {shown}; begin with default.get_config()")
    return wrong
