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
    """The parameters of the newest checkpoint in a folder, and the reward head of a scalar model.

    Args:
      folder: as given to `Checkpoints`.
      abstract: shapes and dtypes, see the model's `abstract_params`.

    Raises:
      InputError: the folder has no checkpoint, or one of a model with other shapes.
    """
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with ocp.CheckpointManager(epath.Path(folder).absolute()) as manager:
        step = manager.latest_step()
        if step is None:
            raise InputError(f"{folder}: no checkpoint")
        path = manager.directory / str(step) / "default"
    stored = _shapes(path)
    if "reward_head" in stored:
        shape = stored["reward_head"]["weight"]
        abstract = abstract | {"reward_head": {"weight": jax.ShapeDtypeStruct(shape, "float32")}}
    if stored != jax.tree.map(lambda x: tuple(x.shape), abstract):
        raise InputError(f"{folder}: the checkpoint is of another model than the one given")
    # only the parameters, and onto one device whatever the mesh that wrote them
    wanted = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), {"params": abstract}
    )
    with ocp.PyTreeCheckpointer() as reader:
        restored: Any = reader.restore(
            path,
            args=ocp.args.PyTreeRestore(  # pyright: ignore
                item=wanted,
                restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
                partial_restore=True,
            ),
        )
    return restored["params"]


def _shapes(path: epath.Path) -> Any:
    with ocp.PyTreeCheckpointer() as reader:
        metadata: Any = reader.metadata(path).item_metadata
    return jax.tree.map(lambda x: tuple(x.shape), dict(metadata)["params"])
