"""What verbs have in common on the command line: a config, and every knob as an option.

`--rl.lr=1e-6`, `--rl.lr 1e-6` and `rl.lr=1e-6` are the same, before and behind other options; the
last one wins.
"""

import argparse
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from r1reward_jax import config as configs
from r1reward_jax.config import knobs
from r1reward_jax.console import detail
from r1reward_jax.errors import InputError

MODEL = "a Hugging Face folder, or ORG/NAME[@REVISION] of the hub"
KNOBS = "any knob of the config: rl.lr=1e-6, --rl.lr=1e-6 or --rl.lr 1e-6"
PROJECT = "r1reward"
"""Project in Weights & Biases where --wandb names none."""


def add_config(
    parser: ArgumentParser, default: str, *, dry_run: bool = True, logs: bool = True
) -> None:
    """Add the arguments of every verb that has a config.

    Args:
      parser: of the verb.
      default: name of the config that it takes by default.
      dry_run: it can stop after its checks.
      logs: it writes metrics, which can be sent elsewhere, too.
    """
    parser.add_argument(
        "--config",
        default=default,
        metavar="CONFIG",
        help="a name in configs/ (r1reward config list), a .py, .yaml or .json file, or the folder "
        f"of a run (default: {default})",
    )
    add_knob(parser, "seed", "N", "of weights, order of data and samples")
    add_knob(parser, "workdir", "DIR", "run directory")
    if logs:
        about = f"send the metrics to Weights & Biases, too (default: {PROJECT})"
        add_knob(parser, "wandb", "PROJECT", about, bare=True)
    parser.add_argument("--help-all", action=HelpAll, help="show every knob, too, and exit")
    if dry_run:
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="check everything, count data and parameters, estimate memory, and stop",
        )
    parser.add_argument("overrides", nargs="*", metavar="KNOB=VALUE", help=KNOBS)
    parser.set_defaults(default_config=default)


PROMPT_FROM = (
    "--prompt-from",
    "FILE",
    "a text with {question}, {first} and {second}, or a .jsonl (:ROW) of the R1-Reward-RL set",
)
"""Option, value and help of the model's own prompt."""


def add_prompt_from(parser: ArgumentParser) -> None:
    """Add the option for the model's own prompt."""
    option, metavar, text = PROMPT_FROM
    add_knob(parser, "prompt_from", metavar, text, option=option)


def add_knob(
    parser: ArgumentParser,
    path: str,
    metavar: str,
    text: str,
    *,
    option: str = "",
    bare: bool = False,
) -> None:
    """Add an option that is short for a knob.

    Args:
      parser: of the verb.
      path: of the knob, such as model.path.
      metavar: its value in the help.
      text: the help.
      option: its name; by default the path.
      bare: it may stand without a value.
    """
    short: Any = parser.add_argument(
        option or f"--{path}",
        metavar=metavar,
        nargs="?" if bare else None,
        default=argparse.SUPPRESS,
        help=f"{text}; same as {path}=…",
    )
    short.knob = path


def as_overrides(parser: ArgumentParser, arguments: Sequence[str]) -> list[str]:
    """Return the arguments with every option for a knob as `path=value`, in their order.

    Raises:
      InputError: an option for a knob that there is not, or without its value.
    """
    short: dict[str, str] = {
        name: action.knob  # pyright: ignore[reportAttributeAccessIssue]
        for name, action in parser._option_string_actions.items()
        if hasattr(action, "knob")
    }
    own = parser._option_string_actions.keys() - short
    known = dict(configs.items(configs.load("quickstart")))
    left, found = list(arguments), list[str]()
    while left:
        argument = left.pop(0)
        name, equals, value = argument.partition("=")
        if not name.startswith("--") or name in own:
            found.append(argument)
            if name in own and not equals and left and _takes_value(parser, name):
                found.append(left.pop(0))  # whatever it looks like
            continue
        path = short.get(name, name[2:])
        path = configs.RENAMED.get(path, path)
        if path == "wandb" and name not in short:
            raise InputError("there is no option --wandb here: this verb logs no metrics")
        if path not in known and "." not in path and path != "judge":
            every = [*own, *short, *(f"--{knob}" for knob in known)]
            raise InputError(f"there is no option {name}; {configs.near(name, every)}")
        if not equals:
            value = _value(left, path, known.get(path))
        found.append(f"{path}={value}")
    return found


def _takes_value(parser: ArgumentParser, name: str) -> bool:
    return parser._option_string_actions[name].nargs != 0


def _value(left: list[str], path: str, old: Any) -> str:
    """The value behind an option, which is taken off the arguments; true where a switch stands
    alone."""
    follows = left[0] if left else ""
    if path == "wandb" and (follows[:1] in ("", "-") or "=" in follows):
        return PROJECT
    if isinstance(old, bool) and (follows[:1] in ("", "-") or "=" in follows):
        return "true"
    if isinstance(old, bool) and follows.lower() not in ("true", "false"):
        raise InputError(f"--{path} {follows}: expected true or false")
    if not left or follows.startswith("--"):
        like = "" if old is None else f", like {old!r}"
        raise InputError(f"--{path}: expected a value{like}")
    return left.pop(0)


class HelpAll(argparse.Action):
    """Print the help and all knobs of the config that the verb takes by default."""

    def __init__(self, **settings: Any):
        super().__init__(**settings | {"nargs": 0, "default": argparse.SUPPRESS})

    def __call__(self, parser: ArgumentParser, *_: Any) -> None:
        parser.print_help()
        name = parser.get_default("default_config")
        print(f"\nknobs, with their values in {name}:")
        for line in knobs.listing(configs.load(name), option="--"):
            print(line)
        parser.exit()


def assigned(args: Namespace) -> list[str]:
    """Return the paths of the knobs that the command line sets."""
    paths = [assignment.partition("=")[0] for assignment in args.overrides]
    return [configs.RENAMED.get(path) or path for path in paths]


def config_from(args: Namespace, verb: str) -> ConfigDict:
    """Return the config that the arguments describe, checked for a verb.

    Raises:
      InputError: all that is wrong with it, in one message.
    """
    config = configs.load(args.config)
    wrong = configs.override_problems(config, args.overrides)
    wrong += configs.problems(config, verb)
    if verb == "rl":
        named = "judge.api_key_env" in assigned(args)
        wrong += configs.key_name_problems(config, named)
    if wrong:
        raise InputError("; ".join(wrong))
    if verb == "rl" and config.judge.url:
        config.judge.url = configs.plain_url("judge.url", config.judge.url)
    for line in knobs.differences(configs.load(args.default_config), config):
        detail(f"config {line}")
    return config
