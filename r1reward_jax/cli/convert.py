"""`r1reward convert`: a checkpoint of a run as a Hugging Face folder."""

import dataclasses
import json
from argparse import ArgumentParser, Namespace
from typing import Any

from r1reward_jax import hub
from r1reward_jax.cli.options import MODEL
from r1reward_jax.cli.start import use_jax
from r1reward_jax.config import DTYPES, require_model
from r1reward_jax.console import result
from r1reward_jax.errors import InputError, about
from r1reward_jax.places import require


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("checkpoints", help="a folder of checkpoints, such as RUN/checkpoints/rl")
    parser.add_argument("target", help="the Hugging Face folder to write")
    parser.add_argument(
        "--like", required=True, metavar="MODEL", help=f"what the run started from: {MODEL}"
    )
    parser.add_argument(
        "--step", default="newest", help="newest, best (by accuracy) or a number (default: newest)"
    )
    parser.add_argument("--dtype", default="bfloat16", choices=DTYPES, help="of the weights")
    parser.add_argument("--push-to-hub", metavar="ORG/NAME", help="upload the folder, too")
    parser.add_argument(
        "--public", action="store_true", help="a repository that is made is public, not private"
    )


def run(args: Namespace) -> None:
    with about("the checkpoints"):
        args.checkpoints = require(args.checkpoints, "folder")
    with about("the folder to write"):
        args.target = require(args.target, "new folder")
    require_model("--like", args.like)
    args.like = hub.local(args.like)
    jnp = use_jax().numpy
    from r1reward_jax.models import port_of
    from r1reward_jax.train.checkpoint import load_params
    from r1reward_jax.train.setup import export

    settings = _settings(args.checkpoints, args.like)
    port = port_of(args.like)
    model = port.Model(port.Config.load(args.like))
    step = int(args.step) if args.step.isdigit() else args.step
    params = load_params(args.checkpoints, model.abstract_params(), step=step)
    dtype = jnp.dtype(args.dtype)
    export(args.target, model, params, like=args.like, dtype=dtype, settings=settings)
    if args.push_to_hub:
        result(f"uploaded: {hub.push(args.target, args.push_to_hub, private=not args.public)}")


def _own_prompt(run: Any, config: dict[str, Any]) -> Any:
    """Return the wording with the prompt that a run was given by `prompt_from`; None if by none."""
    from r1reward_jax.prompts import TEMPLATES

    if not config.get("prompt_from"):
        return None
    noted = json.loads((run / "run.json").read_text())["prompt"]
    own = {name: noted[name] for name in ("evaluator", "system")}
    return dataclasses.replace(TEMPLATES[config["template"]], **own)


def _settings(checkpoints: str, like: str) -> Any:
    """Return the settings of the run that the checkpoints (RUN/checkpoints/PHASE) are of; where
    they lie elsewhere, those of the model that it started from."""
    from etils import epath

    from r1reward_jax.inference.settings import ModelSettings

    folder = epath.Path(checkpoints).resolve().parent
    path = folder.parent / "config.json"
    if folder.name != "checkpoints" or not path.exists():
        return ModelSettings.load(like)
    try:
        config = json.loads(path.read_text())
        return ModelSettings.of(config, _own_prompt(folder.parent, config))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: not a config written by a run ({error!r})") from None
