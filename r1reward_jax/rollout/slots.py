"""Continuous batching as pure functions: rows of slots that are filled, decoded and filled anew.

A row holds a prompt's cache, which its M samples share, and a completion cache for each of them.
All rows write their new keys and values to the same place of a ring, whenever they began: what a
sample may attend to is a matter of the mask, so that nothing is cleared or moved when a row is
filled anew.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from r1reward_jax.rollout.sampler import SamplerConfig, next_tokens
from r1reward_jax.types import Cache, LanguageModel, Params, PromptBatch, RolloutBatch


class Slots(NamedTuple):
    """The state of B rows with M samples each."""

    step: Int[Array, ""]
    """Decode steps since the rows were made."""
    hidden: Float[Array, "B M D"]
    """What the next tokens are chosen from."""
    cache: Cache
    start: Int[Array, " B"]
    """M-RoPE position of the first token behind the prompt."""
    seeds: Int[Array, " B"]
    limits: Int[Array, " B"]
    """Longest completion of each row, at most C."""
    running: Bool[Array, "B M"]
    out: RolloutBatch
    seen: Bool[Array, "B M _"]
    """Tokens so far, prompt included, for the repetition penalty; no columns without one."""


def empty_slots(
    model: LanguageModel,
    config: SamplerConfig,
    params: Params,
    inputs: PromptBatch,
    *,
    rows: int,
    width: int,
) -> Slots:
    """Rows without prompts.

    Args:
      model: the policy.
      config: static settings.
      params: of the policy; only shapes are used.
      inputs: any prompts, for their shapes.
      rows: B.
      width: S, tokens of the longest prompt.
    """
    m, c = config.samples, config.max_new_tokens
    prefill = functools.partial(model.prefill, samples=m, capacity=c)
    hidden, cache = jax.eval_shape(prefill, params, inputs)
    layers, _, heads, _, dim = cache.prompt_k.shape
    prompt = jnp.zeros((layers, rows, heads, width, dim), cache.prompt_k.dtype)
    own = jnp.zeros((layers, rows, heads, m, c, dim), cache.k.dtype)
    vocabulary = jax.eval_shape(model.head, params).shape[1]
    columns = vocabulary if config.repetition_penalty != 1.0 else 0
    each = jnp.zeros(rows, jnp.int32)
    return Slots(
        jnp.int32(0),
        jnp.zeros((rows, m, hidden.shape[-1]), hidden.dtype),
        Cache(prompt, prompt, each, own, own),
        each,
        each,
        each,
        jnp.zeros((rows, m), bool),
        _no_output(config, rows),
        jnp.zeros((rows, m, columns), bool),
    )


def _no_output(config: SamplerConfig, rows: int) -> RolloutBatch:
    shape = (rows, config.samples, config.max_new_tokens)
    return RolloutBatch(
        jnp.full(shape, config.pad_id, jnp.int32),
        jnp.zeros(shape[:2], jnp.int32),
        jnp.zeros(shape[:2], bool),
        jnp.zeros(shape, jnp.float32),
    )


def insert(
    model: LanguageModel,
    config: SamplerConfig,
    params: Params,
    slots: Slots,
    inputs: PromptBatch,
    rows: Int[Array, " R"],
    seeds: Int[Array, " R"],
    limits: Int[Array, " R"],
) -> Slots:
    """Prefill R prompts and put them into rows, whatever those held.

    Args:
      model: the policy.
      config: static settings.
      params: of the policy, in the dtype of the forward pass.
      slots: before.
      inputs: prompts, at most as wide as those of the slots.
      rows: where each goes; those that only fill the batch point behind the last row.
      seeds: of each, for instance the record's number.
      limits: longest completion of each, at most C.
    """
    m, width = config.samples, slots.cache.prompt_k.shape[3]
    hidden, new = model.prefill(params, inputs, samples=m, capacity=config.max_new_tokens)

    def put(old: Any, value: Any) -> Any:
        return old.at[rows].set(value, mode="drop")

    def put_cache(old: Any, value: Any) -> Any:
        missing = width - value.shape[3]
        value = jnp.pad(value, ((0, 0), (0, 0), (0, 0), (0, missing), (0, 0)))
        return old.at[:, rows].set(value, mode="drop")

    seen = slots.seen
    if seen.shape[2]:
        real = jnp.arange(inputs.tokens.shape[1]) < inputs.lengths[:, None]
        marks = jnp.zeros((len(rows), seen.shape[2]), bool)
        marks = jax.vmap(lambda mark, ids, is_real: mark.at[ids].max(is_real))(
            marks, inputs.tokens, real
        )
        seen = put(seen, jnp.repeat(marks[:, None], m, axis=1))
    cache = slots.cache._replace(
        prompt_k=put_cache(slots.cache.prompt_k, new.prompt_k),
        prompt_v=put_cache(slots.cache.prompt_v, new.prompt_v),
        prompt_lengths=put(slots.cache.prompt_lengths, inputs.lengths),
    )
    return Slots(
        slots.step,
        put(slots.hidden, jnp.repeat(hidden[:, None], m, axis=1)),
        cache,
        put(slots.start, inputs.lengths + inputs.rope_delta),
        put(slots.seeds, seeds),
        put(slots.limits, limits),
        put(slots.running, jnp.ones((len(rows), m), bool)),
        jax.tree.map(put, slots.out, _no_output(config, len(rows))),
        seen,
    )


def advance(
    model: LanguageModel,
    config: SamplerConfig,
    params: Params,
    slots: Slots,
    key: PRNGKeyArray,
    temperature: Float[Array, ""],
    enough: Int[Array, ""],
) -> Slots:
    """Decode until `enough` rows are idle, or all are.

    Args:
      model: the policy.
      config: static settings.
      params: of the policy, in the dtype of the forward pass.
      slots: before.
      key: of the rollout.
      temperature: 0 for greedy decoding.
      enough: idle rows that are worth a refill; B if there is nothing to fill them with.
    """
    head = model.head(params)

    def going(slots: Slots) -> Bool[Array, ""]:
        busy = jnp.any(slots.running, axis=1)
        return jnp.any(busy) & (jnp.sum(~busy) < enough)

    def one_token(slots: Slots) -> Slots:
        logits = (slots.hidden @ head).astype(jnp.float32)
        age = slots.out.lengths
        token = next_tokens(config, logits, slots.seen, key, slots.seeds, age, temperature)
        token = jnp.where(slots.running, token, config.pad_id)
        out, running, seen = _record(config, slots, logits, token)
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
        return slots._replace(
            step=slots.step + 1, hidden=hidden, cache=cache, running=running, out=out, seen=seen
        )

    return jax.lax.while_loop(going, one_token, slots)


def _record(
    config: SamplerConfig, slots: Slots, logits: Float[Array, "B M V"], token: Int[Array, "B M"]
) -> tuple[RolloutBatch, Bool[Array, "B M"], Bool[Array, "B M _"]]:
    """Note tokens and their log-probs where samples run, and which of them end with it."""
    out, running, seen = slots.out, slots.running, slots.seen
    logp = jnp.take_along_axis(jax.nn.log_softmax(logits), token[..., None], axis=-1)
    here = running[..., None] & (jnp.arange(config.max_new_tokens) == out.lengths[..., None])
    ended = running & jnp.isin(token, jnp.asarray(config.eos_ids, jnp.int32))
    if seen.shape[2]:
        seen = seen | (running[..., None] & (jnp.arange(seen.shape[2]) == token[..., None]))
    lengths = out.lengths + running
    written = RolloutBatch(
        jnp.where(here, token[..., None], out.tokens),
        lengths,
        out.finished | ended,
        jnp.where(here, logp, out.logp),
    )
    return written, running & ~ended & (lengths < slots.limits[:, None]), seen


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
    slots = empty_slots(model, config, params, inputs, rows=rows, width=width)
    limits = jnp.full(rows, config.max_new_tokens, jnp.int32)
    # rows of a single token only fill the batch
    places = jnp.where(inputs.lengths > 1, jnp.arange(rows), rows)
    slots = insert(model, config, params, slots, inputs, places, seeds, limits)
    return advance(model, config, params, slots, key, temperature, jnp.int32(rows)).out
