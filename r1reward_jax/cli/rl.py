"""`r1reward rl`"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from ml_collections import ConfigDict

from r1reward_jax.cli import options
from r1reward_jax.cli.start import started

if TYPE_CHECKING:
    from r1reward_jax.types import Judge


def add_arguments(parser: ArgumentParser) -> None:
    options.add_prompt_from(parser)
    options.add_config(parser, default="rl_7b")


def run(args: Namespace) -> None:
    from r1reward_jax.data.preferences import read_preferences

    served: list[Judge] = []

    def ask(config: ConfigDict) -> None:
        from r1reward_jax import build

        if config.judge.url and not _is_trained(config):
            served.append(build.served_judge(config))

    with started(args, read_preferences, before=ask) as start:
        from r1reward_jax import build, opening
        from r1reward_jax.train.rl import run_rl

        config, setup = start.config, start.setup
        engine = build.make_engine(config, setup)
        judge = served[0] if served else build.tried_judge(config, setup.judge_mesh)
        words = opening.judge_in_words(config, judge)
        opening.show_opening(config, "rl", setup, start.data, words)
        with build.make_log(config) as log, build.make_checkpoints(config, "rl") as checkpoints:
            params = run_rl(
                setup,
                build.rl_config(config),
                start.items,
                engine,
                judge,
                log=log,
                checkpoints=checkpoints,
                evaluate=build.make_evaluation(config, engine, start.heldout),
            )
        setup.policy.save(f"{config.workdir}/exported", params)


def _is_trained(config: ConfigDict) -> bool:
    """Return whether nothing is left to judge: a finished run is only exported anew, for which no
    server has to be up."""
    c = config.rl
    updates = c.iterations * c.epochs * (c.rollout_batch // c.train_batch)
    return Path(config.workdir, "checkpoints", "rl", str(updates)).is_dir()
