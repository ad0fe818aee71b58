"""`r1reward config list | show NAME | diff A B`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax import config as configs
from r1reward_jax.config import knobs
from r1reward_jax.console import result

NAME = "a name in configs/, a .py, .yaml or .json file, or the folder of a run"


def add_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="the configs that are shipped, and what each is for")
    show = actions.add_parser("show", help="all knobs of a config, with their comments")
    show.add_argument("name", metavar="CONFIG", help=NAME)
    diff = actions.add_parser("diff", help="the knobs that differ between two configs")
    diff.add_argument("a", metavar="A", help=NAME)
    diff.add_argument("b", metavar="B", help=NAME)


def run(args: Namespace) -> None:
    if args.action == "list":
        lines = knobs.summaries()
    elif args.action == "show":
        lines = knobs.listing(configs.load(args.name))
    else:
        lines = knobs.differences(configs.load(args.a), configs.load(args.b))
    for line in lines:
        result(line)
