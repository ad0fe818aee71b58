"""From prompts to completions: a small host scheduler around the jitted functions of `slots`.

Slots are decoded together until enough of them have ended; those are read out and get the next
prompts, and while the device decodes on, the host turns what has ended into text. When no prompt
waits any more, the slots that still run are compacted into fewer. What is done next depends on step
counts and on which slots have ended, never on the clock.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from r1reward_jax import stopping
from r1reward_jax.rollout.programs import Programs
from r1reward_jax.rollout.sampler import SamplerConfig
from r1reward_jax.rollout.slots import Slots
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

ShouldStop = Callable[[Mapping[int, Completion]], bool]
"""From the samples of a prompt that have ended, by their index, to whether they are enough."""
CHECK_STEPS = 8
"""Decode steps between two questions to `should_stop`: at every step, reading what has ended would
cost more than the tokens that it saves."""
LOOK_STEPS = 64
"""Decode steps between two looks at whether the process was asked to end: a few seconds of a large
model, and too many for the looks to cost anything."""


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
    host: list[tuple[float, float]]
    """Spans (begin, end; `time.perf_counter`) in which the host encoded prompts or decoded text,
    `on_done` included."""

    @property
    def finish_reasons(self) -> Counter[str]:
        """Completions by their finish reason."""
        return Counter(c.finish_reason for row in self.completions for c in row)


class Engine:
    """Samples from one policy on one mesh. Shapes are fixed: nothing is retraced."""

    def __init__(
        self,
        model: LanguageModel,
        processor: Processor,
        config: SamplerConfig,
        *,
        slots: int,
        prefill_batch: int,
        compact: int = 1,
        put_batch: Callable[[Any], Any],
        slot_shardings: Callable[[Slots], Any] | None = None,
        param_shardings: Any = None,
    ):
        """
        Args:
          model: the policy's functions.
          processor: encodes prompts, decodes completions.
          config: of the sampler; its number of samples is that of each call.
          slots: prompts that are decoded at a time.
          prefill_batch: prompts that are prefilled at a time, and slots that must be idle for it.
          compact: when no prompt waits, the number of slots is divided by this as soon as those
            that run fit, down to `prefill_batch`; 1: never.
          put_batch: puts a host batch on the mesh.
          slot_shardings: from the shapes of slots to their shardings; None for parameters on one
            device.
          param_shardings: of the parameters while sampling; None leaves them where they are.
        """
        if not 0 < prefill_batch <= slots:
            raise InputError(f"prefill_batch {prefill_batch}: expected between 1 and {slots} slots")
        if compact < 1:
            raise InputError(f"compact {compact}: expected at least 1")
        self.model, self.processor, self.config = model, processor, config
        self.slots, self.prefill_batch, self.put_batch = slots, prefill_batch, put_batch
        self.sizes = _sizes(slots, prefill_batch, compact)
        self.programs = Programs(model, config, slots, slot_shardings, param_shardings)
        self.looked_at = False
        """Whether the first prompts have shown that the model's outputs are finite numbers."""

    def generate(
        self,
        params: Params,
        prompts: Sequence[Prompt | EncodedPrompt],
        *,
        samples: int,
        temperature: float | Sequence[float],
        seed: int,
        first_row: int = 0,
        limits: Sequence[int] | None = None,
        on_done: Callable[[int, list[Completion]], None] | None = None,
        should_stop: ShouldStop | None = None,
        must_be_finite: bool = False,
    ) -> Rollout:
        """Complete each prompt `samples` times.

        Args:
          params: of the policy, on the mesh of training.
          prompts: any number of them, tokenised or not; slots that have ended get the next ones.
          samples: completions per prompt.
          temperature: 0 for greedy; or one for each sample of a prompt.
          seed: with `first_row` + a prompt's index, fixes its samples.
          first_row: the number of the first prompt.
          limits: longest completion of each prompt; None for `max_new_tokens`.
          on_done: called with a prompt's index and its completions while others are decoded.
          should_stop: asked every `CHECK_STEPS` steps with those of a prompt's completions that
            have ended, by their index, if there are new ones: whether the others are not needed.
            Those end as "stopped", with what they have so far.
          must_be_finite: whether outputs that are not finite end the call; else they are for the
            caller to notice in the log-probs.

        Raises:
          InputError: a prompt does not fit its bucket, a limit is not in 1..max_new_tokens, a
            setting makes no sense, or outputs are not finite though they must be.
        """
        temperatures = np.broadcast_to(np.asarray(temperature, np.float32), (samples,))
        if not all(0 <= t < math.inf for t in temperatures):
            raise InputError(f"temperature {temperature}: expected 0 (greedy) or more")
        run = _Run(self, params, prompts, temperatures, seed, first_row, limits)
        run.must_be_finite = must_be_finite
        return run.rollout(on_done or (lambda place, completions: None), should_stop)


def _sizes(slots: int, prefill_batch: int, compact: int) -> list[int]:
    """Return the numbers of slots that are decoded together, falling: `slots`, then multiples of
    `prefill_batch`."""
    sizes = [slots]
    while (fewer := -(-sizes[-1] // (compact * prefill_batch)) * prefill_batch) < sizes[-1]:
        sizes.append(fewer)
    return sizes


def require_finite(right: bool) -> None:
    """Raise InputError unless what a model gave is finite."""
    if not right:
        raise InputError(
            "the model's outputs are not finite (NaN or infinity): its weights are damaged, or "
            "overflow in this dtype (try bfloat16 or float32); nothing it says would mean anything"
        )


class _Run:
    """One call of `generate`."""

    def __init__(
        self,
        engine: Engine,
        params: Params,
        prompts: Sequence[Prompt | EncodedPrompt],
        temperatures: np.ndarray,
        seed: int,
        first_row: int,
        limits: Sequence[int] | None,
    ):
        capacity = engine.config.max_new_tokens
        self.limits = [capacity] * len(prompts) if limits is None else list(limits)
        if len(self.limits) != len(prompts) or not all(1 <= n <= capacity for n in self.limits):
            raise InputError(f"limits: expected one of 1 to {capacity} tokens for each prompt")
        self.must_be_finite = False
        samples = len(temperatures)
        replace(engine.config, samples=samples)  # raises for what makes no sense
        self.engine, self.samples, self.first_row = engine, samples, first_row
        began = time.perf_counter()
        self.encoded = [
            p if isinstance(p, EncodedPrompt) else engine.processor.encode(p) for p in prompts
        ]
        self.host = [(began, time.perf_counter())]
        self.width = engine.processor.width(self.encoded) if self.encoded else 0
        self.params, self.jitted = engine.programs.cast(params), None
        self.key, self.temperatures = jax.random.key(seed), temperatures
        self.waiting = deque(range(len(prompts)))
        # few prompts begin in few slots, of a number that compaction has a program for anyway
        self.slots = min((n for n in engine.sizes if n >= len(prompts)), default=engine.slots)
        self.free = list(range(self.slots))
        self.owners: dict[int, int] = {}
        """Slot to the index of its prompt."""
        shape = (len(prompts), samples, capacity)
        self.out = RolloutBatch(
            np.full(shape, engine.config.pad_id, np.int32),
            np.zeros(shape[:2], np.int32),
            np.zeros(shape[:2], bool),
            np.zeros(shape, np.float32),
            np.zeros((*shape[:2], capacity if engine.config.answers else 0), np.float32),
        )
        self.completions: list[list[Completion]] = [[] for _ in prompts]
        self.ended: dict[int, dict[int, Completion]] = {}
        """With `should_stop`: prompt of a slot that still runs to its samples that have ended."""

    def rollout(
        self,
        on_done: Callable[[int, list[Completion]], None],
        should_stop: ShouldStop | None,
    ) -> Rollout:
        """Decode all prompts."""
        slots, ended, steps, room = None, [], 0, 0
        max_steps = CHECK_STEPS if should_stop else LOOK_STEPS
        while self.waiting or self.owners:
            # the first time all slots are filled, whether prefill batches divide them or not
            while self.waiting and self.free and (not steps or len(self.free) >= self._next()):
                slots = self._fill(slots)
            assert slots is not None and self.jitted is not None  # something was filled
            slots = self._compacted(slots)
            slots = self._advanced(slots, max_steps)
            # dispatched, not waited for: the host works on what had ended before these steps
            self._deliver(ended, on_done)
            before = steps
            while not should_stop and int(slots.step) - before == max_steps:
                before += max_steps  # nothing is due yet: only a look was
                slots = self._advanced(slots, max_steps)
            slots = self._stopped(slots, should_stop) if should_stop else slots
            ended = self._read_out(slots)
            taken = int(slots.step) - steps
            steps, room = steps + taken, room + taken * slots.running.size
        self._deliver(ended, on_done)
        occupancy = float(self.out.lengths.sum()) / room if room else 0.0
        return Rollout(self.encoded, self.out, self.completions, steps, occupancy, self.host)

    def _advanced(self, slots: Slots, max_steps: int) -> Slots:
        """Decode on for so many steps at most. Raises Stopped if the process was asked to end;
        several processes only ask each other between iterations."""
        if jax.process_count() == 1:
            stopping.check()
        assert self.jitted is not None
        settings = (self.key, self.temperatures, self._idle(), max_steps)
        return self.jitted.advance(self.params, slots, *settings)

    def _next(self) -> int:
        """Return how many prompts the next prefill has."""
        return min(self.engine.prefill_batch, len(self.waiting))

    def _smaller(self) -> int:
        """Return the next smaller number of slots; 0 if there is none."""
        return max((n for n in self.engine.sizes if n < self.slots), default=0)

    def _idle(self) -> int:
        """Return the idle slots for which decoding stops: enough for a prefill, or for compaction;
        without either, all of them."""
        return self._next() if self.waiting else self.slots - self._smaller()

    def _fill(self, slots: Slots | None) -> Slots:
        """Prefill the next prompts into free slots."""
        engine, size = self.engine, self.engine.prefill_batch
        count = min(self._next(), len(self.free))
        places = [self.waiting.popleft() for _ in range(count)]
        # rows that only pad the prefill batch point behind the last slot: they go nowhere
        where = np.full(size, engine.slots, np.int32)
        seeds, limits = np.zeros(size, np.int32), np.ones(size, np.int32)
        for i, place in enumerate(places):
            where[i] = self.free.pop(0)
            self.owners[int(where[i])] = place
            seeds[i], limits[i] = self.first_row + place, self.limits[place]
        inputs = engine.processor.collate([self.encoded[p] for p in places], rows=size)
        check(inputs)
        inputs, *others = engine.put_batch((inputs, where, seeds, limits))
        jitted = engine.programs.of(self.samples, self.width, self.params, inputs)
        self.jitted, new = jitted, jitted.prefill(self.params, inputs)
        if (
            self.must_be_finite and not engine.looked_at
        ):  # before a whole completion of nonsense; waits once, at the start
            require_finite(bool(jnp.isfinite(new.hidden).all()))
            engine.looked_at = True
        return jitted.insert(slots or jitted.empty(count=self.slots), new, *others)

    def _compacted(self, slots: Slots) -> Slots:
        """Move the prompts that run into fewer slots when none waits and they fit."""
        fewer = self._smaller()
        if self.waiting or not fewer or len(self.owners) > fewer:
            return slots
        kept = sorted(self.owners)
        kept += self.free[: fewer - len(kept)]
        self.owners = {kept.index(slot): place for slot, place in self.owners.items()}
        self.free = list(range(len(self.owners), fewer))
        self.slots = fewer
        assert self.jitted is not None
        return self.jitted.compact(slots, np.asarray(kept, np.int32))

    def _stopped(self, slots: Slots, should_stop: ShouldStop) -> Slots:
        """End the slots whose other samples are not needed."""
        lengths, finished = np.asarray(slots.out.lengths), np.asarray(slots.out.finished)
        stopped, host = np.zeros(len(lengths), bool), []
        for slot, place in self.owners.items():
            known = self.ended.setdefault(place, {})
            ended = finished[slot] | (lengths[slot] == self.limits[place])
            new = [int(k) for k in np.flatnonzero(ended) if int(k) not in known]
            # copied at most once, and only if some sample has ended since the last time
            host = host or ([np.asarray(x) for x in slots.out] if new else [])
            known |= {k: self._completion(place, *(x[slot, k] for x in host)) for k in new}
            stopped[slot] = bool(new) and should_stop(known)
        assert self.jitted is not None
        return self.jitted.stop(slots, stopped) if stopped.any() else slots

    def _completion(self, place: int, tokens: Any, length: Any, finished: Any, *rest: Any):
        """Return a sample as a `Completion`, from its arrays in `RolloutBatch`."""
        ids = tuple(int(i) for i in tokens[: int(length)])
        _, gaps = rest
        unfinished = "length" if int(length) == self.limits[place] else "stopped"
        return Completion(
            self.engine.processor.decode(ids),
            ids,
            "eos" if finished else unfinished,
            gaps[: len(ids)] if self.engine.config.answers else None,
        )

    def _read_out(self, slots: Slots) -> list[int]:
        """Copy slots that have ended to the host and free them; return the indices of their
        prompts."""
        busy: np.ndarray = np.any(np.asarray(slots.running), axis=1)  # waits for the device
        ended = [slot for slot in sorted(self.owners) if not busy[slot]]
        places = [self.owners.pop(slot) for slot in ended]
        for mine, theirs in zip(self.out, slots.out, strict=True):
            mine[places] = np.asarray(theirs)[ended]
        self.free = sorted([*self.free, *ended])
        return places

    def _deliver(
        self, places: Sequence[int], on_done: Callable[[int, list[Completion]], None]
    ) -> None:
        """Decode the samples of prompts into text and hand them to `on_done`."""
        began = time.perf_counter()
        for place in places:
            # overflows, and what only a later image shows: the log-probs of what was sampled
            require_finite(not self.must_be_finite or not np.isnan(self.out.logp[place]).any())
            known = self.ended.pop(place, {})
            for k, row in enumerate(zip(*(x[place] for x in self.out), strict=True)):
                self.completions[place].append(known.get(k) or self._completion(place, *row))
            on_done(place, self.completions[place])
        if places:
            self.host.append((began, time.perf_counter()))
