"""`r1reward sft`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax.cli import configs
from r1reward_jax.data.preferences import read_annotations
from r1reward_jax.prompts import TEMPLATES
from r1reward_jax.train.batches import cold_start_example
from r1reward_jax.train.build import load_policy
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.metrics import MetricsLog
from r1reward_jax.train.run import file_hash, write_run_json
from r1reward_jax.train.sft import run_sft


def add_arguments(parser: ArgumentParser) -> None:
    configs.add_arguments(parser, default="sft_7b")


def run(args: Namespace) -> None:
    config = configs.config_from(args)
    configs.require(config, "workdir", "model.path", "data.train")
    annotations = read_annotations(config.data.train)
    policy = load_policy(config, config.model.path)
    write_run_json(config.workdir, config.to_dict(), data_hash=file_hash(config.data.train))
    checkpoint = config.checkpoint
    with Checkpoints(
        f"{config.workdir}/checkpoints/sft", every=checkpoint.every, keep=checkpoint.keep
    ) as checkpoints:
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
