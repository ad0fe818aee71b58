"""How the verbs that need records and a policy begin, and how a run ends."""

import contextlib
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import TypeVar

from ml_collections import ConfigDict

from r1reward_jax import config as configs
from r1reward_jax.build import make_setup
from r1reward_jax.data.preferences import read_records
from r1reward_jax.data.video import Sampling
from r1reward_jax.evals.evaluate import require_labels
from r1reward_jax.models import port_of
from r1reward_jax.report import reported
from r1reward_jax.runs.provenance import file_hash
from r1reward_jax.runs.run_dir import claim_data, run_folder
from r1reward_jax.train.setup import Setup
from r1reward_jax.types import Record

T = TypeVar("T")


@contextlib.contextmanager
def started(
    args: Namespace, read: Callable[[str, Sampling], list[T]]
) -> Iterator[tuple[ConfigDict, list[T], Setup]]:
    """Resolve the config, read its data, claim its run directory until the end of the block, and
    load its policy.

    Args:
      args: parsed arguments of the verb.
      read: the reader of its training data.

    Raises:
      InputError: an empty field, a file that cannot be read, a directory of another run.
    """
    config = configs.config_from(args)
    configs.require(config, "workdir", "model.path", "data.train")
    items = read(config.data.train, frames(config))
    port_of(config.model.path)  # a wrong folder ends here, before this one is claimed
    with run_folder(config.workdir, config.to_dict(), verb=args.verb), reported(config.workdir):
        claim_data(config.workdir, file_hash(config.data.train))
        yield config, items, make_setup(config)


def heldout(config: ConfigDict) -> list[Record]:
    """Return the records of `data.heldout`; none if it is empty."""
    if not config.data.heldout:
        return []
    records = read_records(config.data.heldout, frames(config))
    require_labels(records)
    return records


def frames(config: ConfigDict) -> Sampling:
    """How videos of the config's data are looked at."""
    return Sampling(config.data.video_fps, config.data.video_frames)
