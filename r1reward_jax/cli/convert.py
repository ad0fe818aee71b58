"""`r1reward convert`: the newest checkpoint of a run as a Hugging Face folder."""

from argparse import ArgumentParser, Namespace

import jax.numpy as jnp
from etils import epath

from r1reward_jax.cli import configs
from r1reward_jax.models import port_of
from r1reward_jax.train.build import export
from r1reward_jax.train.checkpoint import load_params
from r1reward_jax.types import InputError


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("checkpoints", help="a folder of checkpoints, such as RUN/checkpoints/rl")
    parser.add_argument("target", help="the Hugging Face folder to write")
    parser.add_argument("--like", required=True, help="the folder that the run started from")
    parser.add_argument(
        "--dtype", default="bfloat16", choices=configs.DTYPES, help="of the weights"
    )


def run(args: Namespace) -> None:
    if not epath.Path(args.checkpoints).is_dir():
        raise InputError(f"{args.checkpoints}: not found; expected a folder of checkpoints")
    port = port_of(args.like)
    model = port.Model(port.Config.load(args.like))
    params = load_params(args.checkpoints, model.abstract_params())
    export(args.target, model, params, like=args.like, dtype=jnp.dtype(args.dtype))
