"""`r1reward compare-evals`: is one of two models better on the same records, or is it chance?"""

import json
from argparse import ArgumentParser, Namespace

from r1reward_jax.console import result
from r1reward_jax.errors import InputError
from r1reward_jax.files import write_whole


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("a", metavar="RUN_A", help="the folder of an evaluation")
    parser.add_argument("b", metavar="RUN_B", help="another one, of the same records")
    parser.add_argument("--out", metavar="FILE", help="all numbers as JSON")


def run(args: Namespace) -> None:
    from r1reward_jax.evals import paired
    from r1reward_jax.evals.paired_table import lines

    a, b = paired.read(args.a), paired.read(args.b)
    paired.require_same_records(a, b)
    differences = paired.config_differences(a, b)
    # where sampling was stopped early, only the config knows how many votes there were to be
    samples = a.config.get("eval.samples"), b.config.get("eval.samples")
    compared = paired.compare(a.judged, b.judged, samples)
    found = {"a": args.a, "b": args.b, "config": differences}
    found |= {"images": [a.images, b.images], **compared}
    for line in lines(found):
        result(line)
    if args.out:
        try:
            write_whole(args.out, json.dumps(found, indent=2) + "\n")
        except OSError as error:
            raise InputError(
                f"{args.out}: cannot be written ({error}); give another --out"
            ) from None
