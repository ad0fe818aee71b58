"""Training batches from prompts and completions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from r1reward_jax.data.preferences import Annotation
from r1reward_jax.errors import about, record_name
from r1reward_jax.prompts import Template, evaluator_prompt
from r1reward_jax.rollout.engine import Rollout
from r1reward_jax.types import (
    Completion,
    EncodedPrompt,
    InputError,
    PairBatch,
    Processor,
    Prompt,
    TrainBatch,
)


@dataclass(frozen=True)
class Example:
    """Pair a prompt with the completion to imitate."""

    prompt: Prompt
    completion: str
    name: str
    """What errors call it."""


def cold_start_example(annotation: Annotation, template: Template) -> Example:
    """Return what the cold start imitates: the teacher's text behind the evaluator prompt."""
    prompt, name = evaluator_prompt(annotation.record, template), record_name(annotation.record.id)
    return Example(prompt, annotation.completion, name)


def encode_example(example: Example, processor: Processor) -> tuple[EncodedPrompt, list[int]]:
    """Tokenise both parts of an example."""
    with about(example.name):
        return processor.encode(example.prompt), processor.encode_completion(example.completion)


def make_train_batch(
    prompts: Sequence[EncodedPrompt],
    completions: Sequence[Sequence[int]],
    processor: Processor,
    *,
    capacity: int,
    sampler_logp: np.ndarray | None = None,
    advantages: np.ndarray | None = None,
) -> TrainBatch:
    """Return full sequences and their completion targets, right-padded to `capacity` tokens.

    Args:
      prompts: encoded prompts.
      completions: token ids of each, end token included.
      processor: pads and collates.
      capacity: C, columns of the completion arrays.
      sampler_logp: float32 [B, C], old log-probs as well until others are computed; zeros if
        not given.
      advantages: float32 [B, C]; zeros if not given.

    Raises:
      InputError: a completion is longer than `capacity`.
    """
    rows = len(prompts)
    longest = max(len(c) for c in completions)
    if longest > capacity:
        raise InputError(
            f"a completion of {longest} tokens is longer than max_completion_tokens {capacity}"
        )
    targets = np.zeros((rows, capacity), np.int32)
    mask = np.zeros((rows, capacity), bool)
    for row, completion in enumerate(completions):
        targets[row, : len(completion)] = completion
        mask[row, : len(completion)] = True
    zeros = np.zeros((rows, capacity), np.float32)
    return TrainBatch(
        processor.collate(prompts, completions, completion_capacity=capacity),
        np.asarray([len(p.token_ids) for p in prompts], np.int32),
        targets,
        mask,
        zeros if sampler_logp is None else sampler_logp,
        zeros if sampler_logp is None else sampler_logp,
        np.zeros(rows, bool),
        zeros if advantages is None else advantages,
    )


def tokens_in(batch: TrainBatch | PairBatch) -> int:
    """Return the tokens of a batch's prompts and completions, without padding."""
    inputs = (batch.inputs,) if isinstance(batch, TrainBatch) else batch
    return sum(int(np.sum(part.lengths)) for part in inputs)


T = TypeVar("T")


def rollout_batch(rollout: Rollout, processor: Processor, capacity: int) -> TrainBatch:
    """Return the samples as a train batch, those of a prompt side by side, with the sampler's
    log-probs."""
    samples = rollout.batch.logp.shape[1]
    return make_train_batch(
        repeat(rollout.prompts, samples),
        [completion.token_ids for completion in flat(rollout)],
        processor,
        capacity=capacity,
        sampler_logp=np.asarray(rollout.batch.logp).reshape(-1, rollout.batch.logp.shape[-1]),
    )


def flat(rollout: Rollout) -> list[Completion]:
    """Return all completions, those of a prompt side by side."""
    return [completion for row in rollout.completions for completion in row]


def repeat(items: Sequence[T], times: int) -> list[T]:
    """Return each item `times` times, side by side."""
    return [item for item in items for _ in range(times)]
