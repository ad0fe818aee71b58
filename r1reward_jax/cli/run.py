"""How the verbs that need records and a policy begin."""

from argparse import Namespace
from collections.abc import Callable
from typing import TypeVar

from ml_collections import ConfigDict

from r1reward_jax.cli import configs
from r1reward_jax.data.video import Sampling
from r1reward_jax.train.build import Policy, load_policy
from r1reward_jax.train.run import file_hash, write_run_json

T = TypeVar("T")


def start(
    args: Namespace, split: str, read: Callable[[str, Sampling], list[T]]
) -> tuple[ConfigDict, list[T], Policy]:
    """Resolve the config, read its data, load its policy, claim its run directory.

    Args:
      args: parsed arguments of the verb.
      split: which of the config's data files, train or heldout.
      read: the reader of that file.

    Raises:
      InputError: an empty field, a file that cannot be read, a directory of another run.
    """
    config = configs.config_from(args)
    configs.require(config, "workdir", "model.path", f"data.{split}")
    path = {"train": config.data.train, "heldout": config.data.heldout}[split]
    items = read(path, Sampling(config.data.video_fps, config.data.video_frames))
    policy = load_policy(config, config.model.path)
    write_run_json(config.workdir, config.to_dict(), verb=args.verb, data_hash=file_hash(path))
    return config, items, policy
