"""`r1reward train`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax import config as configs
from r1reward_jax.build import (
    load_judge,
    make_checkpoints,
    make_engine,
    make_evaluation,
    make_log,
    rl_config,
)
from r1reward_jax.cli.run import heldout, started
from r1reward_jax.data.preferences import read_preferences
from r1reward_jax.train.rl import run_rl


def add_arguments(parser: ArgumentParser) -> None:
    configs.add_arguments(parser, default="rl_7b")


def run(args: Namespace) -> None:
    with started(args, read_preferences) as (config, records, setup):
        engine, judge = make_engine(config, setup), load_judge(config, setup.judge_mesh)
        with make_log(config) as log, make_checkpoints(config, "rl") as checkpoints:
            params = run_rl(
                setup,
                rl_config(config),
                records,
                engine,
                judge,
                log=log,
                checkpoints=checkpoints,
                evaluate=make_evaluation(config, engine, heldout(config)),
            )
        setup.policy.save(f"{config.workdir}/exported", params)
