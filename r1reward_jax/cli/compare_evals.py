"""`r1reward compare-evals`: is one of two models better on the same records, or is it chance?"""

import json
from argparse import ArgumentParser, Namespace

from r1reward_jax.console import result
from r1reward_jax.errors import InputError, about
from r1reward_jax.files import write_whole
from r1reward_jax.places import require


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("a", metavar="RUN_A", help="the folder of an evaluation")
    parser.add_argument("b", metavar="RUN_B", help="another one, of the same records")
    parser.add_argument("--out", metavar="FILE", help="all numbers as JSON")


def run(args: Namespace) -> None:
    a, b = (require(folder, "folder") for folder in (args.a, args.b))
    if args.out is not None:
        with about("--out"):
            args.out = require(args.out, "new file")
    from r1reward_jax.evals import paired
    from r1reward_jax.evals.paired_table import paired_table

    compared = paired.compare_folders(a, b)
    for line in paired_table(compared):
        result(line)
    if args.out:
        try:
            write_whole(args.out, json.dumps(compared.to_json(), indent=2) + "\n")
        except OSError as error:
            raise InputError(
                f"{args.out}: cannot be written ({error}); give another --out"
            ) from None
