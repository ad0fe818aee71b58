"""The forward pass of prompts before their completions are decoded."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from r1reward_jax.rollout.sampler import SamplerConfig
from r1reward_jax.types import LanguageModel, Params, PromptBatch


class Prefilled(NamedTuple):
    """What the forward pass of R prompts leaves: a prefill batch."""

    hidden: Float[Array, "R D"]
    """Hidden state at the last token."""
    k: Float[Array, "L R K S H"]
    v: Float[Array, "L R K S H"]
    lengths: Int[Array, " R"]
    start: Int[Array, " R"]
    """M-RoPE position of the first token behind the prompt."""
    seen: Bool[Array, "R _"]
    """Tokens of the prompt, for the repetition penalty; no columns without one."""


def prefill(
    model: LanguageModel, config: SamplerConfig, params: Params, inputs: PromptBatch
) -> Prefilled:
    """Run the forward pass of R prompts.

    Args:
      model: the policy.
      config: static settings.
      params: of the policy, in the dtype of the forward pass.
      inputs: prompts; rows of a single token only pad the batch.
    """
    # the completion cache is that of the slots: the smallest one is asked for here, and dropped
    hidden, cache = model.prefill(params, inputs, samples=1, capacity=1)
    seen = jnp.zeros((len(hidden), _penalty_columns(model, config, params)), bool)
    if seen.shape[1]:
        real = jnp.arange(inputs.tokens.shape[1]) < inputs.lengths[:, None]
        mark = jax.vmap(lambda row, ids, is_real: row.at[ids].max(is_real))
        seen = mark(seen, inputs.tokens, real)
    start = inputs.lengths + inputs.rope_delta
    return Prefilled(hidden, cache.prompt_k, cache.prompt_v, inputs.lengths, start, seen)


def _penalty_columns(model: LanguageModel, config: SamplerConfig, params: Params) -> int:
    """Return V where the penalty is used, else 0."""
    if config.repetition_penalty == 1.0:
        return 0
    return jax.eval_shape(model.head, params).shape[1]
