"""How long prompts and completions of records are, and whether batches have room for them."""

from dataclasses import dataclass

from r1reward_jax.data.preferences import Annotation
from r1reward_jax.prompts import Template, evaluator_prompt, response_prompt
from r1reward_jax.types import PreferenceRecord, Processor, Record

SPARE = 64
"""Tokens by which the two orders of a record differ at most: words that grow together, or do not,
where its parts meet."""


@dataclass(frozen=True)
class Measured:
    """How long an item is, and why it does not fit."""

    prompt: int
    """Tokens of its prompt, visual ones included."""
    misfit: str | None = None
    """Why no batch can hold it; None if one can."""
    completion: int | None = None
    """Tokens of its completion, or of its longer response; None if it has none."""


def measure_both_orders(record: Record, template: Template, processor: Processor) -> Measured:
    """Measure a record whose prompt must fit in both orders. Raises InputError for an image that
    cannot be read."""
    size = processor.measure(evaluator_prompt(record, template))
    buckets = processor.buckets
    if size.misfit(buckets, SPARE) is None:
        return Measured(size.tokens)
    swapped = processor.measure(evaluator_prompt(record.swapped(), template))
    return Measured(size.tokens, size.misfit(buckets) or swapped.misfit(buckets))


def measure_annotation(
    annotation: Annotation, template: Template, processor: Processor, capacity: int
) -> Measured:
    """Measure an annotated record, of which `capacity` tokens are imitated at most. Raises
    InputError for an image that cannot be read."""
    length = len(processor.encode_completion(annotation.completion))
    size = processor.measure(evaluator_prompt(annotation.record, template))
    reason = size.misfit(processor.buckets)
    if length > capacity:
        reason = f"{length} tokens to imitate, sft.max_completion_tokens is {capacity}"
    return Measured(size.tokens, reason, length)


def measure_responses(record: PreferenceRecord, processor: Processor, capacity: int) -> Measured:
    """Measure a record whose responses are scored one by one, each of `capacity` tokens at most.
    Raises InputError for an image that cannot be read."""
    length = max(len(processor.encode_completion(text)) for text in record.responses)
    size = processor.measure(response_prompt(record))
    reason = size.misfit(processor.buckets)
    if length > capacity:
        reason = f"{length} tokens of a response, scalar.max_response_tokens is {capacity}"
    return Measured(size.tokens, reason, length)
