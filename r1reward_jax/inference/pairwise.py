"""Compare two responses with a reasoning model, which sees them in both orders.

Its probability is that of the verdict's token behind its own greedy analysis.
"""

import contextlib
import math
from collections.abc import Sequence

from r1reward_jax.errors import about
from r1reward_jax.evals.judging import Asked, judge_asked, probability_of
from r1reward_jax.evals.types import ORDERS, Judgement, Order, PairJudgement
from r1reward_jax.prompts import Template, evaluator_prompt
from r1reward_jax.rollout.engine import Engine
from r1reward_jax.types import (
    Completion,
    EncodedPrompt,
    InputError,
    Params,
    PreferenceRecord,
    Verdict,
)

THREADS = 4
"""Threads that decode images and tokenise."""


class Reasoner:
    """Compares with a model that writes an analysis and a verdict."""

    def __init__(self, engine: Engine, params: Params, template: Template):
        """
        Args:
          engine: samples, and notes the logits of the answers 1 and 2; two slots are enough.
          params: of the model.
          template: of the prompts.
        """
        self.engine, self.params, self.template = engine, params, template

    def compare_batch(
        self, records: Sequence[PreferenceRecord], names: Sequence[str]
    ) -> list[PairJudgement]:
        """Judge every record in both orders.

        Args:
          records: labels do not count.
          names: what messages call them.

        Raises:
          InputError: a prompt is too long, or an image cannot be read.
        """
        both = zip(records, names, strict=True)
        judgements = self._judge([Asked(r, order, name) for r, name in both for order in ORDERS])
        orders = zip(judgements[::2], judgements[1::2], strict=True)
        return [PairJudgement(orders=pair) for pair in orders]

    def once(
        self, records: Sequence[PreferenceRecord], orders: Sequence[Order], names: Sequence[str]
    ) -> list[tuple[Verdict | None, float | None]]:
        """Return the verdict, and the probability that the first response is better, from one order
        each.

        Args:
          records: labels do not count.
          orders: in which their responses are shown.
          names: what messages call them.
        """
        asked = [Asked(*each) for each in zip(records, orders, names, strict=True)]
        return [(judgement.verdict, judgement.probability) for judgement in self._judge(asked)]

    def _judge(self, asked: Sequence[Asked]) -> list[Judgement]:
        judgements: list[Judgement] = []
        judge_asked(
            self.engine,
            self.params,
            asked,
            self.template,
            judgements.append,
            encode=self._encode,
            probability=self._probability,
            temperatures=(0.0,),
            seed=0,
            threads=THREADS,
        )
        return judgements

    def _encode(self, asked: Asked) -> EncodedPrompt:
        with concerning(asked.name):
            prompt = self.engine.processor.encode(evaluator_prompt(asked.as_shown(), self.template))
            limit = max(self.engine.processor.buckets.tokens)
            require_room("prompt", len(prompt.token_ids), limit)
        return prompt

    def _probability(self, completion: Completion) -> float | None:
        p = probability_of(self.engine, completion, self.template)
        return None if p is None else finite(p)


def finite(value: float) -> float:
    """Return the value. Raises InputError if it is infinite or no number."""
    if not math.isfinite(value):
        raise InputError("the model's output is not a finite number; try dtype='float32'")
    return value


def concerning(name: str) -> contextlib.AbstractContextManager[None]:
    """Put the name before the message of an InputError, if there is one."""
    return about(name) if name else contextlib.nullcontext()


def require_room(what: str, tokens: int, limit: int, knob: str = "max_prompt_tokens") -> None:
    """Raise InputError for a text of more tokens than there is room for; it names the knob."""
    if tokens > limit:
        raise InputError(f"the {what} has {tokens} tokens, {limit} are allowed; raise {knob}")
