"""Orbax checkpoints of a train state; the step number says where the data stands.

A checkpoint appears under its number only when all of it is written. With it goes a number for
every array that changes with any of its bits; a checkpoint that does not fit its numbers any more,
or cannot be read, is passed over for the one before.
"""

import contextlib
import gc
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy

from r1reward_jax import stopping
from r1reward_jax.console import say, warn
from r1reward_jax.files import is_remote
from r1reward_jax.types import InputError, Params, TrainState

DELETED = "deleted"
"""Folder for checkpoints on their way out: a run that is killed while one of them is being deleted
leaves no half of it under its number."""
INTERRUPTED = "interrupted"
"""Item of a checkpoint between the regular ones, of a run that was asked to end: the metrics of its
step, if their evaluation is missing."""


def space_problem(folder: str, params: Params, *, frozen: Sequence[str], keep: int) -> str | None:
    """Return why the checkpoints of a run and its export may not find room on their disk; None if
    they do, or if nobody can tell.

    Args:
      folder: of the run.
      params: of the policy; a checkpoint has them and two moments of each that is trained.
      frozen: top-level names of those that are not.
      keep: newest checkpoints that are kept; beside them are the best one and the one under way.
    """
    if is_remote(folder) or (epath.Path(folder) / "checkpoints").exists():  # it has its room
        return None
    bytes_of = lambda tree: sum(x.nbytes for x in jax.tree.leaves(tree))  # noqa: E731
    size = bytes_of(params)
    each = size + 2 * bytes_of({k: v for k, v in params.items() if k not in frozen})
    needed, free = (keep + 2) * each + size, shutil.disk_usage(folder).free
    if needed <= free:
        return None
    return (
        f"{folder}: the disk has {free / 2**30:.1f} GiB left; {keep + 2} checkpoints and the "
        f"export take about {needed / 2**30:.1f} GiB; make room, or set checkpoint.keep"
    )


class _Newest(preservation_policy.PreservationPolicy):
    """Keep the newest checkpoint, and the newest regular ones before it: a run that was interrupted
    ends with the checkpoints of one that was not."""

    def __init__(self, n: int, folder: epath.Path):
        self._n, self._folder = n, folder

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        steps = [c.step for c in checkpoints]
        regular = [s for s in steps[:-1] if not (self._folder / str(s) / INTERRUPTED).exists()]
        kept = {*steps[-1:], *(regular[-(self._n - 1) :] if self._n > 1 else ())}
        return [step in kept for step in steps]


class Checkpoints:
    """Save every so many steps, keep the newest and the best, restore the newest that is whole."""

    def __init__(self, folder: str, *, every: int, keep: int):
        """
        Args:
          folder: made if needed; what an interrupted save left there is removed.
          every: steps between saves; 0 saves only on request.
          keep: newest saves that are kept; the best one by score stays beside them.
        """
        self._folder, self._every = epath.Path(folder).absolute(), every
        _set_aside_scores(self._folder)
        policy = preservation_policy
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy.AnyPreservationPolicy(
                [
                    _Newest(keep, self._folder),
                    policy.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
                ]
            ),
            best_fn=_score,
            cleanup_tmp_directories=True,
            todelete_subdir=None if "://" in folder else DELETED,
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)
        self._empty()

    def newest(self) -> int | None:
        """Return the step of the newest checkpoint; None if there is none."""
        return self._manager.latest_step()

    def due(self, step: int) -> bool:
        """Say whether a save is due after `step` steps."""
        return self._every > 0 and step % self._every == 0

    def save(self, state: TrainState, score: float | None = None) -> None:
        """Save in the background; a save of the same step is left alone.

        Args:
          state: may be donated as soon as this returns.
          score: of the state, larger is better; the checkpoint with the best one is kept.
        """
        self._save(state, score, {})

    def _save(self, state: TrainState, score: float | None, more: Mapping[str, Any]) -> None:
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        self._empty()
        texts = {"digest": digest(state), **more}
        items = {"state": ocp.args.StandardSave(state)}  # pyright: ignore
        items |= {name: ocp.args.JsonSave(text) for name, text in texts.items()}  # pyright: ignore
        metrics = None if score is None else {"score": float(score)}
        self._manager.save(step, args=ocp.args.Composite(**items), metrics=metrics)

    def unsaved(self) -> None:
        """Say that training has gone on behind the newest checkpoint: whoever is asked to end saves
        first."""
        stopping.hold()

    def interrupt(self, state: TrainState, values: Mapping[str, Any] | None = None) -> None:
        """Save a state between the regular saves, because the run is asked to end.

        Args:
          state: of which there may be a checkpoint already.
          values: metrics of its step that are not written, as their evaluation is missing.
        """
        found = None if values is None else {name: float(x) for name, x in values.items()}
        self._save(state, None, {INTERRUPTED: {"values": found}})
        self._manager.wait_until_finished()
        say(f"{self._folder}: checkpoint {int(state.step)} saved")

    def interrupted(self, state: TrainState) -> dict[str, float] | None:
        """Return the metrics of a state's step whose evaluation is missing; None if none is."""
        step = int(state.step)
        if not (self._folder / str(step) / INTERRUPTED).exists():
            return None
        wanted = ocp.args.Composite(**{INTERRUPTED: ocp.args.JsonRestore()})  # pyright: ignore
        return self._manager.restore(step, args=wanted)[INTERRUPTED]["values"]

    def replace(self, state: TrainState, score: float | None) -> None:
        """Save a state again, now as a regular one."""
        self._manager.delete(int(state.step))
        self.save(state, score)

    def restore(self, like: TrainState) -> TrainState | None:
        """Return the newest saved state that is whole, placed like `like`; None if nothing was
        saved. Newer ones that are not whole are set aside under another name.

        Raises:
          InputError: something was saved, and none of it is whole.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        damaged: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                with _quietly():
                    state = self._read(step, abstract)
            except Exception as error:  # what a damaged file raises depends on where it broke
                damaged[step] = str(error).strip().split("\n")[0].split(". See full")[0]
                continue
            for bad, problem in damaged.items():
                self._set_aside(bad, problem, step)
            return state
        if damaged:
            problems = "; ".join(f"{step}: {problem}" for step, problem in damaged.items())
            raise InputError(
                f"{self._folder}: no checkpoint can be read ({problems}); delete this folder to "
                "begin this phase anew"
            )
        return None

    def _read(self, step: int, abstract: Any) -> TrainState:
        items = {"state": ocp.args.StandardRestore(abstract), "digest": ocp.args.JsonRestore()}  # pyright: ignore
        found = self._manager.restore(step, args=ocp.args.Composite(**items))
        now, then = digest(found["state"]), found["digest"]
        if wrong := [name for name in then if now.get(name) != then[name]]:
            raise ValueError(f"{', '.join(wrong[:3])} changed since it was saved")
        return found["state"]

    def _set_aside(self, step: int, problem: str, instead: int) -> None:
        _rename_damaged(self._folder / str(step), problem)
        say(f"resuming from checkpoint {instead}")
        self._manager.reload()

    def _empty(self) -> None:
        if jax.process_index() == 0 and "://" not in str(self._folder):
            shutil.rmtree(self._folder / DELETED, ignore_errors=True)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: Any) -> None:
        """Wait for saves that are under way. Raises Stopped if the process was asked to end."""
        self._manager.wait_until_finished()
        self._manager.close()
        self._empty()
        stopping.release()


def _rename_damaged(path: epath.Path, problem: str) -> None:
    """Keep a damaged checkpoint under a name that is not a step's."""
    place = path.with_name(f"damaged_{path.name}")
    warn(f"checkpoint {path} is damaged ({problem}); now {place.name}")
    if jax.process_index() == 0:
        if place.exists():
            place.rmtree()
        path.rename(place)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(str(place))


def _set_aside_scores(folder: epath.Path) -> None:
    """Orbax reads all scores at once, before anything can be passed over."""
    for path in sorted(folder.glob("[0-9]*/metrics/metrics")):
        if problem := _wrong_score(path):
            _rename_damaged(path.parent.parent, problem)


def _wrong_score(path: epath.Path) -> str | None:
    try:
        float(json.loads(path.read_text())["score"])
    except (ValueError, LookupError, TypeError) as error:
        return f"its score: {error}"
    return None


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep reads that orbax has begun beside the failed one from printing their own traceback."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        yield
    finally:
        gc.collect()
        sys.unraisablehook = hook


def _score(metrics: Mapping[str, float]) -> float:
    return metrics["score"]


def digest(state: Any) -> dict[str, int]:
    """Return a 32-bit digest of every array, which changes if any of its bits does; the same on
    every mesh."""
    named = jax.tree_util.tree_flatten_with_path(state)[0]
    # one program per shape and dtype, not one for all: there are few; and one after the other, for
    # many small reductions over devices at a time can wait for each other without end
    numbers = [int(jax.device_get(_digest(leaf))) for _, leaf in named]
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in named]
    return dict(zip(names, numbers, strict=True))


@jax.jit
def _digest(x: jax.Array) -> jax.Array:
    """Mix every element's bits with its place (the finaliser of MurmurHash3), then add them up
    modulo 2^32, which is exact in any order."""
    if x.dtype == jnp.bool_:
        x = x.astype(jnp.uint8)
    width = jnp.dtype(f"uint{8 * x.dtype.itemsize}")
    bits = jax.lax.bitcast_convert_type(x, width).astype(jnp.uint32)
    place = jnp.zeros(x.shape, jnp.uint32)
    for axis, size in enumerate(x.shape):  # without reshaping: that would gather what is sharded
        place = place * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
    mixed = bits ^ (place * jnp.uint32(0x9E3779B1))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        mixed = (mixed ^ (mixed >> shift)) * jnp.uint32(factor)
    return jnp.sum(mixed, dtype=jnp.uint32)


def load_params(folder: str, abstract: Params, *, step: int | str = "newest") -> Params:
    """Return the parameters of a checkpoint in a folder, and the reward head of a scalar model.

    Args:
      folder: as given to `Checkpoints`.
      abstract: shapes and dtypes, see the model's `abstract_params`.
      step: of the checkpoint; or "newest", or "best" by score.

    Raises:
      InputError: the folder has no such checkpoint, or one of a model with other shapes, or it is
        damaged.
    """
    path = _choose(folder, step)
    try:
        with _quietly():
            return _read_params(path, abstract)
    except InputError:
        raise
    except Exception as error:  # what a damaged file raises depends on where it broke
        problem = str(error).strip().split("\n")[0].split(". See full")[0]
        raise InputError(
            f"{path}: the checkpoint is damaged ({problem}); take another one by its number"
        ) from None


def _read_params(path: epath.Path, abstract: Params) -> Params:
    stored = _shapes(path / "state")
    if "reward_head" in stored:
        shapes = stored["reward_head"].items()  # of either kind of head
        head = {name: jax.ShapeDtypeStruct(shape, "float32") for name, shape in shapes}
        abstract = abstract | {"reward_head": head}
    if stored != jax.tree.map(lambda x: tuple(x.shape), abstract):
        raise InputError(f"{path}: the checkpoint is of another model than the one given")
    # only the parameters, and onto one device whatever the mesh that wrote them
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    wanted = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), {"params": abstract}
    )
    with ocp.PyTreeCheckpointer() as reader:
        restored: Any = reader.restore(
            path / "state",
            args=ocp.args.PyTreeRestore(  # pyright: ignore
                item=wanted,
                restore_args=ocp.checkpoint_utils.construct_restore_args(wanted),
                partial_restore=True,
            ),
        )
    now, then = digest(restored), json.loads((path / "digest" / "metadata").read_text())
    if wrong := [name for name in now if now[name] != then[name]]:
        raise ValueError(f"{', '.join(wrong[:3])} changed since it was saved")
    return restored["params"]


def _choose(folder: str, step: int | str) -> epath.Path:
    """Return the folder of a checkpoint."""
    root = epath.Path(folder).absolute()
    steps = sorted(int(p.name) for p in root.glob("[0-9]*") if p.name.isdigit())
    metrics = {n: root / str(n) / "metrics" / "metrics" for n in steps}
    scored = [n for n in steps if metrics[n].exists() and not _wrong_score(metrics[n])]
    best = max(scored, key=lambda n: (json.loads(metrics[n].read_text())["score"], n), default=None)
    chosen = {"newest": max(steps, default=None), "best": best}.get(str(step), step)
    if chosen in steps:
        return root / str(chosen)
    inside = [
        str(p) for p in (*root.glob("checkpoints/*"), *root.glob("*/")) if any(p.glob("[0-9]*"))
    ]
    hint = f"there are {', '.join(map(str, steps))}" if steps else "there is none"
    hint = f"did you mean {' or '.join(inside)}?" if inside and not steps else hint
    raise InputError(f"{folder}: no checkpoint {step}; {hint}")


def _shapes(path: epath.Path) -> Any:
    with ocp.PyTreeCheckpointer() as reader:
        metadata: Any = reader.metadata(path).item_metadata
    return jax.tree.map(lambda x: tuple(x.shape), dict(metadata)["params"])
