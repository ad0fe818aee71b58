"""AdamW with warm-up and cosine decay behind a global-norm clip, and the state of a training
run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from r1reward_jax.sharding import param_shardings, replicated
from r1reward_jax.types import Params, TrainState


@dataclass(frozen=True)
class OptimizerConfig:
    """Hold what the optimizers of all phases have in common; names as in configs/default.py."""

    b1: float
    b2: float
    weight_decay: float
    clip_norm: float
    warmup_share: float
    final_share: float
    max_skipped: int
    """Updates in a row without finite gradients that end a run."""
    frozen: tuple[str, ...] = ()
    """Top-level names of parameters that are not trained."""

    def schedule(self, lr: float, steps: int) -> optax.Schedule:
        """Return the learning rate of a phase by the number of updates before."""
        return make_schedule(
            lr, steps, warmup_share=self.warmup_share, final_share=self.final_share
        )

    def make(self, lr: float, steps: int) -> optax.GradientTransformation:
        """Return the optimizer of a phase with `steps` updates and a peak learning rate `lr`."""
        return make_optimizer(
            self.schedule(lr, steps),
            b1=self.b1,
            b2=self.b2,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
            frozen=self.frozen,
        )


def make_schedule(lr: float, steps: int, *, warmup_share: float, final_share: float):
    """Return a linear warm-up from 0 to `lr`, then a cosine down to `final_share` of it.

    Args:
      lr: peak learning rate.
      steps: updates in all.
      warmup_share: share of the steps spent warming up (0.03 in the paper's run).
      final_share: last learning rate as a share of the peak (0.1).
    """
    warmup = max(1, round(warmup_share * steps))
    # warm-up starts at one step's worth, so that the first update is not wasted
    return optax.warmup_cosine_decay_schedule(
        lr / warmup, lr, warmup, max(steps, warmup + 1), end_value=lr * final_share
    )


def make_optimizer(
    schedule,
    *,
    b1: float,
    b2: float,
    weight_decay: float,
    clip_norm: float,
    frozen: tuple[str, ...] = (),
) -> optax.GradientTransformation:
    """Return AdamW behind a clip of the global gradient norm.

    Args:
      schedule: learning rate by update.
      b1: decay of the mean.
      b2: decay of the mean square.
      weight_decay: decoupled.
      clip_norm: largest global gradient norm.
      frozen: top-level names of parameters that are not trained: no moments are kept for them,
        and their gradients must be 0.
    """
    adamw = optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay)
    if frozen:
        # moments of frozen parameters would take memory and, with weight decay, move them
        adamw = optax.masked(adamw, lambda params: _trainable(params, frozen))
    return optax.chain(optax.clip_by_global_norm(clip_norm), adamw)


def _trainable(params: Any, frozen: tuple[str, ...]) -> Any:
    """Mark every parameter that is trained with True."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key not in frozen, params)


def init_state(
    params: Params,
    optimizer: optax.GradientTransformation,
    rules: Sequence[tuple[str, Any]],
    mesh: Mesh,
) -> TrainState:
    """Return a fresh state: parameters sharded by `rules`, optimizer moments like their
    parameters."""
    shardings = param_shardings(params, rules, mesh)
    whole = replicated(mesh)
    # moments are made from nothing but shapes, so nothing but out_shardings can place them; they
    # bear the names of their parameters (frozen ones have none)
    by_name = {_names(path): s for path, s in jax.tree_util.tree_flatten_with_path(shardings)[0]}
    moments = jax.tree_util.tree_map_with_path(
        lambda path, _: by_name.get(_names(path), whole), jax.eval_shape(optimizer.init, params)
    )
    # a copy: the step donates its state, the caller keeps its parameters
    params = jax.device_put(params, shardings)
    params = jax.jit(lambda p: jax.tree.map(jnp.copy, p), out_shardings=shardings)(params)
    opt_state = jax.jit(optimizer.init, out_shardings=moments)(params)
    return TrainState(jax.device_put(jnp.zeros((), jnp.int32), whole), params, opt_state)


def learning_rate(schedule: optax.Schedule, state: TrainState) -> float:
    """Return the learning rate of the last update that was applied; before the first, its own.

    Args:
      schedule: of the phase's optimizer.
      state: of the phase; its optimizer counts the updates that were not skipped.
    """
    counts = optax.tree.get_all_with_path(state.opt_state, "count")
    applied = max((int(count) for _, count in counts), default=0)
    return float(np.asarray(schedule(max(0, applied - 1))))


def _names(path: tuple) -> tuple[str, ...]:
    """Return the dictionary keys of a path, which are those of the parameters."""
    return tuple(key.key for key in path if isinstance(key, jax.tree_util.DictKey))
