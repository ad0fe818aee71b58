"""Prefill once, then decode in one jitted loop; log-probabilities of the samples come with it.

A sample depends on (key, seed of its row, its number, position) and on nothing else: not on its
neighbours, the batch size or the order of rows.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from r1reward_jax.types import Cache, LanguageModel, Params, PromptBatch, RolloutBatch


@dataclass(frozen=True)
class SamplerConfig:
    """What is fixed when the loop is compiled."""

    samples: int
    """M, completions per prompt; they share one prefill and one prompt cache."""
    max_new_tokens: int
    eos_ids: tuple[int, ...]
    pad_id: int
    banned_ids: tuple[int, ...]
    vocab_size: int
    """Ids from here on only pad the vocabulary; they are never sampled."""
    unroll: bool
    """Unroll the decoder's layers in the loop: faster on CPU, slower to compile."""
    compute_dtype: Any


class _Loop(NamedTuple):
    step: Int[Array, ""]
    hidden: Float[Array, "B M D"]
    cache: Cache
    out: RolloutBatch


def sample(
    model: LanguageModel,
    config: SamplerConfig,
    params: Params,
    inputs: PromptBatch,
    seeds: Int[Array, " B"],
    key: PRNGKeyArray,
    temperature: Float[Array, ""],
) -> RolloutBatch:
    """Complete every prompt `config.samples` times.

    Args:
      model: the policy.
      config: static settings.
      params: of the policy.
      inputs: prompts, right-padded.
      seeds: one per row, for instance the record's number.
      key: of this rollout.
      temperature: 0 for greedy decoding.

    Returns:
      Tokens (pad after the end), lengths, and the log-probability of each token at temperature 1.
    """
    params = jax.tree.map(lambda p: p.astype(config.compute_dtype), params)
    head = model.head(params)
    banned = _banned_mask(config, head.shape[1])
    capacity = config.max_new_tokens
    first, cache = model.prefill(params, inputs, samples=config.samples, capacity=capacity)
    hidden = jnp.repeat(first[:, None], config.samples, axis=1)
    keys = jax.vmap(lambda s: jax.random.fold_in(key, s))(seeds)
    keys = jax.vmap(
        lambda k: jax.vmap(lambda m: jax.random.fold_in(k, m))(jnp.arange(config.samples))
    )(keys)
    shape = (*hidden.shape[:2], capacity)
    out = RolloutBatch(
        jnp.full(shape, config.pad_id, jnp.int32),
        jnp.zeros(shape[:2], jnp.int32),
        # rows of a single token only fill the batch; nobody waits for them
        jnp.broadcast_to((inputs.lengths == 1)[:, None], shape[:2]),
        jnp.zeros(shape, jnp.float32),
    )
    start = inputs.lengths + inputs.rope_delta

    def one_token(loop: _Loop) -> _Loop:
        logits = (loop.hidden @ head).astype(jnp.float32)
        token = _choose(logits, banned, keys, loop.step, temperature)
        out = _record(loop.out, logits, token, loop.step, config)
        positions = jnp.broadcast_to((start + loop.step)[:, None], token.shape)
        hidden, cache = model.decode(
            params, token, positions, loop.step, loop.cache, unroll=config.unroll
        )
        return _Loop(loop.step + 1, hidden, cache, out)

    def unfinished(loop: _Loop) -> Bool[Array, ""]:
        return (loop.step < capacity) & ~jnp.all(loop.out.finished)

    return jax.lax.while_loop(unfinished, one_token, _Loop(jnp.int32(0), hidden, cache, out)).out


def _banned_mask(config: SamplerConfig, width: int) -> np.ndarray:
    banned = np.arange(width) >= config.vocab_size
    banned[list(config.banned_ids)] = True
    return banned


def _choose(logits, banned, keys, step, temperature) -> Int[Array, "B M"]:
    """Gumbel-max with one key per sample and step; plain argmax at temperature 0."""

    def disturbed() -> Float[Array, "B M V"]:
        draw = lambda k: jax.random.gumbel(jax.random.fold_in(k, step), logits.shape[-1:])  # noqa: E731
        return logits + temperature * jax.vmap(jax.vmap(draw))(keys)

    scaled = jax.lax.cond(temperature > 0, disturbed, lambda: logits)
    return jnp.argmax(jnp.where(banned, -jnp.inf, scaled), axis=-1).astype(jnp.int32)


def _record(out: RolloutBatch, logits, token, step, config: SamplerConfig) -> RolloutBatch:
    """Write a token and its log-prob for rows that still run; note who ended with it."""
    logp = jnp.take_along_axis(jax.nn.log_softmax(logits), token[..., None], axis=-1)[..., 0]
    running = ~out.finished
    token = jnp.where(running, token, config.pad_id)
    ended = jnp.isin(token, jnp.asarray(config.eos_ids))
    return RolloutBatch(
        out.tokens.at[:, :, step].set(token),
        out.lengths + running,
        out.finished | (running & ended),
        out.logp.at[:, :, step].set(jnp.where(running, logp, 0.0)),
    )
