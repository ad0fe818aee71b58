"""`r1reward scalar-rm`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax.cli import options
from r1reward_jax.cli.start import started


def add_arguments(parser: ArgumentParser) -> None:
    options.add_config(parser, default="default")


def run(args: Namespace) -> None:
    from r1reward_jax.data.preferences import read_preferences

    with started(args, read_preferences) as start:
        from r1reward_jax import build, opening
        from r1reward_jax.train.bradley_terry import train_scalar

        config, setup = start.config, start.setup
        opening.show_opening(config, "scalar", setup, start.data)
        with build.make_log(config) as log, build.make_checkpoints(config, "scalar") as checkpoints:
            params = train_scalar(
                setup,
                build.scalar_config(config),
                start.items,
                head=config.scalar.head,
                log=log,
                checkpoints=checkpoints,
            )
        setup.policy.save(f"{config.workdir}/exported", params)
