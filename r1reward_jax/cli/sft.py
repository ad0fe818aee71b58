"""`r1reward sft`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax.cli import configs
from r1reward_jax.cli.run import start
from r1reward_jax.data.preferences import read_annotations
from r1reward_jax.prompts import TEMPLATES
from r1reward_jax.train.batches import cold_start_example
from r1reward_jax.train.build import make_checkpoints
from r1reward_jax.train.metrics import MetricsLog
from r1reward_jax.train.sft import run_sft


def add_arguments(parser: ArgumentParser) -> None:
    configs.add_arguments(parser, default="sft_7b")


def run(args: Namespace) -> None:
    config, annotations, policy = start(args, "train", read_annotations)
    with make_checkpoints(config, "sft") as checkpoints:
        params = run_sft(
            config,
            policy.model,
            policy.params,
            policy.processor,
            [cold_start_example(a, TEMPLATES[config.template]) for a in annotations],
            phase="sft",
            rules=policy.rules,
            steps=config.sft.steps,
            batch=config.sft.batch,
            lr=config.sft.lr,
            capacity=config.sft.max_completion_tokens,
            log=MetricsLog(f"{config.workdir}/metrics.jsonl"),
            checkpoints=checkpoints,
        )
    policy.save(f"{config.workdir}/exported", params)
