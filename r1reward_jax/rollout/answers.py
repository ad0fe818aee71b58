"""Probabilities of an answer that is one of two tokens: a judge's word, or a verdict's label."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from r1reward_jax.responses import ANSWER, ResponseFormat
from r1reward_jax.types import (
    Array,
    Completion,
    InputError,
    LanguageModel,
    Params,
    PromptBatch,
    Tokenizer,
)


def word_probability(
    model: LanguageModel,
    params: Params,
    inputs: PromptBatch,
    first: Int[Array, " _"],
    second: Int[Array, " _"],
    dtype: Any,
) -> tuple[Float[Array, " B"], Float[Array, " B"], Int[Array, " B"]]:
    """Return what the model says behind each row, of two words with several spellings.

    Args:
      model: computes the hidden states.
      params: its parameters.
      inputs: rows that end where the answer would stand, right-padded.
      first: ids of the tokens that stand for the first word.
      second: ids of those that stand for the second; none is in both.
      dtype: of the forward pass.

    Returns:
      P(first) / (P(first) + P(second)), float32; P(first) + P(second), of the whole vocabulary;
      and the id of the likeliest token.
    """
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    hidden = model.hidden(params, inputs, remat=False)
    last = jnp.take_along_axis(hidden, (inputs.lengths - 1)[:, None, None], axis=1)[:, 0]
    logits = (last @ model.head(params)).astype(jnp.float32)
    one, two = (jax.nn.logsumexp(logits[:, ids], axis=-1) for ids in (first, second))
    both = jnp.exp(jnp.logaddexp(one, two) - jax.nn.logsumexp(logits, axis=-1))
    return jax.nn.sigmoid(one - two), both, jnp.argmax(logits, axis=-1)


def answer_tokens(processor: Tokenizer, form: ResponseFormat) -> tuple[int, ...]:
    """Return the ids of the two labels of a verdict; none where a label is not one token."""
    try:
        first, second = (processor.token_id(label) for label in form.labels)
    except InputError:
        return ()
    return first, second


def verdict_place(
    token_ids: Sequence[int],
    answers: Sequence[int],
    decode: Callable[[Sequence[int]], str],
    form: ResponseFormat = ANSWER,
) -> int | None:
    """Return the index of the verdict's token in a completion; None without a verdict.

    Labels in an analysis do not count: what stands before the token must be the text up to the
    verdict, and nothing less.

    Args:
      token_ids: of the completion.
      answers: ids of the two labels.
      decode: ids to text.
      form: where the verdict stands.

    Raises:
      InputError: there is a verdict, but its label is not a token of its own.
    """
    text = decode(token_ids)
    found = form.find(text)
    if found is None:
        return None
    verdict, at = found
    for place in reversed(range(len(token_ids))):  # it mostly stands near the end
        if token_ids[place] == answers[verdict - 1] and decode(token_ids[:place]) == text[:at]:
            return place
    raise InputError(
        f"the verdict of {text[-40:]!r} shares a token with its neighbours, so its probability "
        "cannot be read; use a model whose tokenizer keeps digits apart"
    )


def verdict_probability(
    completion: Completion,
    answers: Sequence[int],
    decode: Callable[[Sequence[int]], str],
    form: ResponseFormat = ANSWER,
) -> float | None:
    """Return P(first label) / (P(first) + P(second)) where the verdict was chosen: the sigmoid of
    the gap between their logits, at temperature 1. None without a verdict.

    Args:
      completion: with its `answer_gaps`.
      answers: ids of the two labels.
      decode: ids to text.
      form: where the verdict stands.

    Raises:
      InputError: as `verdict_place`.
    """
    if completion.answer_gaps is None:
        return None
    place = verdict_place(completion.token_ids, answers, decode, form)
    return (
        None if place is None else 0.5 + 0.5 * math.tanh(float(completion.answer_gaps[place]) / 2)
    )
