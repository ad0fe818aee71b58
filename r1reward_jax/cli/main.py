"""`r1reward VERB …`."""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NoReturn

from r1reward_jax import __version__, console, stopping
from r1reward_jax.cli import options
from r1reward_jax.cli.faults import RESUME, RESUMED, explained
from r1reward_jax.cli.messages import in_our_style
from r1reward_jax.cli.start import Finished
from r1reward_jax.cli.terminal import command_line as command_line
from r1reward_jax.config import near
from r1reward_jax.errors import InputError
from r1reward_jax.runs.verbs import OLDER, canonical

VERBS = {
    "quickstart": "the whole path on an embedded world: cold start, RL, evaluation, export",
    "sft": "cold start: imitate written analyses",
    "rl": "StableReinforce on preference records",
    "scalar-rm": "the baseline: a Bradley-Terry reward head on preference records",
    "evaluate": "judge preference records in both answer orders",
    "compare": "which of two responses to a question is better",
    "compare-evals": "two evaluations of the same records, with a paired test",
    "parity": "compare the paths of a model: training forward, prefill, decode, the original",
    "bench": "measure this machine: our code against what it replaces",
    "report": "curves, results and samples of runs as one page",
    "convert": "a checkpoint of a run to a Hugging Face folder",
    "config": "list configs, show one with its comments, or what differs between two",
    "doctor": "what this machine has and what is missing",
    "completion": "completion of verbs and options for a shell",
    "help": "the help of a verb",
}
EXIT_CODES = """\
exit codes: 0 done; 1 something that is required does not work (doctor), or a fault of ours, with a
traceback; 2 a mistake in what was given, too little memory, or a disk that refuses; 3 training
diverged;
130 interrupted (Ctrl-C), 143 terminated (SIGTERM): a training saves a checkpoint first, where there
is something to save; a second signal ends it at once"""
COMMON = {
    ("--debug",): "show tracebacks",
    ("-v", "--verbose"): "print more",
    ("-q", "--quiet"): "print warnings and results only",
}
"""Options that may stand anywhere."""


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes are ours to tell: in one line, with the nearest option."""

    def error(self, message: str) -> NoReturn:
        unknown = message.partition("unrecognized arguments: ")[2].split()
        if unknown and unknown[0].startswith("-"):
            message += f"; {near(unknown[0].partition('=')[0], self._option_string_actions)}"
        raise InputError(f"{message}; `{self.prog} --help` says more")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code. Mistakes of the user end in one line and code 2."""
    stopping.introduce("r1reward", "")
    given = list(sys.argv[1:] if argv is None else argv)
    given, flags = _without_common(given)
    common = {names[-1][2:]: not flags.isdisjoint(names) for names in COMMON}
    level = console.VERBOSE * common["verbose"] + console.QUIET * common["quiet"]
    console.set_level(level)
    # torch is not needed here; transformers would say that it misses it
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    with in_our_style(debug=common["debug"]):
        return _run(given, debug=common["debug"])


def _run(given: list[str], *, debug: bool) -> int:
    """Run one verb, without the options that may stand anywhere."""
    verb, args = "", argparse.Namespace()
    try:
        verb, arguments = _verb(given)
        stopping.introduce(f"r1reward {verb}", RESUME if verb in RESUMED else "")
        args = parsed(verb, arguments)
        return args.run(args) or 0
    except Finished:
        return 0
    except Exception as error:
        code, message = explained(error, verb, args, debug=debug)
        if code is None or debug:
            raise
        who = console.coloured(f"{f'r1reward {verb}'.strip()}:", "1;31")
        print(f"{who} {console.one(message or '')}", file=sys.stderr)
        return code
    except stopping.Stopped as stopped:
        print(stopping.last_words(stopped.number), file=sys.stderr)
        return 128 + stopped.number
    except KeyboardInterrupt:  # not of a terminal, whose signals `stopping` reads
        print(stopping.last_words(signal.SIGINT), file=sys.stderr)
        return 128 + signal.SIGINT


def _without_common(given: Sequence[str]) -> tuple[list[str], set[str]]:
    """Return the arguments without the options that may stand anywhere, and those options. One that
    is the value of another option (`--a -v`) stays, joined to it (`--a=-v`)."""
    flags = {name for names in COMMON for name in names}
    valued = _valued_options(given) if flags & set(given) else set[str]()
    rest, found = list[str](), set[str]()
    for argument in given:
        if argument not in flags:
            rest.append(argument)
        elif rest and rest[-1] in valued:
            rest[-1] += f"={argument}"
        else:
            found.add(argument)
    return rest, found


def _valued_options(given: Sequence[str]) -> set[str]:
    """The options of the verb that take exactly one value."""
    verb = canonical(next((a for a in given if not a.startswith("-")), ""))
    if verb not in VERBS:
        return set()
    parser = Parser(prog=f"r1reward {verb}")
    fill(parser, verb)
    actions = parser._option_string_actions
    return {name for name, action in actions.items() if action.nargs is None}


def _verb(given: list[str]) -> tuple[str, list[str]]:
    """The verb, by its present name, and all other arguments."""
    name = next((a for a in given if not a.startswith("-")), None)
    if name is None:
        if "--version" not in given and not {"-h", "--help"} & set(given):
            raise InputError(f"which verb? One of {', '.join(VERBS)}; `r1reward --help` says more")
        whole_parser().parse_args(given)
    assert name is not None
    place = given.index(name)
    verb, rest = canonical(name), given[:place] + given[place + 1 :]
    if verb not in VERBS:
        # a slip of the pen in an older name is answered with the verb's name of today
        (guess,) = get_close_matches(name, [*VERBS, *OLDER], n=1, cutoff=0.0)
        raise InputError(
            f"there is no verb {name!r}; did you mean {canonical(guess)!r}? The verbs are "
            f"{', '.join(VERBS)}"
        )
    if name == "compare" and _two_evaluations(rest):
        console.note("two evaluations are compared by `r1reward compare-evals`")
        verb = "compare-evals"
    return verb, rest


def _two_evaluations(arguments: Sequence[str]) -> bool:
    """Say whether `compare` is meant as it was before: with the folders of two evaluations."""
    names = {a.partition("=")[0] for a in arguments if a.startswith("-")}
    return names <= {"--json", "--out"} and any(not a.startswith("-") for a in arguments)


def parsed(verb: str, arguments: Sequence[str]) -> argparse.Namespace:
    """Return the arguments of a verb. Raises InputError for what it does not know."""
    parser = Parser(prog=f"r1reward {verb}")
    fill(parser, verb)
    if parser._subparsers:  # a verb with verbs of its own, whose options stand behind them
        args = parser.parse_args(list(arguments))
    else:
        known = options.as_overrides(parser, arguments) if _has_config(parser) else list(arguments)
        args = parser.parse_intermixed_args(known)
    args.verb = verb
    return args


def _has_config(parser: argparse.ArgumentParser) -> bool:
    return any(action.dest == "overrides" for action in parser._actions)


def fill(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add the arguments of a verb to its parser."""
    module = importlib.import_module(f"r1reward_jax.cli.{verb.replace('-', '_')}")
    parser.description = VERBS[verb]
    parser.epilog = EXIT_CODES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.allow_abbrev = False
    module.add_arguments(parser)
    _add_common(parser)
    parser.set_defaults(run=module.run)


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Options that `main` has read before; here for the help and for completion."""
    group = parser.add_argument_group("anywhere on the command line")
    for names, text in COMMON.items():
        group.add_argument(*names, action="store_true", default=argparse.SUPPRESS, help=text)


def whole_parser() -> argparse.ArgumentParser:
    """Return a parser of all verbs, for the help of `r1reward` and for completion."""
    parser = argparse.ArgumentParser(
        prog="r1reward",
        description="R1-Reward in JAX",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    _add_common(parser)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, text in VERBS.items():
        fill(verbs.add_parser(name, help=text), name)
    return parser


if __name__ == "__main__":
    command_line()
