"""`r1reward report`: what runs left behind, as one page."""

from argparse import ArgumentParser, Namespace

from r1reward_jax.console import say
from r1reward_jax.errors import about
from r1reward_jax.places import require


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="the page (default: RUN/report.html; for several runs report.html)",
    )
    parser.add_argument(
        "--outside",
        action="store_true",
        help="show images outside the runs' folders and their data's, too: of runs that you trust",
    )


def run(args: Namespace) -> None:
    runs = [require(run, "folder") for run in args.runs]
    if args.out is not None:
        with about("--out"):
            args.out = require(args.out, "new file")
    from r1reward_jax import report

    say(f"written: {report.write(runs, args.out, outside=args.outside)}")
