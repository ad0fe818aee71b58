"""`r1reward rl`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax.cli import options
from r1reward_jax.cli.start import started


def add_arguments(parser: ArgumentParser) -> None:
    options.add_config(parser, default="rl_7b")


def run(args: Namespace) -> None:
    from r1reward_jax.data.preferences import read_preferences

    with started(args, read_preferences) as start:
        from r1reward_jax import build, opening
        from r1reward_jax.train.rl import run_rl

        config, setup = start.config, start.setup
        engine, judge = build.make_engine(config, setup), build.load_judge(config, setup.judge_mesh)
        opening.show_opening(config, "rl", setup, start.data, opening.judge_in_words(config))
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
