"""`r1reward rl`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax.cli import options
from r1reward_jax.cli.start import started


def add_arguments(parser: ArgumentParser) -> None:
    options.add_config(parser, default="rl_7b")


def run(args: Namespace) -> None:
    from r1reward_jax.data.preferences import read_preferences

    with started(args, read_preferences) as (config, records, heldout, setup):
        from r1reward_jax import build, opening
        from r1reward_jax.train.rl import run_rl

        engine, judge = build.make_engine(config, setup), build.load_judge(config, setup.judge_mesh)
        found, words = opening.counted(records, heldout, config), opening.judge_in_words(config)
        opening.show_opening(config, "rl", setup, found, words)
        with build.make_log(config) as log, build.make_checkpoints(config, "rl") as checkpoints:
            params = run_rl(
                setup,
                build.rl_config(config),
                records,
                engine,
                judge,
                log=log,
                checkpoints=checkpoints,
                evaluate=build.make_evaluation(config, engine, heldout),
            )
        setup.policy.save(f"{config.workdir}/exported", params)
