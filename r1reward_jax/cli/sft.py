"""`r1reward sft`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax.cli import options
from r1reward_jax.cli.start import started


def add_arguments(parser: ArgumentParser) -> None:
    options.add_prompt_from(parser)
    options.add_config(parser, default="sft_7b")


def run(args: Namespace) -> None:
    from r1reward_jax.data.preferences import read_annotations

    with started(args, read_annotations) as start:
        from r1reward_jax import build, opening
        from r1reward_jax.train.supervised import cold_start

        config, setup = start.config, start.setup
        measure = build.make_evaluation(config, build.make_engine(config, setup), start.heldout)
        opening.show_opening(config, "sft", setup, start.data)
        with build.make_log(config) as log, build.make_checkpoints(config, "sft") as checkpoints:
            params = cold_start(
                setup,
                build.sft_config(config),
                start.items,
                phase="sft",
                log=log,
                checkpoints=checkpoints,
                evaluate=measure,
            )
        setup.policy.save(f"{config.workdir}/exported", params)
