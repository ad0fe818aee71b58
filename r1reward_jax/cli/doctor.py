"""`r1reward doctor`: what this machine has and what is missing."""

from argparse import ArgumentParser, Namespace

from r1reward_jax.console import result
from r1reward_jax.doctor import examine, report, works
from r1reward_jax.places import place


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--workdir", default=".", metavar="DIR", help="where runs will be written")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: Namespace) -> int:
    """1 if something that is required does not work."""
    findings = examine(place(args.workdir))
    result(report(findings, as_json=args.json))
    return 0 if works(findings) else 1
