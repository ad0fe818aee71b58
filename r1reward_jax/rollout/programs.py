"""The functions of `slots`, compiled: one set for each number of samples and width of prompts."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from r1reward_jax.rollout.prefill import prefill
from r1reward_jax.rollout.sampler import SamplerConfig
from r1reward_jax.rollout.slots import Slots, advance, compact, empty_slots, insert, stop
from r1reward_jax.types import LanguageModel, Params, PromptBatch


class Jitted(NamedTuple):
    """The functions for one number of samples and one width of prompts."""

    prefill: Callable
    empty: Callable
    """Makes empty slots from their number, `count`."""
    insert: Callable
    advance: Callable
    compact: Callable
    stop: Callable


class Programs:
    """Compiled functions, made at their first use and kept."""

    def __init__(
        self,
        model: LanguageModel,
        config: SamplerConfig,
        slots: int,
        slot_shardings: Callable[[Slots], Any] | None,
        param_shardings: Any,
    ):
        """
        Args:
          model: the policy's functions.
          config: of the sampler, whatever its number of samples.
          slots: the most prompts that are decoded at a time.
          slot_shardings: from the shapes of slots to their shardings; None for parameters on one
            device.
          param_shardings: of the parameters while sampling; None leaves them where they are.
        """
        self.model, self.config = model, config
        self.slots, self.slot_shardings = slots, slot_shardings
        self._prefill = jax.jit(functools.partial(prefill, model, config))
        self._made: dict[tuple[int, int], Jitted] = {}
        self.param_shardings, dtype = param_shardings, jnp.dtype(config.compute_dtype)
        to_dtype = lambda params: jax.tree.map(lambda p: p.astype(dtype), params)  # noqa: E731
        self._cast = jax.jit(to_dtype, out_shardings=param_shardings)

    def of(self, samples: int, width: int, params: Params, inputs: PromptBatch) -> Jitted:
        """Return the functions for so many samples of prompts that are at most so wide.

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
        (device, *_) = jax.tree.leaves(params)[0].devices()
        shardings: Any = SingleDeviceSharding(device)
        if self.slot_shardings:
            shardings = self.slot_shardings(jax.eval_shape(lambda: empty(count=self.slots)))
        jit = functools.partial(jax.jit, out_shardings=shardings)
        return Jitted(
            self._prefill,
            jit(empty, static_argnames="count"),
            # donated slots are updated in place: the caches are most of the sampler's memory
            jit(functools.partial(insert, config), donate_argnums=0),
            jit(functools.partial(advance, self.model, config), donate_argnums=1),
            jit(compact),  # its arrays get smaller: nothing to reuse
            jit(functools.partial(stop, config), donate_argnums=0),
        )

    def cast(self, params: Params) -> Params:
        """Return the parameters in the dtype and with the shardings of the forward pass, copied on
        the devices; the parameters themselves where nothing has to change."""
        wanted, given = jnp.dtype(self.config.compute_dtype), self.param_shardings
        shardings = jax.tree.map(lambda p: p.sharding, params) if given is None else given
        as_is = jax.tree.map(
            lambda p, s: p.dtype == wanted and p.sharding.is_equivalent_to(s, p.ndim),
            params,
            shardings,
        )
        return params if all(jax.tree.leaves(as_is)) else self._cast(params)
