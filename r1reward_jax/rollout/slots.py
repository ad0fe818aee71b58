"""Continuous batching as pure functions: rows of slots that are filled, decoded and filled anew.

A row holds the cache of one prompt, of which M samples are wanted, and A lanes that write them,
each with a completion cache of its own; a lane that ends goes on with the next sample. All lanes
write their new keys and values to the same place of a ring, whenever they began: what a sample may
attend to is a matter of the mask, so that nothing is moved when a row is filled anew.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from r1reward_jax.rollout.sampler import SamplerConfig, next_tokens
from r1reward_jax.types import Cache, LanguageModel, Params, PromptBatch, RolloutBatch


class Prefilled(NamedTuple):
    """R prompts behind their forward pass."""

    hidden: Float[Array, "R D"]
    """At the last token."""
    k: Float[Array, "L R K S H"]
    v: Float[Array, "L R K S H"]
    lengths: Int[Array, " R"]
    start: Int[Array, " R"]
    """M-RoPE position of the first token behind the prompt."""
    seen: Bool[Array, "R _"]
    """Tokens of the prompt, for the repetition penalty; no columns without one."""


class Slots(NamedTuple):
    """The state of B rows with A lanes each, for M samples."""

    step: Int[Array, ""]
    """Decode steps since the rows were made."""
    first: Float[Array, "B D"]
    """What the first token of every sample is chosen from."""
    hidden: Float[Array, "B A D"]
    """What the next tokens are chosen from."""
    cache: Cache
    start: Int[Array, " B"]
    """M-RoPE position of the first token behind the prompt."""
    seeds: Int[Array, " B"]
    limits: Int[Array, " B"]
    """Longest completion of each row, at most C."""
    numbers: Int[Array, "B A"]
    """Which sample of its prompt a lane writes."""
    begun: Int[Array, " B"]
    """Samples that lanes have taken on."""
    running: Bool[Array, "B A"]
    out: RolloutBatch
    prompt_seen: Bool[Array, "B _"]
    """Tokens of the prompt, for the repetition penalty; no columns without one."""
    seen: Bool[Array, "B A _"]
    """Tokens of the completion so far, for the same."""


def prefill(
    model: LanguageModel, config: SamplerConfig, params: Params, inputs: PromptBatch
) -> Prefilled:
    """The forward pass of R prompts.

    Args:
      model: the policy.
      config: static settings.
      params: of the policy, in the dtype of the forward pass.
      inputs: prompts; rows of a single token only fill the batch.
    """
    hidden, cache = model.prefill(params, inputs, samples=1, capacity=1)
    marks = jnp.zeros((len(hidden), _penalty_columns(model, config, params)), bool)
    if marks.shape[1]:
        real = jnp.arange(inputs.tokens.shape[1]) < inputs.lengths[:, None]
        mark = jax.vmap(lambda row, ids, is_real: row.at[ids].max(is_real))
        marks = mark(marks, inputs.tokens, real)
    start = inputs.lengths + inputs.rope_delta
    return Prefilled(hidden, cache.prompt_k, cache.prompt_v, inputs.lengths, start, marks)


def _penalty_columns(model: LanguageModel, config: SamplerConfig, params: Params) -> int:
    if config.repetition_penalty == 1.0:
        return 0
    return jax.eval_shape(model.head, params).shape[1]


def empty_slots(config: SamplerConfig, new: Prefilled, *, rows: int, width: int) -> Slots:
    """Rows without prompts.

    Args:
      config: static settings.
      new: any prompts, for their shapes.
      rows: B.
      width: S, tokens of the longest prompt.
    """
    m, c = config.at_once, config.max_new_tokens
    layers, _, heads, _, dim = new.k.shape
    prompt = jnp.zeros((layers, rows, heads, width, dim), new.k.dtype)
    own = jnp.zeros((layers, rows, heads, m, c, dim), new.k.dtype)
    each, lanes = jnp.zeros(rows, jnp.int32), jnp.zeros((rows, m), jnp.int32)
    return Slots(
        step=jnp.int32(0),
        first=jnp.zeros((rows, new.hidden.shape[1]), new.hidden.dtype),
        hidden=jnp.zeros((rows, m, new.hidden.shape[1]), new.hidden.dtype),
        cache=Cache(prompt, prompt, each, own, own),
        start=each,
        seeds=each,
        limits=each,
        numbers=lanes,
        begun=each + config.samples,
        running=lanes > 0,
        out=_no_output(config, rows),
        prompt_seen=jnp.zeros((rows, new.seen.shape[1]), bool),
        seen=jnp.zeros((rows, m, new.seen.shape[1]), bool),
    )


def _no_output(config: SamplerConfig, rows: int) -> RolloutBatch:
    shape = (rows, config.samples, config.max_new_tokens)
    return RolloutBatch(
        jnp.full(shape, config.pad_id, jnp.int32),
        jnp.zeros(shape[:2], jnp.int32),
        jnp.zeros(shape[:2], bool),
        jnp.zeros(shape, jnp.float32),
        jnp.zeros((*shape[:2], shape[2] if config.answers else 0), jnp.float32),
    )


def insert(
    config: SamplerConfig,
    slots: Slots,
    new: Prefilled,
    rows: Int[Array, " R"],
    seeds: Int[Array, " R"],
    limits: Int[Array, " R"],
) -> Slots:
    """Put R prompts into rows, whatever those held.

    Args:
      config: static settings.
      slots: before.
      new: prompts, at most as wide as those of the slots.
      rows: where each goes; those that only fill the batch point behind the last row.
      seeds: of each, for instance the record's number.
      limits: longest completion of each, at most C.
    """
    count, m = len(rows), config.at_once

    def put(old: Any, value: Any) -> Any:
        return old.at[rows].set(value, mode="drop")

    # masked keys and values weigh nothing unless they are NaN: nobody inherits those of a prompt
    # that went wrong
    def put_cache(old: Any, value: Any) -> Any:
        rest = ((0, 0), (0, 0), (0, 0), (0, old.shape[3] - value.shape[3]), (0, 0))
        return old.at[:, rows].set(jnp.pad(value, rest), mode="drop")

    def clear(old: Any) -> Any:
        return old.at[:, rows].set(0, mode="drop")

    def lanes(value: Any) -> Any:
        return jnp.broadcast_to(value, (count, m, *value.shape[2:]))

    cache = slots.cache._replace(
        prompt_k=put_cache(slots.cache.prompt_k, new.k),
        prompt_v=put_cache(slots.cache.prompt_v, new.v),
        prompt_lengths=put(slots.cache.prompt_lengths, new.lengths),
        k=clear(slots.cache.k),
        v=clear(slots.cache.v),
    )
    return Slots(
        step=slots.step,
        first=put(slots.first, new.hidden),
        hidden=put(slots.hidden, lanes(new.hidden[:, None])),
        cache=cache,
        start=put(slots.start, new.start),
        seeds=put(slots.seeds, seeds),
        limits=put(slots.limits, limits),
        numbers=put(slots.numbers, lanes(jnp.arange(m)[None])),
        begun=put(slots.begun, m),
        running=put(slots.running, True),
        out=jax.tree.map(put, slots.out, _no_output(config, count)),
        prompt_seen=put(slots.prompt_seen, new.seen),
        seen=put(slots.seen, False),
    )


def take(slots: Slots, rows: Int[Array, " R"]) -> Slots:
    """Some of the rows, in this order: fewer rows, less to read at every step.

    Args:
      slots: before.
      rows: distinct.
    """
    cache = Cache(*(x[rows] if x.ndim == 1 else x[:, rows] for x in slots.cache))
    kept = {
        name: jax.tree.map(lambda x: x[rows], value)
        for name, value in slots._asdict().items()
        if name not in ("step", "cache")
    }
    return Slots(step=slots.step, cache=cache, **kept)


def stop(config: SamplerConfig, slots: Slots, rows: Bool[Array, " B"]) -> Slots:
    """End these rows: samples that are being written stay as they are, others never begin.

    Args:
      config: static settings.
      slots: before.
      rows: True for those to end.
    """
    return slots._replace(
        running=slots.running & ~rows[:, None],
        begun=jnp.where(rows, config.samples, slots.begun),
    )


def advance(
    model: LanguageModel,
    config: SamplerConfig,
    params: Params,
    slots: Slots,
    key: PRNGKeyArray,
    temperatures: Float[Array, " M"],
    enough: Int[Array, ""],
    steps: Int[Array, ""],
) -> Slots:
    """Decode until `enough` rows are idle, or all are, or for so many steps.

    Args:
      model: the policy.
      config: static settings.
      params: of the policy, in the dtype of the forward pass.
      slots: before.
      key: of the rollout.
      temperatures: of each sample of a prompt; 0 for greedy decoding.
      enough: idle rows that are worth a refill; B if there is nothing to fill them with.
      steps: after which somebody wants to look at what has ended.
    """
    head, last = model.head(params), slots.step + steps

    def going(slots: Slots) -> Bool[Array, ""]:
        busy = jnp.any(slots.running, axis=1)
        return jnp.any(busy) & (jnp.sum(~busy) < enough) & (slots.step < last)

    def one_token(slots: Slots) -> Slots:
        logits = (slots.hidden @ head).astype(jnp.float32)
        age = _ages(slots)
        seen = slots.prompt_seen[:, None] | slots.seen
        warmth = temperatures[slots.numbers]
        token = next_tokens(config, logits, seen, key, slots.seeds, slots.numbers, age, warmth)
        token = jnp.where(slots.running, token, config.pad_id)
        ring = slots.step % config.max_new_tokens
        behind = (ring - jnp.arange(config.max_new_tokens)) % config.max_new_tokens
        hidden, cache = model.decode(
            params,
            token,
            slots.start[:, None] + age,
            ring,
            behind <= age[..., None],  # those of before the sample's first step are not its own
            slots.cache,
            unroll=config.unroll,
        )
        written = _record(config, slots, logits, token)
        return _next_samples(
            config, written._replace(step=slots.step + 1, hidden=hidden, cache=cache)
        )

    return jax.lax.while_loop(going, one_token, slots)


def _ages(slots: Slots) -> Int[Array, "B A"]:
    """Tokens that each lane has written of its sample."""
    return jnp.take_along_axis(slots.out.lengths, slots.numbers, axis=1)


def _record(
    config: SamplerConfig, slots: Slots, logits: Float[Array, "B A V"], token: Int[Array, "B A"]
) -> Slots:
    """Note tokens and their log-probs where lanes run, and which of them end with it."""
    out, running, seen, age = slots.out, slots.running, slots.seen, _ages(slots)
    logp = jnp.take_along_axis(jax.nn.log_softmax(logits), token[..., None], axis=-1)[..., 0]
    ended = running & jnp.isin(token, jnp.asarray(config.eos_ids, jnp.int32))
    if seen.shape[2]:
        seen = seen | (running[..., None] & (jnp.arange(seen.shape[2]) == token[..., None]))
    row = jnp.arange(len(token))[:, None]
    number = jnp.where(running, slots.numbers, config.samples)  # of idle lanes: goes nowhere
    gap = out.answer_gap
    if config.answers:
        first, second = (logits[..., answer] for answer in config.answers)
        gap = gap.at[row, number, age].set(first - second, mode="drop")
    written = RolloutBatch(
        out.tokens.at[row, number, age].set(token, mode="drop"),
        out.lengths.at[row, number].set(age + 1, mode="drop"),
        out.finished.at[row, number].set(ended, mode="drop"),
        out.logp.at[row, number, age].set(logp, mode="drop"),
        gap,
    )
    running = running & ~ended & (age + 1 < slots.limits[:, None])
    return slots._replace(out=written, running=running, seen=seen)


def _next_samples(config: SamplerConfig, slots: Slots) -> Slots:
    """Lanes that are done take on the samples that nobody has begun."""
    if config.at_once == config.samples:
        return slots
    done = ~slots.running
    wanted = slots.begun[:, None] + jnp.cumsum(done, axis=1) - 1
    fresh = done & (wanted < config.samples)
    return slots._replace(
        hidden=jnp.where(fresh[..., None], slots.first[:, None], slots.hidden),
        numbers=jnp.where(fresh, wanted, slots.numbers),
        begun=slots.begun + jnp.sum(fresh, axis=1),
        running=slots.running | fresh,
        seen=slots.seen & ~fresh[..., None],
    )


def sample(
    model: LanguageModel,
    config: SamplerConfig,
    params: Params,
    inputs: PromptBatch,
    seeds: Int[Array, " B"],
    key: PRNGKeyArray,
    temperature: Float[Array, ""],
) -> RolloutBatch:
    """Complete one batch of prompts, `config.samples` times each, without refills.

    Returns:
      Tokens (pad after the end), lengths, and the log-probability of each token at temperature 1.
    """
    params = jax.tree.map(lambda p: p.astype(config.compute_dtype), params)
    rows, width = inputs.tokens.shape
    new = prefill(model, config, params, inputs)
    slots = empty_slots(config, new, rows=rows, width=width)
    limits = jnp.full(rows, config.max_new_tokens, jnp.int32)
    # rows of a single token only fill the batch
    places = jnp.where(inputs.lengths > 1, jnp.arange(rows), rows)
    slots = insert(config, slots, new, places, seeds, limits)
    temperatures = jnp.broadcast_to(temperature, config.samples)
    enough, steps = jnp.int32(rows), jnp.int32(config.samples * config.max_new_tokens)
    return advance(model, config, params, slots, key, temperatures, enough, steps).out
