"""Compare two responses: which one is better, how sure the model is, and what it wrote.

A reasoning model sees them in both orders. Its probability is that of the verdict's token behind
its own greedy analysis; a scalar model's is that of Bradley and Terry, sigmoid(r_1 - r_2).
"""

import contextlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.special import expit

from r1reward_jax.errors import about
from r1reward_jax.evals.evaluate import BATCHES
from r1reward_jax.inference.results import ORDERS, Comparison, Opinion, Order
from r1reward_jax.models.reward_head import scores
from r1reward_jax.prompts import (
    Template,
    evaluator_prompt,
    parse_analysis,
    parse_verdict,
    response_prompt,
)
from r1reward_jax.rollout.answers import verdict_probability
from r1reward_jax.rollout.engine import Engine
from r1reward_jax.types import (
    Completion,
    EncodedPrompt,
    InputError,
    LanguageModel,
    Params,
    PreferenceRecord,
    Processor,
    Verdict,
    check,
    other,
)


class Asked(NamedTuple):
    """A record in one order."""

    record: PreferenceRecord
    shown: Order
    name: str
    """What a message calls the record; "" for nothing."""


class Reasoner:
    """Compares with a model that writes an analysis and a verdict."""

    def __init__(self, engine: Engine, params: Params, template: Template):
        """
        Args:
          engine: samples, and notes the logits of the answers 1 and 2; two rows are enough.
          params: of the model.
          template: of the prompts.
        """
        self.engine, self.params, self.template = engine, params, template

    def compare_batch(
        self, records: Sequence[PreferenceRecord], names: Sequence[str]
    ) -> list[Comparison]:
        """Both orders of every record.

        Args:
          records: labels do not count.
          names: what messages call them.

        Raises:
          InputError: a prompt is too long, or an image cannot be read.
        """
        both = zip(records, names, strict=True)
        found = self._opinions([Asked(r, order, name) for r, name in both for order in ORDERS])
        return [_comparison(*two) for two in zip(found[::2], found[1::2], strict=True)]

    def once(
        self, records: Sequence[PreferenceRecord], orders: Sequence[Order], names: Sequence[str]
    ) -> list[tuple[Verdict | None, float | None]]:
        """Verdict, and probability that the first response is better, from one order each.

        Args:
          records: labels do not count.
          orders: in which their responses are shown.
          names: what messages call them.
        """
        found = self._opinions([Asked(*a) for a in zip(records, orders, names, strict=True)])
        return [(opinion.verdict, opinion.probability) for opinion in found]

    def _opinions(self, asked: Sequence[Asked]) -> list[Opinion]:
        size, found = BATCHES * self.engine.slots, []
        for start in range(0, len(asked), size):
            found += self._part(asked[start : start + size])
        return found

    def _part(self, asked: Sequence[Asked]) -> list[Opinion]:
        """In one call of the engine."""
        prompts = [self._encode(each) for each in asked]
        rollout = self.engine.generate(self.params, prompts, samples=1, temperature=0.0, seed=0)
        completions = [completion for (completion,) in rollout.completions]
        answers, decode = self.engine.config.answers, self.engine.processor.decode
        return [
            _opinion(each.shown, c, verdict_probability(c, answers, decode))
            for each, c in zip(asked, completions, strict=True)
        ]

    def _encode(self, asked: Asked) -> EncodedPrompt:
        record = asked.record if asked.shown == ORDERS[0] else asked.record.swapped()
        with _concerning(asked.name):
            prompt = self.engine.processor.encode(evaluator_prompt(record, self.template))
            _require_room("prompt", len(prompt.token_ids), self.engine.processor)
        return prompt


class Scorer:
    """Compares with a scalar reward model, for which there are no orders."""

    def __init__(
        self,
        model: LanguageModel,
        params: Params,
        processor: Processor,
        *,
        sizes: Sequence[int],
        dtype: Any,
        put_batch: Any,
    ):
        """
        Args:
          model: the backbone.
          params: its parameters and the head's.
          processor: of the backbone.
          sizes: numbers of rows that batches may have, falling; two of a row are a comparison's.
          dtype: of the forward pass.
          put_batch: puts a host batch on the devices.
        """
        self.params, self.processor, self.put_batch = params, processor, put_batch
        self.sizes = sizes
        self._scores = jax.jit(lambda params, inputs: scores(model, params, inputs, dtype=dtype))

    def compare_batch(
        self, records: Sequence[PreferenceRecord], names: Sequence[str]
    ) -> list[Comparison]:
        """Every record.

        Args:
          records: labels do not count.
          names: what messages call them.

        Raises:
          InputError: a prompt or a response is too long, or an image cannot be read.
        """
        found, size = [], self.sizes[0] // 2
        for start in range(0, len(records), size):
            part = slice(start, start + size)
            found += self._part(records[part], names[part])
        return found

    def once(
        self, records: Sequence[PreferenceRecord], orders: Sequence[Order], names: Sequence[str]
    ) -> list[tuple[Verdict | None, float | None]]:
        """As `Reasoner.once`; the orders do not count."""
        return [(c.preferred, c.probability) for c in self.compare_batch(records, names)]

    def _part(self, records: Sequence[PreferenceRecord], names: Sequence[str]) -> list[Comparison]:
        """In one batch."""
        prompts, responses = [], []
        for record, name in zip(records, names, strict=True):
            with _concerning(name):
                prompt, texts = self._encode(record)
            prompts += [prompt, prompt]
            responses += texts
        longest = max(map(len, responses))
        room = min(size for size in self.processor.buckets.tokens if size >= longest)
        rows = min(size for size in self.sizes if size >= len(prompts))
        inputs = self.processor.collate(prompts, responses, rows=rows, completion_capacity=room)
        check(inputs)
        found = np.asarray(self._scores(self.params, self.put_batch(inputs)))[: len(prompts)]
        return [_scored(_finite(float(a)), _finite(float(b))) for a, b in found.reshape(-1, 2)]

    def _encode(self, record: PreferenceRecord) -> tuple[EncodedPrompt, list[list[int]]]:
        """The prompt, and both responses."""
        prompt = self.processor.encode(response_prompt(record))
        responses = [self.processor.encode_completion(text) for text in record.responses]
        _require_room("prompt", len(prompt.token_ids), self.processor)
        _require_room("longer response", max(map(len, responses)), self.processor)
        return prompt, responses


def _opinion(shown: Order, completion: Completion, chance: float | None) -> Opinion:
    """From places to responses.

    Args:
      shown: the order.
      completion: what was written.
      chance: of the verdict 1 as written.
    """
    position, chance = parse_verdict(completion.text), chance and _finite(chance)
    kept = shown == ORDERS[0]
    return Opinion(
        shown,
        completion.text,
        parse_analysis(completion.text),
        position,
        position if kept or position is None else other(position),
        chance if kept or chance is None else 1 - chance,
        completion.finish_reason,
    )


def _comparison(ahead: Opinion, behind: Opinion) -> Comparison:
    """Of the opinions from both orders."""
    known = [o.probability for o in (ahead, behind) if o.probability is not None]
    probability = sum(known) / len(known) if known else None
    agree = ahead.verdict is not None and ahead.verdict == behind.verdict
    return Comparison(_winner(probability), probability, agree, (ahead, behind))


def _scored(first: float, second: float) -> Comparison:
    """Of two scores."""
    probability = float(expit(first - second))
    preferred = _winner(probability)
    return Comparison(preferred, probability, preferred is not None, scores=(first, second))


def _winner(probability: float | None) -> Verdict | None:
    """Of the probability that a is better."""
    if probability is None or probability == 0.5:
        return None
    return 1 if probability > 0.5 else 2


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise InputError("the model's output is not a finite number; try dtype='float32'")
    return value


def _concerning(name: str) -> contextlib.AbstractContextManager[None]:
    """Put the name before the message of an InputError, if there is one."""
    return about(name) if name else contextlib.nullcontext()


def _require_room(what: str, tokens: int, processor: Processor) -> None:
    limit = max(processor.buckets.tokens)
    if tokens > limit:
        raise InputError(
            f"the {what} has {tokens} tokens, {limit} are allowed; raise max_prompt_tokens"
        )
