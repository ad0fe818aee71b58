"""The training forward pass: log-probabilities of a batch's completion tokens, whole or in parts
that fit the memory."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from r1reward_jax.rl.logprobs import completion_hidden, token_logprobs
from r1reward_jax.types import LanguageModel, PairBatch, Params, TrainBatch


@dataclass(frozen=True)
class StepConfig:
    """What a step needs besides its loss."""

    chunk: int
    """Positions per chunk of the output head."""
    remat: bool
    """Recompute layers in the backward pass."""
    compute_dtype: Any
    """Dtype of the forward pass; parameters stay in theirs."""
    micro_tokens: int = 0
    """Tokens (rows times padded length) of a micro-batch at most; 0: the batch is not split."""
    row_shards: int = 1
    """Devices that the rows are split over; a micro-batch has a multiple of them."""
    frozen: tuple[str, ...] = ()
    """Top-level names of parameters that get no gradient."""


def batch_logprobs(
    model: LanguageModel, params: Params, batch: TrainBatch, config: StepConfig
) -> tuple[Float[Array, "B C"], Float[Array, "B C"]]:
    """Log-probabilities and entropies of a batch's completion tokens; images included."""
    params = jax.tree.map(lambda p: p.astype(config.compute_dtype), params)
    hidden = model.hidden(params, batch.inputs, remat=config.remat)
    hidden = completion_hidden(hidden, batch.prompt_lengths, batch.completions.shape[1])
    return token_logprobs(hidden, model.head(params), batch.completions, chunk=config.chunk)


def micro_batches(batch: TrainBatch | PairBatch, config: StepConfig) -> int:
    """In how many parts a batch goes through the model: the fewest that fit the token budget,
    or the smallest parts that the devices can share.

    Args:
      batch: its shapes decide, so the number is fixed when a step is compiled.
      config: micro_tokens and row_shards are read.
    """
    rows, width = batch.size
    if not config.micro_tokens:
        return 1
    parts = [n for n in range(1, rows + 1) if rows % n == 0 and rows // n % config.row_shards == 0]
    fitting = [n for n in parts if rows // n * width <= config.micro_tokens]
    return min(fitting, default=max(parts, default=1))


def split_rows(batch: Any, count: int) -> Any:
    """[R, …] arrays to [count, R / count, …]: part k takes every count-th row from k on, so that
    every device keeps the rows that it has."""
    return jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, count, *x.shape[1:]), 0, 1), batch)


def policy_logprobs(
    model: LanguageModel, params: Params, batch: TrainBatch, config: StepConfig
) -> Float[Array, "B C"]:
    """Log-probabilities of a batch's completion tokens, by micro-batches, without gradients."""
    count = micro_batches(batch, config)
    if count == 1:
        return batch_logprobs(model, params, batch, config)[0]
    logp = jax.lax.map(
        lambda part: batch_logprobs(model, params, part, config)[0], split_rows(batch, count)
    )
    return jnp.swapaxes(logp, 0, 1).reshape(batch.mask.shape)
