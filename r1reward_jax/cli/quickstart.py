"""`r1reward quickstart`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax import config as configs
from r1reward_jax import quickstart


def add_arguments(parser: ArgumentParser) -> None:
    configs.add_arguments(parser, default="quickstart")
    parser.add_argument(
        "--controls",
        action="store_true",
        help="also train on shuffled images, and continue the cold start for as long as RL",
    )


def run(args: Namespace) -> None:
    config = configs.config_from(args)
    configs.require(config, "workdir")
    quickstart.run(config, controls=args.controls)
