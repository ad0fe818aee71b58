"""`r1reward scalar`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax import config as configs
from r1reward_jax.build import make_checkpoints, make_log, scalar_config
from r1reward_jax.cli.run import started
from r1reward_jax.data.preferences import read_preferences
from r1reward_jax.train.bradley_terry import train_scalar


def add_arguments(parser: ArgumentParser) -> None:
    configs.add_arguments(parser, default="default")


def run(args: Namespace) -> None:
    with started(args, read_preferences) as (config, records, setup):
        with make_log(config) as log, make_checkpoints(config, "scalar") as checkpoints:
            params = train_scalar(
                setup, scalar_config(config), records, log=log, checkpoints=checkpoints
            )
        setup.policy.save(f"{config.workdir}/exported", params)
