"""The choice of the next token: greedy, or a draw from the (truncated) softmax.

A draw depends on (key, seed of its prompt, index of the sample, index of the token) and on nothing
else: not on its neighbours, the batch size or the order of prompts.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from r1reward_jax.types import InputError


@dataclass(frozen=True)
class SamplerConfig:
    """Settings that are fixed when the sampler is compiled."""

    samples: int
    """M, completions per prompt; they share one prefill and one prompt cache."""
    max_new_tokens: int
    """C, the longest completion."""
    eos_ids: tuple[int, ...]
    pad_id: int
    banned_ids: tuple[int, ...]
    vocab_size: int
    """Ids from here on only pad the vocabulary; they are never sampled."""
    unroll: bool
    """Unroll the decoder's layers in the loop: faster on CPU, slower to compile, and each layer's
    prompt cache is copied once per prefill."""
    compute_dtype: Any
    parallel_samples: int = 0
    """Samples of a prompt that are decoded at a time; 0: all of them."""
    top_k: int = 0
    """Draw from the k likeliest tokens; 0: from all."""
    top_p: float = 1.0
    """Draw from the fewest likeliest tokens with so much probability together."""
    repetition_penalty: float = 1.0
    """Tokens of the prompt or the completion so far: positive logits are divided by it, negative
    ones multiplied (arXiv 1909.05858, section 4.1)."""
    answers: tuple[int, ...] = ()
    """Two tokens whose logits are compared wherever a token is chosen; empty: none are."""

    def __post_init__(self) -> None:
        wrong = [
            f"{name} {getattr(self, name)}: expected {expected}"
            for name, right, expected in [
                ("samples", self.samples >= 1, "at least 1"),
                ("max_new_tokens", self.max_new_tokens >= 1, "at least 1"),
                ("parallel_samples", self.parallel_samples >= 0, "0 or more"),
                ("top_k", self.top_k >= 0, "0 or more"),
                ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
                ("repetition_penalty", 0 < self.repetition_penalty < np.inf, "above 0"),
                ("answers", len(self.answers) in (0, 2), "two tokens, or none"),
            ]
            if not right
        ]
        if wrong:
            raise InputError(f"rollout: {'; '.join(wrong)}")

    @property
    def active_samples(self) -> int:
        """A, samples of a prompt that are decoded at a time."""
        return min(self.parallel_samples or self.samples, self.samples)


def never_sampled(config: SamplerConfig, width: int) -> Bool[np.ndarray, " V"]:
    """Return True for banned ids and for those that only pad the vocabulary."""
    banned = np.arange(width) >= config.vocab_size
    banned[list(config.banned_ids)] = True
    return banned


def next_tokens(
    config: SamplerConfig,
    logits: Float[Array, "B A V"],
    seen: Bool[Array, "B A _"],
    key: PRNGKeyArray,
    seeds: Int[Array, " B"],
    sample_index: Int[Array, "B A"],
    token_index: Int[Array, "B A"],
    temperatures: Float[Array, "B A"],
) -> Int[Array, "B A"]:
    """Choose one token for every active sample.

    Args:
      config: its truncation, penalty and banned ids.
      logits: float32.
      seen: tokens that the repetition penalty is for; no columns without a penalty.
      key: of the rollout.
      seeds: one per prompt.
      sample_index: of each active sample, among the samples of its prompt.
      token_index: tokens that each sample has already.
      temperatures: of each sample; 0 takes the likeliest token.
    """
    scores = jnp.where(never_sampled(config, logits.shape[-1]), -jnp.inf, logits)
    if config.repetition_penalty != 1.0:
        p = config.repetition_penalty
        scores = jnp.where(seen, jnp.where(scores > 0, scores / p, scores * p), scores)

    def noisy_logits() -> Float[Array, "B A V"]:
        temperature = temperatures[..., None]
        # greedy samples among drawn ones: divided by 1, and their noise is multiplied by 0 below
        scaled_logits = scores / jnp.where(temperature > 0, temperature, 1.0)
        kept = truncated(scaled_logits, top_k=config.top_k, top_p=config.top_p)
        keys = _keys(key, seeds, sample_index, token_index)
        noise = jax.vmap(jax.vmap(lambda k: jax.random.gumbel(k, logits.shape[-1:])))
        # scores + temperature * noise has the argmax of scores / temperature + noise
        return jnp.where(kept, scores, -jnp.inf) + temperature * noise(keys)

    # Gumbel-max: the argmax of logits with this noise follows their softmax; where all samples are
    # greedy, no noise is drawn at all
    chosen_from = jax.lax.cond(jnp.any(temperatures > 0), noisy_logits, lambda: scores)
    return jnp.argmax(chosen_from, axis=-1).astype(jnp.int32)


def _keys(
    key: PRNGKeyArray,
    seeds: Int[Array, " B"],
    sample_index: Int[Array, "B A"],
    token_index: Int[Array, "B A"],
) -> Array:
    """Return a key for each sample and token."""
    fold = jax.random.fold_in
    # from outside in: prompt, sample, token
    one = lambda seed, sample, token: fold(fold(fold(key, seed), sample), token)  # noqa: E731
    return jax.vmap(jax.vmap(one, (None, 0, 0)))(seeds, sample_index, token_index)


def truncated(logits: Float[Array, "*B V"], *, top_k: int, top_p: float) -> Bool[Array, "*B V"]:
    """Return which tokens are left by top-k, then top-p (nucleus sampling, arXiv 1904.09751).

    Args:
      logits: at the temperature of the draw.
      top_k: keeps so many of the likeliest; 0 keeps all.
      top_p: keeps the likeliest until their probabilities sum to this; 1 keeps all. At least one
        token is left.
    """
    kept = jnp.ones(logits.shape, bool)
    if 0 < top_k < logits.shape[-1]:
        kept = logits >= jax.lax.top_k(logits, top_k)[0][..., -1:]
    if top_p < 1.0:
        descending = -jnp.sort(-jnp.where(kept, logits, -jnp.inf), axis=-1)
        probability = jax.nn.softmax(descending, axis=-1)
        # a token stays if those before it do not reach top_p: the one that crosses it stays, too
        before = jnp.cumsum(probability, axis=-1) - probability
        last = jnp.sum(before < top_p, axis=-1, keepdims=True) - 1
        kept &= logits >= jnp.take_along_axis(descending, jnp.maximum(last, 0), axis=-1)
    return kept
