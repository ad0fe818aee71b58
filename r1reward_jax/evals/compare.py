"""Compare two responses: which one is better, how sure the model is, and what it wrote.

A reasoning model sees them in both orders. Its probability is that of the verdict's token behind
its own greedy analysis; a scalar model's is that of Bradley and Terry, sigmoid(r_1 - r_2).
"""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import numpy as np

from r1reward_jax.models.reward_head import scores
from r1reward_jax.prompts import (
    Template,
    evaluator_prompt,
    parse_analysis,
    parse_verdict,
    response_prompt,
)
from r1reward_jax.rollout.answers import first_probability, verdict_place
from r1reward_jax.rollout.engine import Engine
from r1reward_jax.types import (
    Completion,
    EncodedPrompt,
    InputError,
    LanguageModel,
    Params,
    PreferenceRecord,
    Verdict,
    check,
    other,
)

NAMES = {1: "a", 2: "b"}
"""What a text calls the two responses."""
ORDERS: tuple[tuple[Verdict, Verdict], ...] = ((1, 2), (2, 1))
"""In which they are shown."""


@dataclass(frozen=True)
class Opinion:
    """What a reasoning model says when it sees the two responses, a (1) and b (2), in one order."""

    shown: tuple[Verdict, Verdict]
    """The order: (1, 2) where a is shown first."""
    text: str
    """All that the model wrote."""
    analysis: str
    """The part of it that argues."""
    position: Verdict | None
    """The verdict as written: the place, in this order, of the better response."""
    verdict: Verdict | None
    """The better response: 1 for a, 2 for b. None if the text has no verdict."""
    probability: float | None
    """That a is better, behind this analysis; None without a verdict."""
    finish_reason: Literal["eos", "length"]
    """Whether the model ended its text, or ran into the limit."""

    def __str__(self) -> str:
        first = NAMES[self.shown[0]]
        if self.verdict is None or self.probability is None:
            cut = ", cut off at the limit" if self.finish_reason == "length" else ""
            head, body = f"no verdict{cut}", self.text
        else:
            said = f"verdict {self.position}, which is {_named(self.verdict, self.probability)}"
            head, body = said, self.analysis
        return f"{first} shown first: {head}\n{textwrap.indent(body.strip(), '    ')}".rstrip()


@dataclass(frozen=True)
class Comparison:
    """Which of two responses, a (1) and b (2), is better."""

    preferred: Verdict | None
    """The response with more than half the probability; None at one half, and without verdict."""
    probability: float | None
    """That a is better: the mean over the orders with a verdict; None if there is none."""
    agree: bool
    """Whether both orders name the same response."""
    orders: tuple[Opinion, ...] = field(repr=False, default=())
    """With a shown first, with b shown first; empty from a scalar model, which sees no order."""
    scores: tuple[float, float] | None = None
    """Of a and b, from a scalar model."""

    def __str__(self) -> str:
        if self.probability is None:
            return "\n".join(["no verdict", *map(str, self.orders)])
        said = "undecided: both have probability 0.500"
        if self.preferred:
            said = f"better is {_named(self.preferred, self.probability)}"
        if self.scores is not None:
            return f"{said}; scores {self.scores[0]:.4g} and {self.scores[1]:.4g}"
        missing = any(o.verdict is None for o in self.orders)
        how = "one order has no verdict" if missing else "the orders disagree"
        said += f"; {'both orders agree' if self.agree else how}"
        return "\n".join([said, *map(str, self.orders)])


def _named(verdict: Verdict, probability: float) -> str:
    """A response and its own probability, for the reader.

    Args:
      verdict: which one.
      probability: that a is better.
    """
    return f"{NAMES[verdict]}, probability {probability if verdict == 1 else 1 - probability:.3f}"


class Reasoner:
    """Compares with a model that writes an analysis and a verdict; both orders in one batch."""

    def __init__(self, engine: Engine, params: Params, template: Template):
        """
        Args:
          engine: samples; two rows are enough.
          params: of the model.
          template: of the prompts.
        """
        self.engine, self.params, self.template = engine, params, template
        processor: Any = engine.processor
        self.answers = [processor.token_id(digit) for digit in "12"]
        answers, dtype = np.asarray(self.answers, np.int32), engine.config.compute_dtype
        self._first = jax.jit(
            lambda params, inputs: first_probability(engine.model, params, inputs, answers, dtype)
        )

    def compare(self, record: PreferenceRecord) -> Comparison:
        """Raises InputError if the prompt is too long."""
        encode, both = self.engine.processor.encode, (record, record.swapped())
        prompts = [encode(evaluator_prompt(shown, self.template)) for shown in both]
        for prompt in prompts:
            _require_room("prompt", len(prompt.token_ids), self.engine.processor)
        rollout = self.engine.generate(self.params, prompts, samples=1, temperature=0.0, seed=0)
        completions = [completion for (completion,) in rollout.completions]
        chances = self._probabilities(prompts, completions)
        ahead, behind = (
            _opinion(order, completion, chance)
            for order, completion, chance in zip(ORDERS, completions, chances, strict=True)
        )
        known = [o.probability for o in (ahead, behind) if o.probability is not None]
        probability = sum(known) / len(known) if known else None
        agree = ahead.verdict is not None and ahead.verdict == behind.verdict
        return Comparison(_winner(probability), probability, agree, (ahead, behind))

    def _probabilities(
        self, prompts: Sequence[EncodedPrompt], completions: Sequence[Completion]
    ) -> list[float | None]:
        """Of the verdict 1, for each row; None without verdict. One program per size of prompts:
        there is room for the longest completion."""
        processor, config = self.engine.processor, self.engine.config
        places = [verdict_place(c.token_ids, self.answers, processor.decode) for c in completions]
        if places == [None] * len(places):
            return [None] * len(places)
        inputs = processor.collate(
            prompts,
            [c.token_ids[: place or 0] for c, place in zip(completions, places, strict=True)],
            completion_capacity=config.max_new_tokens,
        )
        check(inputs)
        found = np.asarray(self._first(self.params, self.engine.put_batch(inputs)))
        return [
            None if place is None else _finite(float(chance))
            for chance, place in zip(found, places, strict=True)
        ]


class Scorer:
    """Compares with a scalar reward model."""

    def __init__(
        self, model: LanguageModel, params: Params, processor: Any, *, dtype: Any, put_batch: Any
    ):
        """
        Args:
          model: the backbone.
          params: its parameters and the head's.
          processor: of the backbone.
          dtype: of the forward pass.
          put_batch: puts a host batch on the devices.
        """
        self.params, self.processor, self.put_batch = params, processor, put_batch
        self._scores = jax.jit(lambda params, inputs: scores(model, params, inputs, dtype=dtype))

    def compare(self, record: PreferenceRecord) -> Comparison:
        """Raises InputError if the prompt or a response is too long."""
        processor, prompt = self.processor, self.processor.encode(response_prompt(record))
        responses = [processor.encode_completion(text) for text in record.responses]
        _require_room("prompt", len(prompt.token_ids), processor)
        longest = max(map(len, responses))
        _require_room("longer response", longest, processor)
        room = min(size for size in processor.buckets.tokens if size >= longest)
        inputs = processor.collate([prompt, prompt], responses, completion_capacity=room)
        check(inputs)
        found = self._scores(self.params, self.put_batch(inputs))
        first, second = (_finite(float(score)) for score in np.asarray(found))
        probability = 0.5 + 0.5 * math.tanh((first - second) / 2)  # the sigmoid, never overflows
        preferred = _winner(probability)
        return Comparison(preferred, probability, preferred is not None, scores=(first, second))


def _opinion(
    shown: tuple[Verdict, Verdict], completion: Completion, chance: float | None
) -> Opinion:
    """From places to responses.

    Args:
      shown: the order.
      completion: what was written.
      chance: of the verdict 1 as written.
    """
    position = parse_verdict(completion.text)
    kept = shown == (1, 2)
    return Opinion(
        shown,
        completion.text,
        parse_analysis(completion.text),
        position,
        position if kept or position is None else other(position),
        chance if kept or chance is None else 1 - chance,
        completion.finish_reason,
    )


def _winner(probability: float | None) -> Verdict | None:
    """Of the probability that a is better."""
    if probability is None or probability == 0.5:
        return None
    return 1 if probability > 0.5 else 2


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise InputError("the model's output is not a finite number; try dtype='float32'")
    return value


def _require_room(what: str, tokens: int, processor: Any) -> None:
    limit = max(processor.buckets.tokens)
    if tokens > limit:
        raise InputError(
            f"the {what} has {tokens} tokens, {limit} are allowed; raise max_prompt_tokens"
        )
