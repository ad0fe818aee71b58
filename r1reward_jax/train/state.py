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
    # moments are made from nothing but shapes, so nothing but out_shardings can place them
    moments = optax.tree.map_params(
        optimizer,
        lambda _, sharding: sharding,
        jax.eval_shape(optimizer.init, params),
        shardings,
        transform_non_params=lambda _: whole,
    )
    # a copy: the step donates its state, the caller keeps its parameters
    params = jax.device_put(params, shardings)
    params = jax.jit(lambda p: jax.tree.map(jnp.copy, p), out_shardings=shardings)(params)
    opt_state = jax.jit(optimizer.init, out_shardings=moments)(params)
    return TrainState(jax.device_put(jnp.zeros((), jnp.int32), whole), params, opt_state)
