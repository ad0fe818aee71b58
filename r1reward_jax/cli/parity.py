"""`r1reward parity`"""

from argparse import ArgumentParser, Namespace

from r1reward_jax import hub
from r1reward_jax.cli import options
from r1reward_jax.cli.start import require_devices, use_jax
from r1reward_jax.console import result

UNCHECKED = {
    "decode": "not checked: every sample ended with its first token",
    "original": "not checked: torch is not installed",
}


def add_arguments(parser: ArgumentParser) -> None:
    options.add_config(parser, default="default", dry_run=False, logs=False)
    options.add_knob(parser, "model.path", "MODEL", options.MODEL, option="--model")
    parser.add_argument(
        "--threshold", type=float, help="nats; by default 1e-3 in float32 and more in the others"
    )


def run(args: Namespace) -> None:
    config = options.config_from(args, args.verb)
    use_jax()
    require_devices(config, args.verb)
    from r1reward_jax.build import parity_setup
    from r1reward_jax.train.parity import LIMITS, check_policy, require_parity

    config.rollout.max_new_tokens = min(config.rollout.max_new_tokens, 32)
    gaps = check_policy(*parity_setup(config, hub.local(config.model.path)))
    dtype = config.model.compute_dtype
    limit = LIMITS[dtype] if args.threshold is None else args.threshold
    result(f"largest log-prob gap to the training forward pass, {dtype}, in nats:")
    for path, gap in gaps.items():
        result(f"{path:>12}  {UNCHECKED[path] if gap is None else f'{gap:.2e}'}")
    require_parity({path: gap for path, gap in gaps.items() if gap is not None}, limit)
    result(f"all below the threshold of {limit:g}")
