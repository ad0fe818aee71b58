"""`r1reward sft`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax.cli import configs
from r1reward_jax.cli.run import start
from r1reward_jax.data.preferences import read_annotations
from r1reward_jax.train.metrics import MetricsLog
from r1reward_jax.train.sft import cold_start


def add_arguments(parser: ArgumentParser) -> None:
    configs.add_arguments(parser, default="sft_7b")


def run(args: Namespace) -> None:
    config, annotations, policy = start(args, "train", read_annotations)
    log = MetricsLog(f"{config.workdir}/metrics.jsonl")
    params = cold_start(config, policy, annotations, phase="sft", log=log)
    policy.save(f"{config.workdir}/exported", params)
