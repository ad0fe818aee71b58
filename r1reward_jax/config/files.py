"""Configs as they lie on disk: shipped by name, a `.py`, `.yaml` or `.json` file, a run's folder.

What a config may hold is said by `values` and `rules`; this file only reads.
"""

import ast
import importlib
import importlib.util
import inspect
import itertools
import json
import os
import re
import reprlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from r1reward_jax.errors import InputError
from r1reward_jax.places import place, require
from r1reward_jax.reading import MB, read_file, scheme_of

SUFFIXES = (".py", ".yaml", ".yml", ".json")
LARGEST = MB
"""Bytes of a file with a config."""
MOST_FIELDS = 1000
"""Fields and sections that a file may have."""
BASE = "base"
"""Key of a .yaml or .json file that names the config which it changes."""


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


@dataclass(frozen=True)
class Source:
    """A config as it was read."""

    base: ConfigDict
    """A whole config."""
    base_name: str
    """Its name, which differs from the file's where the file changes only a part of it."""
    changes: dict[str, Any]
    """Values by path that a .yaml or .json file puts over the base."""
    source: str
    """Text of the Python file that made the base; empty for the others."""


def items(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of every knob, such as ("rl.lr", 1e-6)."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from items(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def shown(value: Any) -> str:
    """Return a value as messages show it, however long or deep it is."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # a number of more digits than Python likes to write
        return f"a {type(value).__name__} of too many digits"


def near(name: str, known: Iterable[str]) -> str:
    """Return "did you mean …?" with the nearest of the known names."""
    # the time that it takes grows with the square of the length
    return f"did you mean {get_close_matches(name[:100], list(known), n=1, cutoff=0.0)[0]!r}?"


def read(name: str) -> Source:
    """Read the config of that name, file or run's folder. Raises InputError if there is none."""
    if name not in names():
        try:
            if file := _file(place(name)):
                require(file, "file")
        except InputError as error:
            raise InputError(f"config {error}") from None
        if file:
            return _python(file) if file.endswith(".py") else _mapping(file)
    found = module(name)
    return Source(found.get_config(), name, {}, inspect.getsource(found))


def _file(path: str) -> str | None:
    """Return the file of a config that is one, or lies in a run's folder; None for a name."""
    if os.path.isdir(path) and not path.endswith(SUFFIXES):
        inside = os.path.join(path, "config.json")
        if not os.path.exists(inside) and os.sep not in path.rstrip(os.sep):
            return None  # a folder that happens to have the name of a config, misspelt
        return inside
    if scheme_of(path):
        raise InputError(f"{path}: configs are read from this machine only; copy it here")
    return path if path.endswith(SUFFIXES) else None


def names() -> list[str]:
    """Return the names of the configs that are shipped with the package."""
    folders = importlib.import_module("r1reward_jax.configs").__path__
    files = [p.relative_to(f) for f in folders for p in Path(f).rglob("[a-z]*.py")]
    return sorted(".".join(file.with_suffix("").parts) for file in files)


def module(name: str) -> Any:
    """Return the module of a shipped config. Raises InputError if there is none."""
    known = names()
    if name not in known:
        raise InputError(
            f"config {name!r}: not found; {near(name, known)} known: {', '.join(known)}"
        )
    return importlib.import_module(f"r1reward_jax.configs.{name}")


def _python(name: str) -> Source:
    """A file with `get_config()`; its own mistakes are the user's."""
    spec = importlib.util.spec_from_file_location("user_config", name)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(found)
        config = found.get_config()
    except Exception as error:
        kind = type(error).__name__
        raise InputError(f"config {name}: {kind}: {error}; expected a get_config()") from None
    if not isinstance(config, ConfigDict):
        raise InputError(f"config {name}: get_config() gives no ConfigDict")
    return Source(config, name, {}, Path(name).read_text(errors="replace"))


def _mapping(name: str) -> Source:
    """A .yaml or .json file: all of a run's config, or what differs from a base."""
    try:
        body = _parsed(name)
        if not isinstance(body, dict):
            raise TypeError(f"it holds a {type(body).__name__}")
        body = dict(body)
        own = set(body) & set(_own_sections())
        base = body.pop(BASE, "quickstart" if own else "default")
        changes = dict(_flat(body, itertools.count(1)))
    except (ValueError, TypeError, RecursionError) as error:  # an alias may hold itself
        raise InputError(
            f"config {name}: not a config, sections with fields as in a run's config.json ({error})"
        ) from None
    if base not in names():
        raise InputError(
            f"config {name}: {BASE}: {shown(base)} is no config; {near(str(base), names())}"
        )
    return Source(module(base).get_config(), base, changes, "")


def _own_sections() -> list[str]:
    """Sections that only the quickstart has."""
    shared = module("default").get_config()
    return [name for name in module("quickstart").get_config() if name not in shared]


def _parsed(name: str) -> Any:
    text = read_file(name, most=LARGEST, expected="a config").decode("utf-8-sig")
    if name.endswith(".json"):
        return json.loads(text)
    import yaml  # ml_collections requires it

    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _flat(
    body: dict[str, Any], count: Iterator[int], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in body.items():
        if not isinstance(name, str):
            raise TypeError(f"{prefix}{shown(name)}: a name is expected before the colon")
        if isinstance(value, dict):
            yield from _flat(value, count, f"{prefix}{name}.")
        else:
            yield prefix + name, value
        # aliases of YAML make much of little: a file of a kilobyte may have a billion fields
        if next(count) > MOST_FIELDS:
            raise ValueError(f"more than {MOST_FIELDS:,} fields")


# ---------------------------------------------------------------- the source text


def assigned(source: str) -> set[str]:
    """Return the paths that a Python config assigns: `c.rl.lr = 1e-6` gives rl.lr."""
    return {
        ".".join(parts)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign)
        for target in node.targets
        if (parts := _attributes(target))
    }


def _attributes(node: ast.AST) -> list[str]:
    """The names behind the first one of `c.rl.lr`."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return parts if isinstance(node, ast.Name) else []


def comments(*sources: str) -> dict[str, str]:
    """Return the comment behind each knob, and behind each section, of Python configs."""
    line = re.compile(r"^\s*c\.([\w.]+) = .*?  # (.*)$", re.MULTILINE)
    return {m[1]: m[2] for source in sources for m in line.finditer(source)}


def shipped_comments() -> dict[str, str]:
    """Return the comments of the configs that introduce knobs."""
    return comments(*(inspect.getsource(module(name)) for name in ("default", "quickstart")))
