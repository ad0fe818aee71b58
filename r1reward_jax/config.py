"""Configs on the command line: `--config NAME_OR_FILE section.field=value …`."""

import ast
import difflib
import importlib
import importlib.util
import json
import math
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from r1reward_jax.prompts import TEMPLATES
from r1reward_jax.rl.advantages import BASELINES, KL
from r1reward_jax.rl.losses import AGGREGATES, LOSSES
from r1reward_jax.types import InputError

DTYPES = ("float32", "bfloat16", "float16")
CHOICES = {
    "template": tuple(TEMPLATES),
    "model.param_dtype": DTYPES,
    "model.compute_dtype": DTYPES,
    "model.video_rule": ("max", "side"),
    "eval.stop": ("none", "exact", "posterior"),
}
MAY_BE_ZERO = (
    *("seed", "profile_step", "data.threads", "checkpoint.updates", "step.micro_tokens"),
    *("rollout.mesh.data", "rollout.mesh.fsdp", "rollout.mesh.tensor"),
    *("checkpoint.iterations", "eval.records", "eval.samples"),
    *("rollout.top_k", "rollout.lanes", "judge.lines", "judge.retries", "judge.devices"),
)


def add_arguments(parser: ArgumentParser, default: str) -> None:
    """The arguments every verb with a config has."""
    parser.add_argument(
        "--config",
        default=default,
        help=f"a name in configs/, a .py file, or a run's config.json (default: {default})",
    )
    parser.add_argument("--seed", type=int, help="same as seed=N")
    parser.add_argument("--workdir", help="run directory, same as workdir=DIR")
    parser.add_argument("overrides", nargs="*", metavar="section.field=value")


def config_from(args: Namespace) -> ConfigDict:
    """The config that the arguments describe. Raises InputError for what does not exist."""
    config = load(args.config)
    _check_fields(config, args.config)
    if args.seed is not None:
        config.seed = args.seed
    if args.workdir is not None:
        config.workdir = args.workdir
    override(config, args.overrides)
    check(config)
    return config


def load(name: str) -> ConfigDict:
    """`get_config()` of a file or of a module in r1reward_jax.configs; or a run's config.json."""
    if name.endswith((".py", ".json")) and not Path(name).exists():
        raise InputError(f"config {name}: not found")
    if name.endswith(".json"):
        return _from_json(name)
    if name.endswith(".py"):
        spec = importlib.util.spec_from_file_location("user_config", name)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
            config = module.get_config()
        except Exception as error:
            kind = type(error).__name__
            raise InputError(f"config {name}: {kind}: {error}; expected a get_config()") from None
        if not isinstance(config, ConfigDict):
            raise InputError(f"config {name}: get_config() gives no ConfigDict")
        return config
    try:
        module: Any = importlib.import_module(f"r1reward_jax.configs.{name}")
    except ModuleNotFoundError as error:
        if not f"r1reward_jax.configs.{name}.".startswith(f"{error.name}."):
            raise
        module = None
    if hasattr(module, "get_config"):
        return module.get_config()
    folders = importlib.import_module("r1reward_jax.configs").__path__
    files = [p.relative_to(f) for f in folders for p in Path(f).rglob("[a-z]*.py")]
    known = sorted(".".join(file.with_suffix("").parts) for file in files)
    raise InputError(f"config {name!r}: not found; known: {', '.join(known)}")


def _from_json(name: str) -> ConfigDict:
    """A config that a run wrote; json knows no tuples, configs know no lists."""

    def tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: tuples(v) for k, v in value.items()}
        return tuple(map(tuples, value)) if isinstance(value, list) else value

    try:
        body = json.loads(Path(name).read_text())
        if not isinstance(body, dict):
            raise TypeError(f"it holds a {type(body).__name__}")
        config = ConfigDict(tuples(body))
    except (ValueError, TypeError) as error:
        raise InputError(f"config {name}: not a config written by a run ({error})") from None
    missing = sorted(dict(_items(load("default"))).keys() - dict(_items(config)).keys())
    if missing:
        shown = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        raise InputError(f"config {name}: written by another version, it lacks {shown}")
    return config


def override(config: ConfigDict, assignments: Sequence[str]) -> None:
    """Apply `section.field=value`. Raises InputError for unknown fields and wrong types."""
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"{assignment!r}: expected section.field=value")
        known = [path for path, _ in _items(config)]
        if path not in known:
            raise InputError(f"config has no field {path!r}; {_near(path, known)}")
        *parents, field = path.split(".")
        section = config
        for parent in parents:
            section = section[parent]
        section[field] = _value(path, text, section[field])


def _near(path: str, known: Iterable[str]) -> str:
    return f"did you mean {difflib.get_close_matches(path, known, n=1, cutoff=0.0)[0]!r}?"


def _check_fields(config: ConfigDict, name: str) -> None:
    """Raise InputError for fields that are none of ours or have values of another type."""
    known = dict(_items(load("quickstart"))) | dict(_items(load("default")))
    problems = []
    for path, value in _items(config):
        if path not in known:
            problems.append(f"there is no field {path!r}; {_near(path, known)}")
        elif type(value) is not type(known[path]):
            problems.append(f"{path}={value!r}: expected {type(known[path]).__name__}")
    if problems:
        raise InputError(f"config {name}: {'; '.join(problems)}")


def check(config: ConfigDict) -> None:
    """Raise InputError for values that no run can use, all of them in one message."""
    problems = []
    for path, value in _items(config):
        least = 0 if path in MAY_BE_ZERO or isinstance(value, float) else 1
        if path in CHOICES and value not in CHOICES[path]:
            problems.append(f"{path}={value}: expected one of {', '.join(CHOICES[path])}")
        elif isinstance(value, tuple):
            problems += _tuple_problems(path, value)
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        elif not math.isfinite(value):
            problems.append(f"{path}={value}: expected a finite number")
        elif not (value >= least or (".mesh." in f".{path}" and value == -1)):
            problems.append(f"{path}={value}: expected at least {least}")
    if problems:
        raise InputError("; ".join(problems))


def _tuple_problems(path: str, value: tuple) -> list[str]:
    """Tuples hold names (world.skills) or numbers that are not negative."""
    if not value:
        return [f"{path} is empty"]
    if path == "world.skills":
        right = all(isinstance(item, str) for item in value)
        return [] if right else [f"{path}={value}: expected names"]
    fractions = path == "teacher.fallback"
    kinds = (int, float) if fractions else (int,)
    right = all(type(item) in kinds and item >= (0 if fractions else 1) for item in value)
    return [] if right else [f"{path}={value}: expected positive numbers"]


def require(config: ConfigDict, *paths: str) -> None:
    """Raise InputError for fields that the verb needs and that are empty."""
    flat = dict(_items(config))
    missing = [path for path in paths if not flat[path]]
    if missing:
        raise InputError(f"set {', '.join(f'{path}=…' for path in missing)}")


def _value(path: str, text: str, old: Any) -> Any:
    """`text` as a value of the type of `old`."""
    if isinstance(old, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if isinstance(old, tuple) and isinstance(value, list):
        value = tuple(value)
    if type(value) is not type(old):
        kind = type(old).__name__
        raise InputError(
            f"{path}={text}: expected {kind}, like {old!r}, not {type(value).__name__}"
        )
    return value


def _items(config: ConfigDict, prefix: str = ""):
    """(path, value) of every field."""
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _items(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def check_rl(config: ConfigDict) -> None:
    """Raise InputError for settings that do not go together."""
    c = config.rl
    if c.rollout_batch % c.train_batch:
        raise InputError(
            f"rl.rollout_batch {c.rollout_batch}: not a multiple of rl.train_batch {c.train_batch}"
        )
    together = c.samples * (2 if c.swap_weight else 1)
    if c.rollout_batch % together:
        raise InputError(
            f"rl.rollout_batch {c.rollout_batch}: not a multiple of {together}, the samples of a "
            "prompt (in both orders with rl.swap_weight)"
        )
    if c.baseline in ("leave_one_out", "group") and c.samples == 1:
        raise InputError(f"rl.baseline {c.baseline} compares samples of a prompt: set rl.samples")
    if c.importance_cap and c.old_logp == "sampler":
        raise InputError("rl.importance_cap corrects trainer log-probs: set rl.old_logp=trainer")
    ranges = {
        "min_ratio": 0 < c.min_ratio < 1,
        "max_ratio": c.max_ratio > 1,
        "clip_eps": 0 < c.clip_eps < 1,
        "sigmas": c.sigmas > 0,
        "temperature": c.temperature > 0,
        "importance_cap": c.importance_cap == 0 or c.importance_cap >= 1,
    }
    wrong = [f"rl.{name}={c[name]}" for name, right in ranges.items() if not right]
    if wrong:
        raise InputError(
            f"{', '.join(wrong)}: expected min_ratio and clip_eps between 0 and 1, max_ratio above "
            "1, sigmas and temperature above 0, importance_cap 0 or at least 1"
        )
    allowed = {
        "loss": LOSSES,
        "aggregate": AGGREGATES,
        "baseline": BASELINES,
        "kl": KL,
        "filter": ("paper", "released", "none"),
        "old_logp": ("trainer", "sampler"),
        "consistency_mode": ("binary", "signed"),
    }
    for name, values in allowed.items():
        if c[name] not in values:
            raise InputError(f"rl.{name} is {c[name]!r}, expected one of {list(values)}")
