"""From prompts to completions: a small host scheduler around the jitted functions of `slots`.

Rows are decoded together until enough of them have ended; those are read out and filled with the
next prompts, and while the device decodes on, the host turns what has ended into text. What is done
next depends on step counts and on which rows have ended, never on the clock.
"""

import functools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from r1reward_jax.rollout.sampler import SamplerConfig
from r1reward_jax.rollout.slots import Slots, advance, empty_slots, insert
from r1reward_jax.types import (
    Completion,
    EncodedPrompt,
    InputError,
    LanguageModel,
    Params,
    Processor,
    Prompt,
    RolloutBatch,
    check,
)


@dataclass(frozen=True)
class Rollout:
    """Prompts, what was sampled for them (host arrays, one row per prompt), and its text."""

    prompts: list[EncodedPrompt]
    batch: RolloutBatch
    completions: list[list[Completion]]
    """For each prompt, one completion per sample."""
    steps: int
    """Decode steps."""
    occupancy: float
    """Tokens sampled / tokens that these steps had room for."""


class _Jitted(NamedTuple):
    """The functions of `slots` for one number of samples."""

    empty: Callable
    insert: Callable
    advance: Callable


class Engine:
    """Samples from one policy on one mesh. Shapes are fixed: nothing is retraced."""

    def __init__(
        self,
        model: LanguageModel,
        processor: Processor,
        config: SamplerConfig,
        *,
        rows: int,
        refill: int,
        put_batch: Callable[[Any], Any],
        place: Callable[[Slots], Any] | None = None,
    ):
        """
        Args:
          model: the policy's functions.
          processor: encodes prompts, decodes completions.
          config: of the sampler; its number of samples is that of each call.
          rows: prompts that are decoded at a time.
          refill: prompts that are prefilled at a time, and rows that must be idle for it.
          put_batch: puts a host batch on the mesh.
          place: from the shapes of slots to their shardings; None leaves them to the compiler.
        """
        if not 0 < refill <= rows:
            raise InputError(f"refill {refill}: expected between 1 and {rows} rows")
        self.model, self.processor, self.config = model, processor, config
        self.rows, self.refill, self.put_batch, self.place = rows, refill, put_batch, place
        self._jitted: dict[tuple[int, int], _Jitted] = {}
        dtype = jnp.dtype(config.compute_dtype)
        self._cast = jax.jit(lambda params: jax.tree.map(lambda p: p.astype(dtype), params))

    def generate(
        self,
        params: Params,
        prompts: Sequence[Prompt | EncodedPrompt],
        *,
        samples: int,
        temperature: float,
        seed: int,
        first_row: int = 0,
        limits: Sequence[int] | None = None,
        on_done: Callable[[int, list[Completion]], None] | None = None,
    ) -> Rollout:
        """Complete each prompt `samples` times.

        Args:
          params: of the policy, on the mesh of training.
          prompts: any number of them, tokenised or not; rows that have ended are filled with the
            next ones.
          samples: completions per prompt.
          temperature: 0 for greedy.
          seed: with `first_row` + a prompt's place, fixes its samples.
          first_row: the number of the first prompt.
          limits: longest completion of each prompt; None for `max_new_tokens`.
          on_done: called with a prompt's place and its completions while others are decoded.

        Raises:
          InputError: a prompt does not fit its bucket, or a limit is not in 1..max_new_tokens.
        """
        run = _Run(self, params, prompts, samples, temperature, seed, first_row, limits)
        return run.rollout(on_done or (lambda place, completions: None))

    def jitted(self, samples: int, width: int, params: Params, inputs: Any) -> _Jitted:
        """The compiled functions for so many samples and so wide prompts, made at first use."""
        if (samples, width) not in self._jitted:
            config, model = replace(self.config, samples=samples), self.model
            empty = functools.partial(empty_slots, model, config, rows=self.rows, width=width)
            # the state comes out where it went in, or the second call would compile again
            where = self.place and self.place(jax.eval_shape(empty, params, inputs))
            self._jitted[samples, width] = _Jitted(
                jax.jit(empty, out_shardings=where),
                jax.jit(
                    functools.partial(insert, model, config), donate_argnums=1, out_shardings=where
                ),
                jax.jit(
                    functools.partial(advance, model, config), donate_argnums=1, out_shardings=where
                ),
            )
        return self._jitted[samples, width]

    def in_compute_dtype(self, params: Params) -> Params:
        """A cast on the devices; the parameters themselves where nothing is to be cast."""
        wanted = jnp.dtype(self.config.compute_dtype)
        if all(p.dtype == wanted for p in jax.tree.leaves(params)):
            return params
        return self._cast(params)


class _Run:
    """One call of `generate`."""

    def __init__(
        self,
        engine: Engine,
        params: Params,
        prompts: Sequence[Prompt | EncodedPrompt],
        samples: int,
        temperature: float,
        seed: int,
        first_row: int,
        limits: Sequence[int] | None,
    ):
        capacity = engine.config.max_new_tokens
        self.limits = [capacity] * len(prompts) if limits is None else list(limits)
        if len(self.limits) != len(prompts) or not all(1 <= n <= capacity for n in self.limits):
            raise InputError(f"limits: expected one of 1 to {capacity} tokens for each prompt")
        self.engine, self.samples, self.first_row = engine, samples, first_row
        self.encoded = [
            p if isinstance(p, EncodedPrompt) else engine.processor.encode(p) for p in prompts
        ]
        self.params = engine.in_compute_dtype(params)
        self.key, self.temperature = jax.random.key(seed), jnp.float32(temperature)
        self.waiting = deque(range(len(prompts)))
        self.free = list(range(engine.rows))
        self.owners: dict[int, int] = {}
        """Row to the place of its prompt."""
        shape = (len(prompts), samples, capacity)
        self.out = RolloutBatch(
            np.full(shape, engine.config.pad_id, np.int32),
            np.zeros(shape[:2], np.int32),
            np.zeros(shape[:2], bool),
            np.zeros(shape, np.float32),
        )
        self.completions: list[list[Completion]] = [[] for _ in prompts]

    def rollout(self, on_done: Callable[[int, list[Completion]], None]) -> Rollout:
        """Decode all prompts."""
        engine, slots, ended = self.engine, None, []
        steps = 0
        while self.waiting or self.owners:
            while self.waiting and len(self.free) >= self._wanted():
                slots = self._fill(slots)
            enough = self._wanted() if self.waiting else engine.rows
            jitted = engine._jitted[self.samples, self.width]
            slots = jitted.advance(self.params, slots, self.key, self.temperature, enough)
            self._deliver(ended, on_done)  # while the device decodes
            ended = self._read_out(slots)
            steps = int(slots.step)
        self._deliver(ended, on_done)
        room = steps * engine.rows * self.samples
        occupancy = float(self.out.lengths.sum()) / room if room else 0.0
        return Rollout(self.encoded, self.out, self.completions, steps, occupancy)

    def _wanted(self) -> int:
        """Rows that the next refill fills."""
        return min(self.engine.refill, len(self.waiting))

    @functools.cached_property
    def width(self) -> int:
        return self.engine.processor.width(self.encoded)

    def _fill(self, slots: Slots | None) -> Slots:
        """Prefill the next prompts into free rows."""
        engine, size = self.engine, self.engine.refill
        places = [self.waiting.popleft() for _ in range(self._wanted())]
        rows = np.full(size, engine.rows, np.int32)  # behind the last row: goes nowhere
        seeds, limits = np.zeros(size, np.int32), np.ones(size, np.int32)
        for i, place in enumerate(places):
            rows[i] = self.free.pop(0)
            self.owners[int(rows[i])] = place
            seeds[i], limits[i] = self.first_row + place, self.limits[place]
        inputs = engine.processor.collate([self.encoded[p] for p in places], rows=size)
        check(inputs)
        inputs, *others = engine.put_batch((inputs, rows, seeds, limits))
        jitted = engine.jitted(self.samples, self.width, self.params, inputs)
        if slots is None:
            slots = jitted.empty(self.params, inputs)
        return jitted.insert(self.params, slots, inputs, *others)

    def _read_out(self, slots: Slots) -> list[int]:
        """Copy rows that have ended to the host and free them; the places of their prompts."""
        busy: np.ndarray = np.any(np.asarray(slots.running), axis=1)
        rows = [row for row in sorted(self.owners) if not busy[row]]
        places = [self.owners.pop(row) for row in rows]
        for mine, theirs in zip(self.out, slots.out, strict=True):
            mine[places] = np.asarray(theirs)[rows]
        self.free = sorted([*self.free, *rows])
        return places

    def _deliver(
        self, places: Sequence[int], on_done: Callable[[int, list[Completion]], None]
    ) -> None:
        """Turn the samples of prompts into text."""
        decode = self.engine.processor.decode
        for place in places:
            for tokens, length, ended in zip(*(x[place] for x in self.out[:3]), strict=True):
                ids = tuple(int(i) for i in tokens[: int(length)])
                reason = "eos" if ended else "length"
                self.completions[place].append(Completion(decode(ids), ids, reason))
            on_done(place, self.completions[place])
