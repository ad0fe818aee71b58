"""Judge preference records in both answer orders.

The authors' release always shows the preferred response first, so a model that always says 1 scores
100 % there. Here every pair is judged in both orders; accuracy (`metrics`) is the mean over them.
"""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from PIL import Image

from r1reward_jax.console import counter
from r1reward_jax.errors import record_name
from r1reward_jax.evals.journal import group_of, subgroup_of, unit_of
from r1reward_jax.evals.judging import Asked, judge_asked, probability_of
from r1reward_jax.evals.types import ORDERS, Judgement, PairJudgement
from r1reward_jax.evals.voting import Rule
from r1reward_jax.images import open_image
from r1reward_jax.prompts import (
    Template,
    evaluator_prompt,
    parse_verdict,
)
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


def judge(
    engine: Engine,
    params: Params,
    records: Sequence[Record],
    template: Template,
    *,
    temperatures: Sequence[float],
    seed: int,
    threads: int,
) -> list[PairJudgement]:
    """Judge each record as it is stored and swapped. A record that cannot be shown to the model is
    skipped, with its reason, and no number counts it (`PairJudgement.skipped`).

    Args:
      engine: samples.
      params: of the policy.
      records: labelled.
      template: of the prompts.
      temperatures: one for each completion of a prompt, all from one prefill; the first is the
        greedy one, 0, the others are votes.
      seed: of the samples.
      threads: that decode images and tokenise.

    Raises:
      InputError: a record has no label, or there are no records.
    """
    judgements: list[Judgement] = []
    judge_each(
        engine,
        params,
        records,
        template,
        judgements.append,
        temperatures=temperatures,
        seed=seed,
        threads=threads,
    )
    return pair_up(records, judgements)


def pair_up(records: Sequence[Record], judgements: Sequence[Judgement]) -> list[PairJudgement]:
    """Return the pairs of judgements 2i and 2i + 1, which are of record i."""
    both = zip(judgements[::2], judgements[1::2], strict=True)
    return [
        PairJudgement(
            *(row, r.id, group_of(r), unit_of(r, row), orders, orders[0].scores, subgroup_of(r))
        )
        for row, (r, orders) in enumerate(zip(records, both, strict=True))
    ]


def judge_each(
    engine: Engine,
    params: Params,
    records: Sequence[Record],
    template: Template,
    emit: Callable[[Judgement], Any],
    *,
    temperatures: Sequence[float],
    seed: int,
    threads: int,
    done: int = 0,
    rule: Rule | None = None,
) -> None:
    """Judge as `judge` does, and emit each judgement as soon as it and those before it are there.

    Work is always cut into the same batches, and one of which something is missing is done again as
    a whole: an evaluation that was interrupted ends like one that was not, bit for bit.

    Args:
      engine, params, records, template, temperatures, seed, threads: as in `judge`.
      emit: gets the judgements, in order.
      done: judgements that are known already; they are not emitted.
      rule: ends a vote early.
    """
    require_labels(records)
    asked = [
        Asked(record, shown, f"{record_name(record.id)} (row {row})")
        for row, record in enumerate(records, 1)
        for shown in ORDERS
    ]

    def encode(each: Asked) -> EncodedPrompt | str:
        try:
            prompt = evaluator_prompt(each.as_shown(), template)
            return engine.processor.misfit(prompt) or engine.processor.encode(prompt)
        except InputError as error:  # a picture that cannot be decoded
            return str(error)

    def probability(completion: Completion) -> float | None:
        # not every tokenizer keeps the label apart: calibration says how often there is none
        with contextlib.suppress(InputError):
            return probability_of(engine, completion, template)

    with counter("judging", len(asked), done) as one_more:
        judge_asked(
            engine,
            params,
            asked,
            template,
            lambda judgement: (emit(judgement), one_more()),
            encode=encode,
            probability=probability,
            temperatures=temperatures,
            seed=seed,
            threads=threads,
            done=done,
            should_stop=rule and _should_stop(rule, len(temperatures) - 1, template),
        )


def _should_stop(rule: Rule, votes: int, template: Template) -> ShouldStop:
    """Return a rule about votes as one about completions; the greedy one must have ended, too.

    Where many samples are written at a time, those that end first are the short ones, whose share
    of votes is not that of all: the posterior rule wants few at a
    time (`rollout.parallel_samples`).
    """

    def should_stop(ended: Mapping[int, Completion]) -> bool:
        given = [parse_verdict(c.text, template.response) for k, c in ended.items() if k]
        return 0 in ended and rule(given.count(1), given.count(2), votes - len(given))

    return should_stop


def require_labels(records: Sequence[Record]) -> None:
    """Raise InputError unless there are records and all of them are labelled."""
    unlabelled = [r.id for r in records if r.preferred is None]
    if unlabelled or not records:
        raise InputError(f"labelled records are needed; without label: {unlabelled[:5]}")


def without_images(records: Sequence[R]) -> list[R]:
    """Return the records with each image and frame replaced by a grey one of the same size."""

    @functools.cache  # shared: thousands of grey images of a size are one
    def grey(size: tuple[int, int]) -> Image.Image:
        return Image.new("RGB", size, (128, 128, 128))

    def blank(image: Any) -> Image.Image:
        return grey(open_image(image).size)

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
