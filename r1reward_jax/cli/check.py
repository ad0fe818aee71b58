"""`r1reward check`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax import config as configs
from r1reward_jax.build import parity_setup
from r1reward_jax.console import say
from r1reward_jax.train.parity import LIMITS, check_policy, require_parity

UNCHECKED = {
    "decode": "not checked: every sample ended with its first token",
    "original": "not checked: torch is not installed",
}


def add_arguments(parser: ArgumentParser) -> None:
    configs.add_arguments(parser, default="default")
    parser.add_argument("--model", help="Hugging Face folder, same as model.path=FOLDER")
    parser.add_argument(
        "--threshold", type=float, help=f"nats; by default, by compute dtype: {LIMITS}"
    )


def run(args: Namespace) -> None:
    if args.model:
        args.overrides.append(f"model.path={args.model}")
    config = configs.config_from(args)
    configs.require(config, "model.path")
    config.rollout.max_new_tokens = min(config.rollout.max_new_tokens, 32)
    gaps = check_policy(*parity_setup(config, config.model.path))
    dtype = config.model.compute_dtype
    limit = LIMITS[dtype] if args.threshold is None else args.threshold
    say(f"largest log-prob gap to the training forward pass, {dtype}, in nats:")
    for path, gap in gaps.items():
        say(f"{path:>12}  {UNCHECKED[path] if gap is None else f'{gap:.2e}'}")
    require_parity({path: gap for path, gap in gaps.items() if gap is not None}, limit)
    say(f"all below the threshold of {limit:g}")
