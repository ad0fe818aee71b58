"""`r1reward sft`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax import config as configs
from r1reward_jax.build import make_engine, make_evaluation, make_log
from r1reward_jax.cli.run import heldout, started
from r1reward_jax.data.preferences import read_annotations
from r1reward_jax.train.supervised import cold_start


def add_arguments(parser: ArgumentParser) -> None:
    configs.add_arguments(parser, default="sft_7b")


def run(args: Namespace) -> None:
    with started(args, read_annotations) as (config, annotations, policy):
        measure = make_evaluation(config, make_engine(config, policy), heldout(config))
        with make_log(config) as log:
            params = cold_start(config, policy, annotations, phase="sft", log=log, evaluate=measure)
        policy.save(f"{config.workdir}/exported", params)
