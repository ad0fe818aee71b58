"""Probabilities of an answer that is one of two tokens: of the judge's words, of the verdict."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from r1reward_jax.prompts import parse_verdict
from r1reward_jax.types import Array, InputError, LanguageModel, Params, PromptBatch


def first_probability(
    model: LanguageModel, params: Params, inputs: PromptBatch, answers: Int[Array, "2"], dtype: Any
) -> Float[Array, " B"]:
    """P(first) / (P(first) + P(second)) of the token behind each row, float32.

    Args:
      model: gives the answers.
      params: its parameters.
      inputs: rows that end where the answer would stand, right-padded.
      answers: ids of the two answer tokens.
      dtype: of the forward pass.
    """
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    hidden = model.hidden(params, inputs, remat=False)
    last = jnp.take_along_axis(hidden, (inputs.lengths - 1)[:, None, None], axis=1)[:, 0]
    logits = (last @ model.head(params)[:, answers]).astype(jnp.float32)
    return jax.nn.softmax(logits, axis=-1)[:, 0]


def verdict_place(
    token_ids: Sequence[int], answers: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> int | None:
    """The place of the verdict's token in a completion; None without a verdict.

    Digits of an analysis do not count: what stands before the token must be the text up to the
    verdict, and nothing less.

    Args:
      token_ids: of the completion.
      answers: ids of the tokens "1" and "2".
      decode: ids to text.

    Raises:
      InputError: there is a verdict, but its digit is not a token of its own.
    """
    text = decode(token_ids)
    verdict = parse_verdict(text)
    if verdict is None:
        return None
    before = text[: text.index(str(verdict), text.index("<answer>") + len("<answer>"))]
    for place, token in enumerate(token_ids):
        if token == answers[verdict - 1] and decode(token_ids[:place]) == before:
            return place
    raise InputError(
        f"the verdict of {text[-40:]!r} shares a token with its neighbours, so its probability "
        "cannot be read; use a model whose tokenizer keeps digits apart"
    )
