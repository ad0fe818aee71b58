"""End a run whose gradients stay non-finite, and save the batch that shows why."""

import io
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from r1reward_jax.console import warn
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.types import (
    DivergedError,
    PairBatch,
    PromptBatch,
    TrainBatch,
    TrainState,
    VisionInputs,
)


class Guard:
    """Count skipped updates in a row.

    A skipped update leaves parameters and moments as they were, so the state at the end is that of
    the last good update.
    """

    def __init__(self, limit: int, log: MetricsLog, checkpoints: Checkpoints | None):
        """
        Args:
          limit: skipped updates in a row that end the run.
          log: says where the run lives.
          checkpoints: where the last good state goes; None for nowhere.
        """
        self._limit, self._folder, self._checkpoints = limit, log.path.parent, checkpoints
        self._in_a_row = 0

    def watch(self, step: int, skipped: float, batch: Any, state: TrainState) -> None:
        """Look at one update.

        Args:
          step: its number.
          skipped: 1.0 if its gradient was not finite.
          batch: what it was made from.
          state: after it, or after later updates.

        Raises:
          DivergedError: it is the last of `limit` skipped updates in a row.
        """
        self._in_a_row = self._in_a_row + 1 if skipped else 0
        if skipped:
            warn(
                f"update {step} skipped: its gradient is not finite ({self._in_a_row} in a row)",
                kind="an update skipped: its gradient is not finite",
            )
        if self._in_a_row < self._limit:
            return
        path = self._folder / f"skipped_batch_{step}.npz"
        save_batch(path, batch)
        where = ""
        if self._checkpoints:
            self._checkpoints.save(state)
            where = "; the state of the last good update is saved as a checkpoint"
        raise DivergedError(
            f"{self._limit} updates in a row had gradients that are not finite, the last one is "
            f"update {step}. Its batch is in {path}{where}"
        )


def save_batch(path: epath.Path, batch: Any) -> None:
    """Write every array of a batch into one npz, under its path in the batch."""
    arrays = {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(batch)[0]:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            leaf = multihost_utils.process_allgather(leaf, tiled=True)
        arrays[jax.tree_util.keystr(keys, simple=True, separator=".")] = np.asarray(leaf)
    if jax.process_index() == 0:
        with path.open("wb") as file:
            np.savez(file, **arrays)


def load_batch(path: str) -> TrainBatch | PairBatch:
    """Load a batch that `save_batch` wrote, so that a skipped update can be run again."""
    with np.load(io.BytesIO(epath.Path(path).read_bytes())) as file:
        arrays = dict(file)

    def part(kind: Any, prefix: str) -> Any:
        if not any(name.startswith(prefix) for name in arrays):
            return None  # a batch without images
        inner = {"inputs": PromptBatch, "better": PromptBatch, "worse": PromptBatch}
        inner |= {"vision": VisionInputs}
        return kind(
            *(
                part(inner[field], f"{prefix}{field}.")
                if field in inner
                else arrays[f"{prefix}{field}"]
                for field in kind._fields
            )
        )

    return part(PairBatch if "better.tokens" in arrays else TrainBatch, "")
