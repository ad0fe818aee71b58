"""A scalar reward model before the same evaluator: the response with the higher score wins."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from scipy.special import expit

from r1reward_jax.console import counter
from r1reward_jax.evals.evaluate import require_labels
from r1reward_jax.evals.types import Judgement
from r1reward_jax.models.reward_head import scores
from r1reward_jax.prompts import response_prompt
from r1reward_jax.types import (
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
    """Tokens of both responses, each with its end token.

    Raises:
      InputError: one is longer than `capacity` tokens.
    """
    first, second = (processor.encode_completion(text) for text in record.responses)
    longest = max(len(first), len(second))
    if longest > capacity:
        raise InputError(
            f"record {record.id}: a response of {longest} tokens is longer than "
            f"scalar.max_response_tokens={capacity}"
        )
    return first, second


def pair_misfit(record: PreferenceRecord, processor: Processor, capacity: int) -> str | None:
    """Why a record is too large for a batch; None if it is not."""
    length = max(len(processor.encode_completion(text)) for text in record.responses)
    if length > capacity:
        return f"{length} tokens of a response, scalar.max_response_tokens is {capacity}"
    return processor.misfit(response_prompt(record))


class ScalarModel:
    """Scores the responses of records, one conversation at a time, in batches of `rows`."""

    def __init__(
        self,
        model: LanguageModel,
        params: Params,
        processor: Processor,
        *,
        rows: int,
        max_response_tokens: int,
        compute_dtype: Any,
        put_batch: Callable[[Any], Any],
    ):
        """
        Args:
          model: the backbone.
          params: its parameters and the head's (`models.reward_head`), on the mesh.
          processor: of the backbone.
          rows: responses per batch; the two of a record stay together.
          max_response_tokens: room for a response with its end token.
          compute_dtype: of the forward pass.
          put_batch: puts a host batch on the mesh.
        """
        self.params, self.processor, self.put_batch = params, processor, put_batch
        self.rows, self.capacity = rows, max_response_tokens
        self._scores = jax.jit(lambda p, inputs: scores(model, p, inputs, dtype=compute_dtype))

    def fits(self, record: PreferenceRecord) -> bool:
        """Whether the prompt and both responses have room."""
        return pair_misfit(record, self.processor, self.capacity) is None

    def score(self, records: Sequence[PreferenceRecord]) -> list[tuple[float, float]]:
        """The scores of the two responses of each record.

        Raises:
          InputError: a prompt or a response is too long.
        """
        found: list[tuple[float, float]] = []
        size = max(1, self.rows // 2)
        for start in range(0, len(records), size):
            part = records[start : start + size]
            prompts = [self.processor.encode(response_prompt(r)) for r in part]
            inputs = self.processor.collate(
                [prompt for prompt in prompts for _ in range(2)],
                [ids for r in part for ids in encode_responses(r, self.processor, self.capacity)],
                rows=2 * size,
                completion_capacity=self.capacity,
            )
            check(inputs)
            out = np.asarray(self._scores(self.params, self.put_batch(inputs)))
            found += [(float(a), float(b)) for a, b in out[: 2 * len(part)].reshape(-1, 2)]
        return found


def judge(scorer: ScalarModel, records: Sequence[PreferenceRecord]) -> list[Judgement]:
    """Judgements in both orders, as `evaluate.judge` gives them: 2i and 2i + 1 are of record i.

    A score does not depend on the order, so each response is scored once.

    Raises:
      InputError: a record has no label, or there are no records.
    """
    found: list[Judgement] = []
    judge_each(scorer, records, found.append)
    return found


def judge_each(
    scorer: ScalarModel,
    records: Sequence[PreferenceRecord],
    emit: Callable[[Judgement], Any],
    done: int = 0,
) -> None:
    """As `judge`, each judgement as soon as it is there; records that are too long are skipped.

    Args:
      scorer, records: as in `judge`.
      emit: gets the judgements, in order.
      done: judgements that are known already; they are not emitted.
    """
    require_labels(records)
    size = max(1, scorer.rows // 2)
    with counter("scoring", 2 * len(records), done) as one_more:
        for start in range(done // 2 // size * size, len(records), size):
            part = records[start : start + size]
            fits = [scorer.fits(record) for record in part]
            scores = iter(scorer.score([r for r, fit in zip(part, fits, strict=True) if fit]))
            found = [
                judgement
                for record, fit in zip(part, fits, strict=True)
                for judgement in _both(record, next(scores) if fit else None)
            ]
            for judgement in found[max(0, done - 2 * start) :]:
                emit(judgement)
                one_more()


def _both(
    record: PreferenceRecord, scores: tuple[float, float] | None
) -> tuple[Judgement, Judgement]:
    """The judgements of a record in both orders; skipped without scores."""
    if scores is None:
        one, two = (
            Judgement(r, (None,), skipped=True, probabilities=(None,))
            for r in (record, record.swapped())
        )
        return one, two
    one, two = (
        Judgement(shown, (_verdict(*pair),), scores=pair, probabilities=(_first(*pair),))
        for shown, pair in [(record, scores), (record.swapped(), scores[::-1])]
    )
    return one, two


def _first(first: float, second: float) -> float | None:
    """P(first is better) by Bradley and Terry, the sigmoid of the difference."""
    gap = first - second
    return float(expit(gap)) if math.isfinite(gap) else None


def _verdict(first: float, second: float) -> Verdict | None:
    """The response with the higher score; None on a tie, or if a score is not a number."""
    return 1 if first > second else 2 if second > first else None
