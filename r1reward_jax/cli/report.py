"""`r1reward report`: what runs left behind, as one page."""

from argparse import ArgumentParser, Namespace

from r1reward_jax.console import say


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the folder of a run")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="the page (default: RUN/report.html; for several runs report.html)",
    )


def run(args: Namespace) -> None:
    from r1reward_jax import report

    say(f"written: {report.write(args.runs, args.out)}")
