"""`r1reward VERB …`."""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from r1reward_jax import __version__
from r1reward_jax.errors import DivergedError, InputError, disk_problem

VERBS = {
    "quickstart": "the whole path on an embedded world: cold start, RL, evaluation, export",
    "sft": "cold start: imitate written analyses",
    "train": "StableReinforce on preference records",
    "scalar": "the baseline: a Bradley-Terry reward head on preference records",
    "evaluate": "judge preference records in both answer orders",
    "score": "which of two answers to a question is better",
    "check": "compare the paths of a model: training forward, prefill, decode, the original",
    "bench": "measure this machine: our code against what it replaces",
    "report": "curves, results and samples of runs as one page",
    "convert": "a checkpoint of a run to a Hugging Face folder",
    "doctor": "what this machine has and what is missing",
}
RUNS = ("quickstart", "sft", "train", "scalar")
"""Verbs that resume."""


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
        code, message = _explained(error)
        if code is None or args.debug:
            raise
        print(f"r1reward {args.verb}: {message}", file=sys.stderr)
        return code
    except KeyboardInterrupt:
        more = "; the same command goes on from the last checkpoint" if args.verb in RUNS else ""
        print(f"r1reward {args.verb}: interrupted{more}", file=sys.stderr)
        return 130


def _explained(error: Exception) -> tuple[int | None, str | None]:
    """Exit code and message of an error that is not one of ours; None for one that is."""
    if isinstance(error, InputError):
        return 2, str(error)
    if isinstance(error, DivergedError):
        return 3, str(error)
    problem = disk_problem(error)
    return (2, problem) if problem else (None, None)


def _enable_compilation_cache() -> None:
    """Compiled programs are kept between runs; JAX_COMPILATION_CACHE_DIR says where."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "r1reward" / "jax"
        jax.config.update("jax_compilation_cache_dir", str(cache))


if __name__ == "__main__":
    sys.exit(main())
