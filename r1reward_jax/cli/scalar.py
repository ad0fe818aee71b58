"""`r1reward scalar`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax.cli import configs
from r1reward_jax.cli.run import start
from r1reward_jax.data.preferences import read_records
from r1reward_jax.train.build import make_checkpoints
from r1reward_jax.train.metrics import MetricsLog
from r1reward_jax.train.scalar import train_scalar


def add_arguments(parser: ArgumentParser) -> None:
    configs.add_arguments(parser, default="default")


def run(args: Namespace) -> None:
    config, records, policy = start(args, "train", read_records)
    log = MetricsLog(f"{config.workdir}/metrics.jsonl")
    with make_checkpoints(config, "scalar") as checkpoints:
        params = train_scalar(config, policy, records, log=log, checkpoints=checkpoints)
    policy.save(f"{config.workdir}/exported", params)
