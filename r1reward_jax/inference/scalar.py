"""A scalar reward model: the response with the higher score wins, for which there are no orders.

The probability of its verdict is that of Bradley and Terry, sigmoid(r_1 - r_2).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from r1reward_jax.console import counter
from r1reward_jax.errors import record_name
from r1reward_jax.evals.evaluate import pair_up, require_labels
from r1reward_jax.evals.types import ORDERS, Judgement, Order, PairJudgement, bradley_terry
from r1reward_jax.inference.pairwise import concerning, finite, require_room
from r1reward_jax.models.reward_head import scores
from r1reward_jax.prompts import response_prompt
from r1reward_jax.types import (
    EncodedPrompt,
    InputError,
    LanguageModel,
    Params,
    PreferenceRecord,
    Processor,
    Verdict,
    check,
)


def encode_responses(
    record: PreferenceRecord, processor: Processor, capacity: int
) -> tuple[list[int], list[int]]:
    """Return the tokens of both responses, each with its end token.

    Raises:
      InputError: one is longer than `capacity` tokens.
    """
    first, second = (processor.encode_completion(text) for text in record.responses)
    longest = max(len(first), len(second))
    if longest > capacity:
        raise InputError(
            f"{record_name(record.id)}: a response of {longest} tokens is longer than "
            f"scalar.max_response_tokens={capacity}"
        )
    return first, second


def pair_misfit(record: PreferenceRecord, processor: Processor, capacity: int) -> str | None:
    """Return why a record is too large for a batch; None if it is not."""
    length = max(len(processor.encode_completion(text)) for text in record.responses)
    if length > capacity:
        return f"{length} tokens of a response, scalar.max_response_tokens is {capacity}"
    return processor.misfit(response_prompt(record))


def problem(record: PreferenceRecord, processor: Processor, capacity: int) -> str | None:
    """Return why a record cannot be scored, as far as the headers of its pictures tell; None if it
    can."""
    try:
        return pair_misfit(record, processor, capacity)
    except InputError as error:
        return str(error)


class ScalarModel:
    """Scores the responses of records, one conversation at a time, in batches."""

    def __init__(
        self,
        model: LanguageModel,
        params: Params,
        processor: Processor,
        *,
        sizes: Sequence[int],
        capacities: Sequence[int],
        knob: str,
        compute_dtype: Any,
        put_batch: Callable[[Any], Any],
    ):
        """
        Args:
          model: the backbone.
          params: its parameters and the head's (`models.reward_head`), on the mesh.
          processor: of the backbone.
          sizes: rows that a batch may have; it has the fewest that hold its responses, of which the
            two of a record stay together.
          capacities: rooms for a response with its end token, of which a batch has the smallest.
          knob: what a message calls the largest of them.
          compute_dtype: of the forward pass.
          put_batch: puts a host batch on the mesh.
        """
        self.params, self.processor, self.put_batch = params, processor, put_batch
        self.sizes = sorted({2 * max(1, size // 2) for size in sizes})
        self.capacities, self.knob = sorted(capacities), knob
        self._scores = jax.jit(lambda p, inputs: scores(model, p, inputs, dtype=compute_dtype))

    @property
    def pairs(self) -> int:
        """Records of the largest batch."""
        return self.sizes[-1] // 2

    def misfit(self, record: PreferenceRecord) -> str | None:
        """Return why a record cannot be scored, as `problem` does."""
        return problem(record, self.processor, self.capacities[-1])

    def unreadable(self, record: PreferenceRecord) -> str | None:
        """Return why a record cannot be encoded, its pictures decoded; None if it can."""
        try:
            self._encode(record)
        except InputError as error:
            return str(error)
        return None

    def score(
        self, records: Sequence[PreferenceRecord], names: Sequence[str] | None = None
    ) -> list[tuple[float, float]]:
        """Return the scores of the two responses of each record.

        Args:
          records: labels do not count.
          names: what messages call them; None for their ids.

        Raises:
          InputError: a prompt or a response is too long, an image cannot be read, or a score is not
            a finite number.
        """
        names = [record_name(r.id) for r in records] if names is None else names
        found: list[tuple[float, float]] = []
        for start in range(0, len(records), self.pairs):
            part = slice(start, start + self.pairs)
            found += self._score(records[part], names[part])
        return found

    def compare_batch(
        self, records: Sequence[PreferenceRecord], names: Sequence[str]
    ) -> list[PairJudgement]:
        """Compare as `Reasoner.compare_batch` does; there are no orders.

        Raises:
          InputError: as `score`.
        """
        scored = self.score(records, names)
        return [PairJudgement(scores=pair) for pair in scored]

    def once(
        self, records: Sequence[PreferenceRecord], orders: Sequence[Order], names: Sequence[str]
    ) -> list[tuple[Verdict | None, float | None]]:
        """Compare as `Reasoner.once` does; the orders do not count."""
        return [(pair.preferred, pair.probability) for pair in self.compare_batch(records, names)]

    def _score(
        self, records: Sequence[PreferenceRecord], names: Sequence[str]
    ) -> list[tuple[float, float]]:
        """Score the records of one batch."""
        prompts, responses = [], []
        for record, name in zip(records, names, strict=True):
            with concerning(name):
                prompt, texts = self._encode(record)
            prompts += [prompt, prompt]
            responses += texts
        longest = max(map(len, responses))
        inputs = self.processor.collate(
            prompts,
            responses,
            rows=next(size for size in self.sizes if size >= len(prompts)),
            completion_capacity=next(size for size in self.capacities if size >= longest),
        )
        check(inputs)
        out = np.asarray(self._scores(self.params, self.put_batch(inputs)))
        # rows behind those of the records are padding
        scored = [(float(a), float(b)) for a, b in out[: len(prompts)].reshape(-1, 2)]
        for name, pair in zip(names, scored, strict=True):
            with concerning(name):  # a damaged model, or one that overflows
                _ = finite(pair[0]), finite(pair[1])
        return scored

    def _encode(self, record: PreferenceRecord) -> tuple[EncodedPrompt, list[list[int]]]:
        """Return the tokens of the prompt, and of both responses."""
        prompt = self.processor.encode(response_prompt(record))
        responses = [self.processor.encode_completion(text) for text in record.responses]
        require_room("prompt", len(prompt.token_ids), max(self.processor.buckets.tokens))
        longest = max(map(len, responses))
        require_room("longer response", longest, self.capacities[-1], self.knob)
        return prompt, responses


def judge(scorer: ScalarModel, records: Sequence[PreferenceRecord]) -> list[PairJudgement]:
    """Judge records in both orders, as `evaluate.judge` does.

    A score does not depend on the order, so each response is scored once.

    Raises:
      InputError: a record has no label, or there are no records.
    """
    judgements: list[Judgement] = []
    judge_each(scorer, records, judgements.append)
    return pair_up(records, judgements)


def judge_each(
    scorer: ScalarModel,
    records: Sequence[PreferenceRecord],
    emit: Callable[[Judgement], Any],
    done: int = 0,
) -> None:
    """Judge as `judge` does, and emit each judgement as soon as it is there; records that cannot be
    shown are skipped, with the reason.

    Args:
      scorer, records: as in `judge`.
      emit: gets the judgements, in order.
      done: judgements that are known already; they are not emitted.
    """
    require_labels(records)
    size = scorer.pairs
    with counter("scoring", 2 * len(records), done) as one_more:
        # a batch of which something is missing is done again as a whole, as in `evaluate`
        for start in range(done // 2 // size * size, len(records), size):
            part = records[start : start + size]
            judgements = [
                judgement
                for record, scored in zip(part, _scored(scorer, part), strict=True)
                for judgement in _both_orders(record, scored)
            ]
            for judgement in judgements[max(0, done - 2 * start) :]:
                emit(judgement)
                one_more()


def _scored(
    scorer: ScalarModel, records: Sequence[PreferenceRecord]
) -> list[tuple[float, float] | str]:
    """Return the scores of each record; of one that cannot be shown, the reason."""
    reasons = [scorer.misfit(record) for record in records]
    fit = [r for r, reason in zip(records, reasons, strict=True) if reason is None]
    try:
        scores = iter(scorer.score(fit))
    except InputError:  # a picture that cannot be decoded, which its header does not tell
        reasons = [
            reason or scorer.unreadable(r) for r, reason in zip(records, reasons, strict=True)
        ]
        fit = [r for r, reason in zip(records, reasons, strict=True) if reason is None]
        scores = iter(scorer.score(fit))
    return [next(scores) if reason is None else reason for reason in reasons]


def _both_orders(
    record: PreferenceRecord, scored: tuple[float, float] | str
) -> tuple[Judgement, Judgement]:
    """Return the judgements of a record in both orders; skipped for a reason instead of scores."""
    labels = record.preferred, record.swapped().preferred
    if isinstance(scored, str):
        skipped = (
            Judgement(label, None, skipped=True, reason=scored, shown=shown)
            for label, shown in zip(labels, ORDERS)
        )
        one, two = skipped
        return one, two
    one, two = (
        Judgement(label, _verdict(*pair), _probability(*pair), shown=shown, scores=pair)
        for label, shown, pair in zip(labels, ORDERS, (scored, (scored[1], scored[0])))
    )
    return one, two


def _probability(first: float, second: float) -> float | None:
    """Return the probability that the first is better; None if a score is not a number."""
    return bradley_terry(first, second) if math.isfinite(first - second) else None


def _verdict(first: float, second: float) -> Verdict | None:
    """Return the response with the higher score; None on a tie, or if a score is not a number."""
    return 1 if first > second else 2 if second > first else None
