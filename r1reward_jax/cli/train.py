"""`r1reward train`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax.cli import configs
from r1reward_jax.cli.run import start
from r1reward_jax.data.preferences import read_records
from r1reward_jax.train.build import load_judge, make_checkpoints, make_engine
from r1reward_jax.train.loop import run_rl
from r1reward_jax.train.metrics import MetricsLog


def add_arguments(parser: ArgumentParser) -> None:
    configs.add_arguments(parser, default="rl_7b")


def run(args: Namespace) -> None:
    config, records, policy = start(args, "train", read_records)
    with make_checkpoints(config, "rl") as checkpoints:
        params = run_rl(
            config,
            policy,
            records,
            make_engine(config, policy),
            load_judge(config),
            log=MetricsLog(f"{config.workdir}/metrics.jsonl"),
            checkpoints=checkpoints,
        )
    policy.save(f"{config.workdir}/exported", params)
