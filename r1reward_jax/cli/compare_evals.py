"""`r1reward compare-evals`: is one of two models better on the same records, or is it chance?"""

import json
import os
from argparse import ArgumentParser, Namespace

from r1reward_jax.console import result, say
from r1reward_jax.errors import InputError, about
from r1reward_jax.files import write_whole
from r1reward_jax.places import require


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("a", metavar="RUN_A", help="the folder of an evaluation")
    parser.add_argument("b", metavar="RUN_B", help="another one, of the same records")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="all numbers, and the records that B won and lost, as JSON; FILE.html: the same as a "
        "page with their texts and images, and FILE.json beside it",
    )


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
    if not args.out:
        return
    name, ending = os.path.splitext(args.out)
    page = ending.lower() in (".html", ".htm")
    data = f"{name}.json" if page else args.out
    try:
        write_whole(data, json.dumps(compared.to_json(), indent=2) + "\n")
    except OSError as error:
        raise InputError(f"{data}: cannot be written ({error}); give another --out") from None
    say(f"written: {data}")
    if page:
        from r1reward_jax import report

        say(f"written: {report.write([a, b], args.out, tested=compared)}")
