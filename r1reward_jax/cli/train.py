"""`r1reward train`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax.cli import configs
from r1reward_jax.data.preferences import read_records
from r1reward_jax.train.build import load_judge, load_policy, make_engine
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.loop import run_rl
from r1reward_jax.train.metrics import MetricsLog
from r1reward_jax.train.run import file_hash, write_run_json


def add_arguments(parser: ArgumentParser) -> None:
    configs.add_arguments(parser, default="rl_7b")


def run(args: Namespace) -> None:
    config = configs.config_from(args)
    configs.require(config, "workdir", "model.path", "data.train")
    records = read_records(config.data.train)
    policy = load_policy(config, config.model.path)
    write_run_json(config.workdir, config.to_dict(), data_hash=file_hash(config.data.train))
    checkpoint = config.checkpoint
    with Checkpoints(
        f"{config.workdir}/checkpoints/rl", every=checkpoint.every, keep=checkpoint.keep
    ) as checkpoints:
        params = run_rl(
            config,
            policy.model,
            policy.params,
            policy.processor,
            records,
            make_engine(config, policy),
            load_judge(config),
            rules=policy.rules,
            log=MetricsLog(f"{config.workdir}/metrics.jsonl"),
            checkpoints=checkpoints,
        )
    policy.save(f"{config.workdir}/exported", params)
