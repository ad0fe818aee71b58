"""Orbax checkpoints of a train state; the step number says where the data stands."""

from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from r1reward_jax.types import InputError, Params, TrainState


class Checkpoints:
    """Saves every so many steps, keeps the newest, restores the last."""

    def __init__(self, folder: str, *, every: int, keep: int):
        """
        Args:
          folder: made if needed.
          every: steps between saves; 0 saves only when told to.
          keep: newest saves that are kept.
        """
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = ocp.CheckpointManager(epath.Path(folder).absolute(), options=options)
        self._every = every

    def due(self, step: int) -> bool:
        """Whether a save is due after `step` steps."""
        return self._every > 0 and step % self._every == 0

    def save(self, state: TrainState) -> None:
        """Save in the background; a save of the same step is left alone."""
        step = int(state.step)
        if step not in self._manager.all_steps():
            self._manager.save(step, args=ocp.args.StandardSave(state))  # pyright: ignore

    def restore(self, like: TrainState) -> TrainState | None:
        """The newest saved state, placed like `like`; None if there is none."""
        step = self._manager.latest_step()
        if step is None:
            return None
        abstract: Any = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        return self._manager.restore(step, args=ocp.args.StandardRestore(abstract))  # pyright: ignore

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: Any) -> None:
        """Wait for saves that are under way."""
        self._manager.wait_until_finished()
        self._manager.close()


def load_params(folder: str, abstract: Params) -> Params:
    """The parameters of the newest checkpoint in a folder.

    Args:
      folder: as given to `Checkpoints`.
      abstract: shapes and dtypes, see the model's `abstract_params`.

    Raises:
      InputError: the folder has no checkpoint, or one of a model with other shapes.
    """
    with ocp.CheckpointManager(epath.Path(folder).absolute()) as manager:
        step = manager.latest_step()
        if step is None:
            raise InputError(f"{folder}: no checkpoint")
        restored: Any = manager.restore(step, args=ocp.args.StandardRestore())  # pyright: ignore
    params = restored["params"]
    shapes = [jax.tree.map(lambda x: x.shape, tree) for tree in (params, abstract)]
    if shapes[0] != shapes[1]:
        raise InputError(f"{folder}: the checkpoint is of another model than the one given")
    return params
