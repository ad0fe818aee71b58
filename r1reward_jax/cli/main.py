"""`r1reward VERB …`."""

import argparse
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from r1reward_jax import __version__
from r1reward_jax.errors import DivergedError, InputError, disk_problem
from r1reward_jax.files import cache_folder

VERBS = {
    "quickstart": "the whole path on an embedded world: cold start, RL, evaluation, export",
    "sft": "cold start: imitate written analyses",
    "train": "StableReinforce on preference records",
    "scalar": "the baseline: a Bradley-Terry reward head on preference records",
    "evaluate": "judge preference records in both answer orders",
    "compare": "two evaluations of the same records, with a paired test",
    "score": "which of two answers to a question is better",
    "check": "compare the paths of a model: training forward, prefill, decode, the original",
    "bench": "measure this machine: our code against what it replaces",
    "report": "curves, results and samples of runs as one page",
    "convert": "a checkpoint of a run to a Hugging Face folder",
    "doctor": "what this machine has and what is missing",
}
RUNS = ("quickstart", "sft", "train", "scalar", "evaluate")
"""Verbs that resume."""
GOES_ON = "; the same command goes on from the last checkpoint"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code. Mistakes of the user end in one line and code 2."""
    parser = argparse.ArgumentParser(prog="r1reward", description="R1-Reward in JAX")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    argv = list(sys.argv[1:] if argv is None else argv)
    # torch is not needed here; transformers would say that it misses it
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    asked = next((a for a in argv if not a.startswith("-")), None)
    for name, text in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text)
        if name == asked:  # a verb's imports are paid for by its users only
            module = importlib.import_module(f"r1reward_jax.cli.{name}")
            module.add_arguments(verb)
            verb.set_defaults(run=module.run)
    args, rest = parser.parse_known_args(argv)
    if not hasattr(args, "overrides") or any(a.startswith("-") for a in rest):
        args = parser.parse_args(argv)  # says what it does not know
    else:  # overrides may stand on both sides of an option
        args.overrides += rest
    if not args.debug:  # libraries log the tracebacks of errors that reach us anyway
        logging.getLogger("absl").setLevel(logging.CRITICAL)
    try:
        if args.verb != "doctor":  # it tells whether JAX can be imported
            _enable_compilation_cache()
        return args.run(args) or 0
    except Exception as error:
        code, message = _explained(error, args)
        if code is None or args.debug:
            raise
        print(f"r1reward {args.verb}: {message}", file=sys.stderr)
        return code
    except KeyboardInterrupt:
        more = GOES_ON if args.verb in RUNS else ""
        print(f"r1reward {args.verb}: interrupted{more}", file=sys.stderr)
        return 130


def _explained(error: Exception, args: argparse.Namespace) -> tuple[int | None, str | None]:
    """Exit code and message of an error that is not one of ours; None for one that is."""
    if isinstance(error, InputError):
        return 2, str(error)
    if isinstance(error, DivergedError):
        return 3, str(error)
    problem = disk_problem(error)
    if problem is None:
        return None, None
    if not args.debug:  # the threads that still wanted to write need not tell
        threading.excepthook = sys.unraisablehook = lambda _: None
    if not problem.startswith(("/", ".")):
        problem = f"{_workdir(args)}: {problem}"
    return 2, f"{problem}{GOES_ON if args.verb in RUNS else ''}"


def _workdir(args: argparse.Namespace) -> str:
    """As far as the command line tells."""
    given = [
        o.partition("=")[2] for o in getattr(args, "overrides", []) if o.startswith("workdir=")
    ]
    return [*given, getattr(args, "workdir", None) or "workdir"][0]


def _enable_compilation_cache() -> None:
    """Compiled programs are kept between runs."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", cache_folder())


def _unraisable(problem: Any) -> None:
    """As Python's own hook, but for the writers of a checkpoint that has failed already: each of
    them reports that nobody waits for it any more."""
    if str(problem.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(problem)


def command_line() -> None:
    """The `r1reward` of a terminal. Being asked to end (SIGTERM) is like Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    sys.unraisablehook = _unraisable
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        os._exit(code)  # what libraries do at exit helps nobody now, and may fail again
    sys.exit(0)


if __name__ == "__main__":
    command_line()
