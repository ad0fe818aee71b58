"""The functions of `slots`, compiled: one set for each number of samples and width of prompts."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from r1reward_jax.rollout.sampler import SamplerConfig
from r1reward_jax.rollout.slots import Slots, advance, empty_slots, insert, prefill, stop, take
from r1reward_jax.types import LanguageModel, Params, PromptBatch


class Jitted(NamedTuple):
    """The functions for one number of samples and one width of prompts."""

    prefill: Callable
    empty: Callable
    """From a number of rows."""
    insert: Callable
    advance: Callable
    take: Callable
    stop: Callable


class Programs:
    """Made at first use, and kept."""

    def __init__(
        self,
        model: LanguageModel,
        config: SamplerConfig,
        rows: int,
        place: Callable[[Slots], Any] | None,
        layout: Any,
    ):
        """
        Args:
          model: the policy's functions.
          config: of the sampler, whatever its number of samples.
          rows: the most that are decoded at a time.
          place: from the shapes of slots to their shardings; None for parameters on one device.
          layout: shardings of the parameters while sampling; None leaves them where they are.
        """
        self.model, self.config, self.rows, self.place = model, config, rows, place
        self._prefill = jax.jit(functools.partial(prefill, model, config))
        self._made: dict[tuple[int, int], Jitted] = {}
        self.layout, dtype = layout, jnp.dtype(config.compute_dtype)
        to_dtype = lambda params: jax.tree.map(lambda p: p.astype(dtype), params)  # noqa: E731
        self._cast = jax.jit(to_dtype, out_shardings=layout)

    def of(self, samples: int, width: int, params: Params, inputs: PromptBatch) -> Jitted:
        """The functions for so many samples of prompts that are at most so wide.

        Args:
          samples: M.
          width: S.
          params: of the policy, in the dtype of the forward pass.
          inputs: any prompts on the devices; only shapes are used.
        """
        if (samples, width) not in self._made:
            self._made[samples, width] = self._make(samples, width, params, inputs)
        return self._made[samples, width]

    def _make(self, samples: int, width: int, params: Params, inputs: PromptBatch) -> Jitted:
        config = replace(self.config, samples=samples)
        new = jax.eval_shape(self._prefill, params, inputs)
        empty = functools.partial(empty_slots, config, new, width=width)
        # the state comes out where it went in, or the second call would compile again
        (here, *_) = jax.tree.leaves(params)[0].devices()
        where: Any = SingleDeviceSharding(here)
        if self.place:
            where = self.place(jax.eval_shape(lambda: empty(rows=self.rows)))
        settled = functools.partial(jax.jit, out_shardings=where)
        return Jitted(
            self._prefill,
            settled(empty, static_argnames="rows"),
            settled(functools.partial(insert, config), donate_argnums=0),
            settled(functools.partial(advance, self.model, config), donate_argnums=1),
            settled(take),
            settled(functools.partial(stop, config), donate_argnums=0),
        )

    def cast(self, params: Params) -> Params:
        """To the dtype and the layout of the forward pass, on the devices; the parameters
        themselves where nothing is to be done."""
        wanted = jnp.dtype(self.config.compute_dtype)
        where = jax.tree.map(lambda p: p.sharding, params) if self.layout is None else self.layout
        as_is = jax.tree.map(
            lambda p, s: p.dtype == wanted and p.sharding.is_equivalent_to(s, p.ndim), params, where
        )
        return params if all(jax.tree.leaves(as_is)) else self._cast(params)
