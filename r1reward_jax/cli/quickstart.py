"""`r1reward quickstart`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax.cli import options
from r1reward_jax.cli.start import require_devices, show_dry_run, use_jax
from r1reward_jax.errors import InputError


def add_arguments(parser: ArgumentParser) -> None:
    options.add_config(parser, default="quickstart")
    parser.add_argument(
        "--controls",
        action="store_true",
        help="also train on shuffled images, and continue the cold start for as long as RL",
    )


def run(args: Namespace) -> None:
    if "judge" in options.assigned(args):
        raise InputError(
            "judge=none: a quickstart trains a judge of its own; rl.consistency_weight=0 leaves "
            "its reward out"
        )
    config = options.config_from(args, args.verb)
    use_jax()
    require_devices(config, args.verb)
    if args.dry_run:
        show_dry_run(config, args.verb)
        return
    from r1reward_jax import quickstart

    quickstart.run(config, controls=args.controls)
