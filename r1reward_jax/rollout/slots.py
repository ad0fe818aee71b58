"""Continuous batching as pure functions: slots that are filled with prompts, decoded and reused.

A slot holds the cache of one prompt, of which M samples are wanted, and A active samples that are
decoded at a time, each with a completion cache of its own; a sample that ends makes room for the
next one. All active samples write their new keys and values to the same index of a ring buffer,
whenever they began: what a sample may attend to is a matter of the mask, so that nothing is moved
when a slot gets another prompt.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from r1reward_jax.rollout.prefill import Prefilled, prefill
from r1reward_jax.rollout.sampler import SamplerConfig, next_tokens
from r1reward_jax.types import Cache, LanguageModel, Params, PromptBatch, RolloutBatch


class Slots(NamedTuple):
    """The state of B slots with A active samples each, of M."""

    step: Int[Array, ""]
    """Decode steps since the slots were made."""
    first: Float[Array, "B D"]
    """Hidden state that the first token of every sample is chosen from."""
    hidden: Float[Array, "B A D"]
    """Hidden states that the next tokens are chosen from."""
    cache: Cache
    start: Int[Array, " B"]
    """M-RoPE position of the first token behind the prompt."""
    seeds: Int[Array, " B"]
    """With the rollout's key, they fix the samples of a prompt."""
    limits: Int[Array, " B"]
    """Longest completion of each prompt, at most C."""
    sample_index: Int[Array, "B A"]
    """Which sample of its prompt an active sample is, 0 to M - 1."""
    started: Int[Array, " B"]
    """Samples of the prompt that have been started."""
    running: Bool[Array, "B A"]
    """False once an active sample has ended and no other one is left to take its place."""
    out: RolloutBatch
    """What has been sampled of the prompts in the slots."""
    prompt_seen: Bool[Array, "B _"]
    """Tokens of the prompt, for the repetition penalty; no columns without one."""
    seen: Bool[Array, "B A _"]
    """Tokens of the completion so far, for the same."""


def empty_slots(config: SamplerConfig, new: Prefilled, *, count: int, width: int) -> Slots:
    """Return slots without prompts.

    Args:
      config: static settings.
      new: any prompts, for their shapes.
      count: B.
      width: S, tokens of the longest prompt.
    """
    active, capacity = config.active_samples, config.max_new_tokens
    layers, _, heads, _, dim = new.k.shape
    prompt = jnp.zeros((layers, count, heads, width, dim), new.k.dtype)
    own = jnp.zeros((layers, count, heads, active, capacity, dim), new.k.dtype)
    per_slot = jnp.zeros(count, jnp.int32)
    per_sample = jnp.zeros((count, active), jnp.int32)
    return Slots(
        step=jnp.int32(0),
        first=jnp.zeros((count, new.hidden.shape[1]), new.hidden.dtype),
        hidden=jnp.zeros((count, active, new.hidden.shape[1]), new.hidden.dtype),
        cache=Cache(prompt, prompt, per_slot, own, own),
        start=per_slot,
        seeds=per_slot,
        limits=per_slot,
        sample_index=per_sample,
        started=per_slot + config.samples,  # nothing is left to start in an empty slot
        running=per_sample > 0,
        out=_no_output(config, count),
        prompt_seen=jnp.zeros((count, new.seen.shape[1]), bool),
        seen=jnp.zeros((count, active, new.seen.shape[1]), bool),
    )


def _no_output(config: SamplerConfig, count: int) -> RolloutBatch:
    """Return the output of `count` prompts before their first token."""
    shape = (count, config.samples, config.max_new_tokens)
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
    where: Int[Array, " R"],
    seeds: Int[Array, " R"],
    limits: Int[Array, " R"],
) -> Slots:
    """Put a prefill batch into slots and start its first samples, whatever the slots held.

    Args:
      config: static settings.
      slots: before.
      new: prompts, at most as wide as those of the slots.
      where: the slot of each; rows that only pad the batch point behind the last slot.
      seeds: of each, for instance the record's number.
      limits: longest completion of each, at most C.
    """
    count, active = len(where), config.active_samples

    def put(old: Any, value: Any) -> Any:
        # mode="drop": rows that pad the batch are written nowhere
        return old.at[where].set(value, mode="drop")

    # masked keys weigh 0, but 0 * NaN is NaN: caches are reset up to their full width, so NaNs
    # cannot leak into a reused slot
    def put_cache(old: Any, value: Any) -> Any:
        rest = ((0, 0), (0, 0), (0, 0), (0, old.shape[3] - value.shape[3]), (0, 0))
        return old.at[:, where].set(jnp.pad(value, rest), mode="drop")

    def reset(old: Any) -> Any:
        return old.at[:, where].set(0, mode="drop")

    def per_sample(value: Any) -> Any:
        return jnp.broadcast_to(value, (count, active, *value.shape[2:]))

    cache = slots.cache._replace(
        prompt_k=put_cache(slots.cache.prompt_k, new.k),
        prompt_v=put_cache(slots.cache.prompt_v, new.v),
        prompt_lengths=put(slots.cache.prompt_lengths, new.lengths),
        k=reset(slots.cache.k),
        v=reset(slots.cache.v),
    )
    return Slots(
        step=slots.step,
        first=put(slots.first, new.hidden),
        hidden=put(slots.hidden, per_sample(new.hidden[:, None])),
        cache=cache,
        start=put(slots.start, new.start),
        seeds=put(slots.seeds, seeds),
        limits=put(slots.limits, limits),
        sample_index=put(slots.sample_index, per_sample(jnp.arange(active)[None])),
        started=put(slots.started, active),
        running=put(slots.running, True),
        out=jax.tree.map(put, slots.out, _no_output(config, count)),
        prompt_seen=put(slots.prompt_seen, new.seen),
        seen=put(slots.seen, False),
    )


def compact(slots: Slots, kept: Int[Array, " R"]) -> Slots:
    """Return some of the slots, in this order: with fewer slots, every step reads less.

    Args:
      slots: before.
      kept: distinct slots.
    """
    # the caches' first axis is that of the layers
    cache = Cache(*(x[kept] if x.ndim == 1 else x[:, kept] for x in slots.cache))
    rest = {
        name: jax.tree.map(lambda x: x[kept], value)
        for name, value in slots._asdict().items()
        if name not in ("step", "cache")
    }
    return Slots(step=slots.step, cache=cache, **rest)


def stop(config: SamplerConfig, slots: Slots, stopped: Bool[Array, " B"]) -> Slots:
    """End slots early: their active samples stay as they are, no other ones are started.

    Args:
      config: static settings.
      slots: before.
      stopped: True for the slots to end.
    """
    return slots._replace(
        running=slots.running & ~stopped[:, None],
        started=jnp.where(stopped, config.samples, slots.started),
    )


def advance(
    model: LanguageModel,
    config: SamplerConfig,
    params: Params,
    slots: Slots,
    key: PRNGKeyArray,
    temperatures: Float[Array, " M"],
    idle: Int[Array, ""],
    max_steps: Int[Array, ""],
) -> Slots:
    """Decode until `idle` slots have nothing left to do, or all have not, or for `max_steps`.

    Args:
      model: the policy.
      config: static settings.
      params: of the policy, in the dtype of the forward pass.
      slots: before.
      key: of the rollout.
      temperatures: of each sample of a prompt; 0 for greedy decoding.
      idle: slots without a running sample that are worth a prefill or a compaction.
      max_steps: decode steps after which the host looks at what has ended.
    """
    head, last = model.head(params), slots.step + max_steps

    def unfinished(slots: Slots) -> Bool[Array, ""]:
        busy = jnp.any(slots.running, axis=1)
        return jnp.any(busy) & (jnp.sum(~busy) < idle) & (slots.step < last)

    def one_token(slots: Slots) -> Slots:
        logits = (slots.hidden @ head).astype(jnp.float32)
        age = _ages(slots)
        seen = slots.prompt_seen[:, None] | slots.seen
        chosen, own = slots.sample_index, temperatures[slots.sample_index]
        token = next_tokens(config, logits, seen, key, slots.seeds, chosen, age, own)
        token = jnp.where(slots.running, token, config.pad_id)
        written = slots.step % config.max_new_tokens  # index in the ring buffer
        # steps since each index of the ring was written
        behind = (written - jnp.arange(config.max_new_tokens)) % config.max_new_tokens
        hidden, cache = model.decode(
            params,
            token,
            slots.start[:, None] + age,
            written,
            behind <= age[..., None],  # what is older than the sample is another sample's
            slots.cache,
            unroll=config.unroll,
        )
        slots = _record(config, slots, logits, own, token)
        return _start_samples(
            config, slots._replace(step=slots.step + 1, hidden=hidden, cache=cache)
        )

    return jax.lax.while_loop(unfinished, one_token, slots)


def _ages(slots: Slots) -> Int[Array, "B A"]:
    """Return how many tokens each active sample has."""
    return jnp.take_along_axis(slots.out.lengths, slots.sample_index, axis=1)


def _record(
    config: SamplerConfig,
    slots: Slots,
    logits: Float[Array, "B A V"],
    temperatures: Float[Array, "B A"],
    token: Int[Array, "B A"],
) -> Slots:
    """Record the tokens and log-probs of running samples, and which samples end with them."""
    out, running, seen, age = slots.out, slots.running, slots.seen, _ages(slots)
    # of the distribution that is sampled from, over the whole vocabulary, as the trainer scores it;
    # greedy samples have none of their own and are scored at temperature 1
    scaled_logits = logits / jnp.where(temperatures > 0, temperatures, 1.0)[..., None]
    logp = jnp.take_along_axis(jax.nn.log_softmax(scaled_logits), token[..., None], axis=-1)[..., 0]
    ended = running & jnp.isin(token, jnp.asarray(config.eos_ids, jnp.int32))
    if seen.shape[2]:
        seen = seen | (running[..., None] & (jnp.arange(seen.shape[2]) == token[..., None]))
    slot = jnp.arange(len(token))[:, None]
    # idle ones point behind the last sample, and mode="drop" writes them nowhere
    index = jnp.where(running, slots.sample_index, config.samples)
    gap = out.answer_gap
    if config.answers:
        # of the unscaled logits: P(verdict) is that of temperature 1, whatever is sampled at
        first, second = (logits[..., answer] for answer in config.answers)
        gap = gap.at[slot, index, age].set(first - second, mode="drop")
    written = RolloutBatch(
        out.tokens.at[slot, index, age].set(token, mode="drop"),
        out.lengths.at[slot, index].set(age + 1, mode="drop"),
        out.finished.at[slot, index].set(ended, mode="drop"),
        out.logp.at[slot, index, age].set(logp, mode="drop"),
        gap,
    )
    running = running & ~ended & (age + 1 < slots.limits[:, None])
    return slots._replace(out=written, running=running, seen=seen)


def _start_samples(config: SamplerConfig, slots: Slots) -> Slots:
    """Start samples that are still wanted in place of active ones that have ended."""
    if config.active_samples == config.samples:
        return slots
    done = ~slots.running
    # the first that has ended takes the next sample of the prompt, the second the one behind it, …
    wanted = slots.started[:, None] + jnp.cumsum(done, axis=1) - 1
    fresh = done & (wanted < config.samples)
    return slots._replace(
        hidden=jnp.where(fresh[..., None], slots.first[:, None], slots.hidden),
        sample_index=jnp.where(fresh, wanted, slots.sample_index),
        started=slots.started + jnp.sum(fresh, axis=1),
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
    """Complete one batch of prompts, `config.samples` times each, in as many slots: nothing is
    prefilled later."""
    params = jax.tree.map(lambda p: p.astype(config.compute_dtype), params)
    count, width = inputs.tokens.shape
    new = prefill(model, config, params, inputs)
    slots = empty_slots(config, new, count=count, width=width)
    limits = jnp.full(count, config.max_new_tokens, jnp.int32)
    # rows of a single token only pad the batch: behind the last slot
    where = jnp.where(inputs.lengths > 1, jnp.arange(count), count)
    slots = insert(config, slots, new, where, seeds, limits)
    temperatures = jnp.broadcast_to(temperature, config.samples)
    idle, max_steps = jnp.int32(count), jnp.int32(config.samples * config.max_new_tokens)
    return advance(model, config, params, slots, key, temperatures, idle, max_steps).out
