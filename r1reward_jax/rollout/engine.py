"""From prompts to completions: a small host scheduler around the jitted functions of `slots`.

Rows are decoded together until enough of them have ended; those are read out and filled with the
next prompts, and while the device decodes on, the host turns what has ended into text. When no
prompt waits any more, the rows that still run move together. What is done next depends on step
counts and on which rows have ended, never on the clock.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

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

Clear = Callable[[Mapping[int, Completion]], bool]
"""Whether those of a prompt's samples that have ended, by their numbers, are enough."""
LOOK, FOREVER = 8, 2**30
"""Decode steps between looks at what has ended: where prompts may be stopped, and where not."""


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
    """From when to when (`time.perf_counter`) the host encoded prompts, or was busy with text,
    `on_done` included."""

    @property
    def finish_reasons(self) -> Counter[str]:
        """Completions by what ended them."""
        return Counter(c.finish_reason for row in self.completions for c in row)


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
        shrink: int = 1,
        put_batch: Callable[[Any], Any],
        place: Callable[[Slots], Any] | None = None,
        layout: Any = None,
    ):
        """
        Args:
          model: the policy's functions.
          processor: encodes prompts, decodes completions.
          config: of the sampler; its number of samples is that of each call.
          rows: prompts that are decoded at a time.
          refill: prompts that are prefilled at a time, and rows that must be idle for it.
          shrink: without waiting prompts, rows are divided by this as soon as those that run fit,
            down to `refill`; 1: never.
          put_batch: puts a host batch on the mesh.
          place: from the shapes of slots to their shardings; None for parameters on one device.
          layout: shardings of the parameters while sampling; None leaves them where they are.
        """
        if not 0 < refill <= rows:
            raise InputError(f"refill {refill}: expected between 1 and {rows} rows")
        if shrink < 1:
            raise InputError(f"shrink {shrink}: expected at least 1")
        self.model, self.processor, self.config = model, processor, config
        self.rows, self.refill, self.put_batch = rows, refill, put_batch
        self.sizes = _sizes(rows, refill, shrink)
        self.programs = Programs(model, config, rows, place, layout)

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
        clear: Clear | None = None,
    ) -> Rollout:
        """Complete each prompt `samples` times.

        Args:
          params: of the policy, on the mesh of training.
          prompts: any number of them, tokenised or not; rows that have ended are filled with the
            next ones.
          samples: completions per prompt.
          temperature: 0 for greedy; or one for each sample of a prompt.
          seed: with `first_row` + a prompt's place, fixes its samples.
          first_row: the number of the first prompt.
          limits: longest completion of each prompt; None for `max_new_tokens`.
          on_done: called with a prompt's place and its completions while others are decoded.
          clear: asked every `LOOK` steps with those of a prompt's completions that have ended, by
            their numbers, if there are new ones: whether the others are not needed. Those end as
            "stopped", with what they have so far.

        Raises:
          InputError: a prompt does not fit its bucket, a limit is not in 1..max_new_tokens, or a
            setting makes no sense.
        """
        warmth = np.broadcast_to(np.asarray(temperature, np.float32), (samples,))
        if not all(0 <= t < math.inf for t in warmth):
            raise InputError(f"temperature {temperature}: expected 0 (greedy) or more")
        run = _Run(self, params, prompts, warmth, seed, first_row, limits)
        return run.rollout(on_done or (lambda place, completions: None), clear)

    def warm_up(self, params: Params, prompts: Sequence[Prompt], *, samples: int) -> None:
        """Compile what calls need whose refills are as large as one of these prompts, in any mix
        and number.

        Args:
          params: of the policy, on the mesh of training.
          prompts: one for each combination of buckets (of tokens, images, patches and windows) that
            a refill can have; the largest of its prompts counts in each.
          samples: completions per prompt.
        """
        params, encoded = self.programs.cast(params), [self.processor.encode(p) for p in prompts]
        nowhere = np.full(self.refill, self.rows, np.int32)
        batches = [self.processor.collate([p], rows=self.refill) for p in encoded]
        inputs, key = [self.put_batch(b) for b in batches], jax.random.key(0)
        where, of = self.put_batch((nowhere, nowhere)), lambda x: x.tokens.shape[1]
        for widest in {of(x): x for x in inputs}.values():
            jitted = self.programs.of(samples, of(widest), params, widest)
            new = [jitted.prefill(params, x) for x in inputs if of(x) <= of(widest)]
            for rows, fewer in zip(self.sizes, [*self.sizes[1:], 0], strict=True):
                slots = jitted.empty(rows=rows)
                for one in new:
                    slots = jitted.insert(slots, one, where[0], *where)
                # nothing runs in these rows: it returns at once
                slots = jitted.advance(params, slots, key, np.zeros(samples, np.float32), rows, 1)
                slots = jitted.stop(slots, np.zeros(rows, bool))
                if fewer:
                    jitted.take(slots, np.arange(fewer, dtype=np.int32))


def _sizes(rows: int, refill: int, shrink: int) -> list[int]:
    """Numbers of rows that are decoded together, falling: `rows`, then multiples of `refill`."""
    sizes = [rows]
    while (fewer := -(-sizes[-1] // (shrink * refill)) * refill) < sizes[-1]:
        sizes.append(fewer)
    return sizes


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
        samples = len(temperatures)
        replace(engine.config, samples=samples)  # refuses what makes no sense
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
        self.rows = min((n for n in engine.sizes if n >= len(prompts)), default=engine.rows)
        self.free = list(range(self.rows))
        self.owners: dict[int, int] = {}
        """Row to the place of its prompt."""
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
        """Place of a prompt whose row runs to its samples that have ended, where somebody looks."""

    def rollout(
        self,
        on_done: Callable[[int, list[Completion]], None],
        clear: Clear | None,
    ) -> Rollout:
        """Decode all prompts."""
        slots, ended, steps, room = None, [], 0, 0
        while self.waiting or self.owners:
            # the first time all rows are filled, whether refills divide them or not
            while self.waiting and self.free and (not steps or len(self.free) >= self._wanted()):
                slots = self._fill(slots)
            assert slots is not None and self.jitted is not None  # something was filled
            slots = self._shrunk(slots)
            slots = self.jitted.advance(
                self.params,
                slots,
                self.key,
                self.temperatures,
                self._enough(),
                LOOK if clear else FOREVER,
            )
            self._deliver(ended, on_done)  # while the device decodes
            slots = self._stopped(slots, clear) if clear else slots
            ended = self._read_out(slots)
            taken = int(slots.step) - steps
            steps, room = steps + taken, room + taken * slots.running.size
        self._deliver(ended, on_done)
        occupancy = float(self.out.lengths.sum()) / room if room else 0.0
        return Rollout(self.encoded, self.out, self.completions, steps, occupancy, self.host)

    def _wanted(self) -> int:
        """Rows that the next refill fills."""
        return min(self.engine.refill, len(self.waiting))

    def _smaller(self) -> int:
        """The next smaller number of rows; 0 if there is none."""
        return max((n for n in self.engine.sizes if n < self.rows), default=0)

    def _enough(self) -> int:
        """Idle rows for which decoding stops."""
        return self._wanted() if self.waiting else self.rows - self._smaller()

    def _fill(self, slots: Slots | None) -> Slots:
        """Prefill the next prompts into free rows."""
        engine, size = self.engine, self.engine.refill
        count = min(self._wanted(), len(self.free))
        places = [self.waiting.popleft() for _ in range(count)]
        rows = np.full(size, engine.rows, np.int32)  # behind the last row: goes nowhere
        seeds, limits = np.zeros(size, np.int32), np.ones(size, np.int32)
        for i, place in enumerate(places):
            rows[i] = self.free.pop(0)
            self.owners[int(rows[i])] = place
            seeds[i], limits[i] = self.first_row + place, self.limits[place]
        inputs = engine.processor.collate([self.encoded[p] for p in places], rows=size)
        check(inputs)
        inputs, *others = engine.put_batch((inputs, rows, seeds, limits))
        jitted = engine.programs.of(self.samples, self.width, self.params, inputs)
        self.jitted, new = jitted, jitted.prefill(self.params, inputs)
        return jitted.insert(slots or jitted.empty(rows=self.rows), new, *others)

    def _shrunk(self, slots: Slots) -> Slots:
        """Move the rows that run together when nothing waits and they fit into fewer."""
        fewer = self._smaller()
        if self.waiting or not fewer or len(self.owners) > fewer:
            return slots
        kept = sorted(self.owners)
        kept += self.free[: fewer - len(kept)]
        self.owners = {kept.index(row): place for row, place in self.owners.items()}
        self.free = list(range(len(self.owners), fewer))
        self.rows = fewer
        assert self.jitted is not None
        return self.jitted.take(slots, np.asarray(kept, np.int32))

    def _stopped(self, slots: Slots, clear: Clear) -> Slots:
        """End the rows whose other samples are not needed."""
        lengths, finished = np.asarray(slots.out.lengths), np.asarray(slots.out.finished)
        rows, read = np.zeros(len(lengths), bool), []
        for row, place in self.owners.items():
            known = self.ended.setdefault(place, {})
            ended = finished[row] | (lengths[row] == self.limits[place])
            new = [int(k) for k in np.flatnonzero(ended) if int(k) not in known]
            read = read or ([np.asarray(x) for x in slots.out] if new else [])
            known |= {k: self._completion(place, *(x[row, k] for x in read)) for k in new}
            rows[row] = bool(new) and clear(known)
        assert self.jitted is not None
        return self.jitted.stop(slots, rows) if rows.any() else slots

    def _completion(self, place: int, tokens: Any, length: Any, finished: Any, *rest: Any):
        """A sample as text; of its row in `RolloutBatch`."""
        ids = tuple(int(i) for i in tokens[: int(length)])
        _, gaps = rest
        whole = "length" if int(length) == self.limits[place] else "stopped"
        return Completion(
            self.engine.processor.decode(ids),
            ids,
            "eos" if finished else whole,
            gaps[: len(ids)] if self.engine.config.answers else None,
        )

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
        began = time.perf_counter()
        for place in places:
            known = self.ended.pop(place, {})
            for k, row in enumerate(zip(*(x[place] for x in self.out), strict=True)):
                self.completions[place].append(known.get(k) or self._completion(place, *row))
            on_done(place, self.completions[place])
        if places:
            self.host.append((began, time.perf_counter()))
