"""Making and placing the state of a training run."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from r1reward_jax.train.mesh import param_shardings, replicated
from r1reward_jax.types import Params, TrainState


def init_state(
    params: Params,
    optimizer: optax.GradientTransformation,
    rules: Sequence[tuple[str, Any]],
    mesh: Mesh,
) -> TrainState:
    """A fresh state: parameters sharded by `rules`, optimizer moments like their parameters."""
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


def _names(path: tuple) -> tuple[str, ...]:
    """The dictionary keys of a path, which are those of the parameters."""
    return tuple(key.key for key in path if isinstance(key, jax.tree_util.DictKey))
