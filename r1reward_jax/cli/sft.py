"""`r1reward sft`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax import config as configs
from r1reward_jax.build import make_checkpoints, make_engine, make_evaluation, make_log, sft_config
from r1reward_jax.cli.run import heldout, started
from r1reward_jax.data.preferences import read_annotations
from r1reward_jax.train.supervised import cold_start


def add_arguments(parser: ArgumentParser) -> None:
    configs.add_arguments(parser, default="sft_7b")


def run(args: Namespace) -> None:
    with started(args, read_annotations) as (config, annotations, setup):
        measure = make_evaluation(config, make_engine(config, setup), heldout(config))
        with make_log(config) as log, make_checkpoints(config, "sft") as checkpoints:
            params = cold_start(
                setup,
                sft_config(config),
                annotations,
                phase="sft",
                log=log,
                checkpoints=checkpoints,
                evaluate=measure,
            )
        setup.policy.save(f"{config.workdir}/exported", params)
