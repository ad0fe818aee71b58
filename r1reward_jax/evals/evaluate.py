"""Judge preference records in both answer orders and sum up.

The release always shows the preferred response first, so a model that always says 1 scores 100 %
there. Here every pair is judged in both orders; accuracy is the mean over them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from PIL import Image

from r1reward_jax.console import counter
from r1reward_jax.errors import about
from r1reward_jax.evals.voting import majority
from r1reward_jax.models.images import open_image
from r1reward_jax.prompts import Template, evaluator_prompt, parse_verdict, well_formed
from r1reward_jax.rollout.engine import Engine
from r1reward_jax.types import (
    Candidate,
    Completion,
    EncodedPrompt,
    InputError,
    Params,
    PreferenceRecord,
    Record,
    RelevanceRecord,
    Verdict,
    VideoPart,
)

R = TypeVar("R", bound=Record)
T = TypeVar("T", bound=PreferenceRecord | Candidate)

BATCHES = 4
"""Batches of the engine whose pixels are in memory at a time."""


@dataclass(frozen=True)
class Judgement:
    """One record in one order (as shown to the model), and what the model says about it."""

    record: PreferenceRecord
    verdicts: tuple[Verdict | None, ...]
    completions: tuple[Completion, ...] = ()
    """What was written, one text per verdict; none by a scalar reward model."""
    scores: tuple[float, float] | None = None
    """What a scalar reward model gave the two responses."""
    skipped: bool = False
    """Whether its prompt is too long for the model to be asked; no verdict is a wrong one."""


def judge(
    engine: Engine,
    params: Params,
    records: Sequence[PreferenceRecord],
    template: Template,
    *,
    samples: int,
    temperature: float,
    seed: int,
) -> list[Judgement]:
    """Judge each record as it is and swapped: judgements 2i and 2i + 1 are of record i. Prompts
    that are too long are skipped, and counted as wrong.

    Raises:
      InputError: a record has no label, or there are no records.
    """
    require_labels(records)
    shown = [r for record in records for r in (record, record.swapped())]
    judgements = []
    size = BATCHES * engine.rows
    with counter("judging", len(shown)) as one_more:
        for start in range(0, len(shown), size):
            part = shown[start : start + size]
            fits = {i: p for i, r in enumerate(part) if (p := _encode(engine, r, template))}
            rollout = engine.generate(
                params,
                list(fits.values()),
                samples=samples,
                temperature=temperature,
                seed=seed,
                first_row=start,
                on_done=one_more,
            )
            written = dict(zip(fits, rollout.completions, strict=True))
            judgements += [_judgement(r, written.get(i), samples) for i, r in enumerate(part)]
    return judgements


def _encode(engine: Engine, record: PreferenceRecord, template: Template) -> EncodedPrompt | None:
    """The tokenised prompt; None if it is larger than any batch."""
    prompt = evaluator_prompt(record, template)
    with about(f"record {record.id}"):
        return None if engine.processor.misfit(prompt) else engine.processor.encode(prompt)


def _judgement(
    record: PreferenceRecord, completions: Sequence[Completion] | None, samples: int
) -> Judgement:
    if completions is None:
        return Judgement(record, (None,) * samples, skipped=True)
    return Judgement(record, tuple(parse_verdict(c.text) for c in completions), tuple(completions))


def require_labels(records: Sequence[PreferenceRecord]) -> None:
    """Raise InputError unless there are records and all of them are labelled."""
    unlabelled = [r.id for r in records if r.preferred is None]
    if unlabelled or not records:
        raise InputError(f"labelled records are needed; without label: {unlabelled[:5]}")


def accuracy(judgements: Sequence[Judgement]) -> float:
    """Share of verdicts, over all samples and both orders, that name the preferred response.
    Unparsable ones are wrong."""
    right = [v == j.record.preferred for j in judgements for v in j.verdicts]
    return sum(right) / len(right)


def vote_accuracy(judgements: Sequence[Judgement]) -> float:
    """Share of judgements whose majority is right; ties are wrong."""
    right = [majority(j.verdicts) == j.record.preferred for j in judgements]
    return sum(right) / len(right)


def strict_accuracy(judgements: Sequence[Judgement]) -> float:
    """Share of pairs that are judged right in both orders, by majority."""
    right = [majority(j.verdicts) == j.record.preferred for j in judgements]
    pairs = [a and b for a, b in zip(right[::2], right[1::2], strict=True)]
    return sum(pairs) / len(pairs)


def share(judgements: Sequence[Judgement], holds: Callable[[str], bool]) -> float:
    """Share of completions whose text has a property."""
    found = [holds(c.text) for j in judgements for c in j.completions]
    return sum(found) / len(found)


def describe(judgements: Sequence[Judgement]) -> dict[str, float]:
    """Accuracy and bias of a set of judgements; format and length where there are texts."""
    completions = [c for j in judgements for c in j.completions]
    verdicts = [v for j in judgements for v in j.verdicts]
    flipped = [
        majority(a.verdicts) == majority(b.verdicts) is not None
        for a, b in zip(judgements[::2], judgements[1::2], strict=True)
    ]
    found = {
        "accuracy": accuracy(judgements),
        "strict_accuracy": strict_accuracy(judgements),
        "vote_accuracy": vote_accuracy(judgements),
        "first_order_accuracy": accuracy(judgements[::2]),
        "second_order_accuracy": accuracy(judgements[1::2]),
        "flip_rate": sum(flipped) / len(flipped),
        "verdict_1_share": verdicts.count(1) / len(verdicts),
        "unparsable_share": verdicts.count(None) / len(verdicts),
        "skipped": sum(j.skipped for j in judgements),
    }
    if not completions:
        return found
    return found | {
        "format_share": share(judgements, well_formed),
        "truncated_share": sum(c.finish_reason == "length" for c in completions) / len(completions),
        "mean_response_tokens": sum(len(c.token_ids) for c in completions) / len(completions),
    }


def without_images(records: Sequence[R]) -> list[R]:
    """The records with each image and frame replaced by a grey one of the same size."""

    def blank(image: Any) -> Image.Image:
        return Image.new("RGB", open_image(image).size, (128, 128, 128))

    def still(video: VideoPart | None) -> VideoPart | None:
        return video and replace(video, frames=tuple(blank(f) for f in video.frames))

    def hidden(holder: T) -> T:
        images = tuple(blank(i) for i in holder.images)
        return replace(holder, images=images, video=still(holder.video))

    return [
        replace(r, candidates=tuple(hidden(c) for c in r.candidates))
        if isinstance(r, RelevanceRecord)
        else hidden(r)
        for r in records
    ]


def judgement_row(judgement: Judgement) -> dict[str, Any]:
    """A judgement as a line of judgements.jsonl."""
    return record_row(judgement.record) | {
        "verdicts": judgement.verdicts,
        "texts": [c.text for c in judgement.completions],
        "scores": judgement.scores,
    }


def record_row(record: Record) -> dict[str, Any]:
    """A record, as it was shown to the model, in a line about what the model said; the candidates
    of a relevance record are its responses."""
    if isinstance(record, RelevanceRecord):
        question, responses = record.query, tuple(c.text for c in record.candidates)
        images = [i for c in record.candidates for i in c.images]
    else:
        question, responses, images = record.question, record.responses, record.images
    return {
        "id": record.id,
        "question": question,
        "responses": responses,
        "preferred": record.preferred,
        "images": [i if isinstance(i, str) else "embedded" for i in images],
    }
