"""Judge preference records in both answer orders and sum up.

The release always shows the preferred response first, so a model that always says 1 scores 100 %
there. Here every pair is judged in both orders; accuracy is the mean over them.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from PIL import Image

from r1reward_jax.console import counter
from r1reward_jax.errors import about
from r1reward_jax.evals.types import Judgement
from r1reward_jax.evals.voting import Rule, majority
from r1reward_jax.images import open_image
from r1reward_jax.prompts import Template, evaluator_prompt, parse_verdict, well_formed
from r1reward_jax.rollout.answers import verdict_probability
from r1reward_jax.rollout.engine import Engine, ShouldStop
from r1reward_jax.types import (
    Completion,
    EncodedPrompt,
    InputError,
    Params,
    Record,
    RelevanceRecord,
    VideoPart,
)

R = TypeVar("R", bound=Record)

BATCHES = 4
"""Batches of the engine whose pixels are in memory at a time."""


def judge(
    engine: Engine,
    params: Params,
    records: Sequence[Record],
    template: Template,
    *,
    temperatures: Sequence[float],
    seed: int,
) -> list[Judgement]:
    """Judge each record as it is and swapped: judgements 2i and 2i + 1 are of record i. Prompts
    that are too long are skipped, and counted as wrong.

    Args:
      engine: samples.
      params: of the policy.
      records: labelled.
      template: of the prompts.
      temperatures: one for each sample of a prompt, 0 for a greedy one; they share its prefill.
      seed: of the samples.

    Raises:
      InputError: a record has no label, or there are no records.
    """
    found: list[Judgement] = []
    judge_each(engine, params, records, template, found.append, temperatures, seed)
    return found


def judge_each(
    engine: Engine,
    params: Params,
    records: Sequence[Record],
    template: Template,
    emit: Callable[[Judgement], Any],
    temperatures: Sequence[float],
    seed: int,
    done: int = 0,
    rule: Rule | None = None,
) -> None:
    """As `judge`, each judgement as soon as it and those before it are there.

    Work is always cut into the same batches, and one of which something is missing is done again as
    a whole: an evaluation that was interrupted ends like one that was not, bit for bit.

    Args:
      engine, params, records, template, temperatures, seed: as in `judge`.
      emit: gets the judgements, in order.
      done: judgements that are known already; they are not emitted.
      rule: ends a vote early; the first sample is the greedy one and has no vote.
    """
    require_labels(records)
    shown = [r for record in records for r in (record, record.swapped())]
    size = BATCHES * engine.slots
    if done == len(shown):
        return
    with counter("judging", len(shown), done) as one_more:
        for start in range(done // size * size, len(shown), size):
            batch = _Batch(engine, shown[start : start + size], template, start)
            batch.judge(
                lambda judgement: (emit(judgement), one_more()),
                params,
                known=max(0, done - start),
                samples=len(temperatures),
                temperature=temperatures,
                seed=seed,
                first_row=start,
                should_stop=rule and _should_stop(rule, len(temperatures) - 1, template),
            )


class _Batch:
    """Records for one call of the engine; their judgements leave in order."""

    def __init__(self, engine: Engine, shown: Sequence[Record], template: Template, start: int):
        self.engine, self.shown, self.template = engine, shown, template
        prompts = (_encode(engine, r, template, start + i) for i, r in enumerate(shown))
        self.prompts = {i: prompt for i, prompt in enumerate(prompts) if prompt}

    def judge(
        self,
        emit: Callable[[Judgement], Any],
        params: Params,
        *,
        known: int,
        samples: int,
        **settings: Any,
    ) -> None:
        """Emit all but the first `known`; the settings are those of `Engine.generate`."""
        none = (None,) * samples
        ready = {
            i: Judgement(record, none, skipped=True, probabilities=none)
            for i, record in enumerate(self.shown)
            if i not in self.prompts
        }
        places, waiting = list(self.prompts), deque(range(len(self.shown)))

        def leave() -> None:
            while waiting and waiting[0] in ready:
                number = waiting.popleft()
                judgement = ready.pop(number)
                if number >= known:
                    emit(judgement)

        def on_done(place: int, completions: Sequence[Completion]) -> None:
            ready[places[place]] = self._judgement(places[place], completions)
            leave()

        leave()
        prompts = list(self.prompts.values())
        self.engine.generate(params, prompts, samples=samples, on_done=on_done, **settings)

    def _judgement(self, number: int, written: Sequence[Completion]) -> Judgement:
        form = self.template.response
        return Judgement(
            self.shown[number],
            tuple(parse_verdict(c.text, form) for c in written),
            tuple(written),
            probabilities=tuple(self._probability(c) for c in written),
            prompt_tokens=len(self.prompts[number].token_ids),
        )

    def _probability(self, completion: Completion) -> float | None:
        """None also where a tokenizer does not keep the label apart: numbers say how often."""
        answers, decode = self.engine.config.answers, self.engine.processor.decode
        try:
            return verdict_probability(completion, answers, decode, self.template.response)
        except InputError:
            return None


def _should_stop(rule: Rule, votes: int, template: Template) -> ShouldStop:
    """A rule about votes as one about completions; the greedy one must have ended, too. Where many
    samples are written at a time, those that end first are the short ones: the posterior rule wants
    few at a time (`rollout.parallel_samples`)."""

    def should_stop(ended: Mapping[int, Completion]) -> bool:
        found = [parse_verdict(c.text, template.response) for k, c in ended.items() if k]
        return 0 in ended and rule(found.count(1), found.count(2), votes - len(found))

    return should_stop


def _encode(
    engine: Engine, record: Record, template: Template, number: int
) -> EncodedPrompt | None:
    """The tokenised prompt; None if it is larger than any batch."""
    prompt = evaluator_prompt(record, template)
    with about(f"record {record.id} (row {number // 2 + 1})"):
        return None if engine.processor.misfit(prompt) else engine.processor.encode(prompt)


def require_labels(records: Sequence[Record]) -> None:
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
    """Accuracy and bias of a set of judgements; format and length where there are texts. Flips are
    among pairs with a verdict in both orders, verdicts of 1 among those that can be read; 0 where
    there are none."""
    completions = [c for j in judgements for c in j.completions]
    verdicts = [v for j in judgements for v in j.verdicts]
    both = zip(judgements[::2], judgements[1::2], strict=True)
    voted = [(majority(a.verdicts), majority(b.verdicts)) for a, b in both]
    flipped = [a == b for a, b in voted if a is not None and b is not None]
    read = [v for v in verdicts if v is not None]
    found = {
        "accuracy": accuracy(judgements),
        "strict_accuracy": strict_accuracy(judgements),
        "vote_accuracy": vote_accuracy(judgements),
        "first_order_accuracy": accuracy(judgements[::2]),
        "second_order_accuracy": accuracy(judgements[1::2]),
        "flip_rate": sum(flipped) / max(1, len(flipped)),
        "verdict_1_share": read.count(1) / max(1, len(read)),
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

    def hidden(holder: Any) -> Any:
        images = tuple(blank(i) for i in holder.images)
        return replace(holder, images=images, video=still(holder.video))

    def bare(record: Any) -> Any:
        if isinstance(record, RelevanceRecord):
            return replace(record, candidates=tuple(hidden(c) for c in record.candidates))
        return hidden(record)

    return [bare(r) for r in records]
