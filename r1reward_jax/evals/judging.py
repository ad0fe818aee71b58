"""Judge records in given orders: what evaluations and `RewardModel` have in common.

Prompts are encoded by threads, the engine writes, and judgements leave in the order of the records.
"""

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

from r1reward_jax.evals.types import ORDERS, Judgement, Order
from r1reward_jax.prompts import Template, parse_verdict, well_formed
from r1reward_jax.responses import ResponseFormat
from r1reward_jax.rollout.answers import verdict_probability
from r1reward_jax.rollout.engine import Engine, ShouldStop
from r1reward_jax.types import Completion, EncodedPrompt, Params, Record

T = TypeVar("T")
U = TypeVar("U")

BATCHES = 4
"""Prompts of one call of the engine, in units of its slots: their pixels are in memory together."""


class Asked(NamedTuple):
    """A record, and the order in which its responses are shown."""

    record: Record
    """As stored."""
    shown: Order
    name: str
    """What a message calls the record; empty for nothing."""

    def as_shown(self) -> Record:
        """Return the record with its responses in the order."""
        return self.record if self.shown == ORDERS[0] else self.record.swapped()


def judge_asked(
    engine: Engine,
    params: Params,
    asked: Sequence[Asked],
    template: Template,
    emit: Callable[[Judgement], Any],
    *,
    encode: Callable[[Asked], EncodedPrompt | str],
    probability: Callable[[Completion], float | None],
    temperatures: Sequence[float],
    seed: int,
    threads: int,
    done: int = 0,
    should_stop: ShouldStop | None = None,
) -> None:
    """Judge records, each in the given order.

    Prompts are encoded by threads, up to `engine.slots` of the next batch while the engine runs.

    Args:
      engine, params, template, temperatures, seed, threads: as in `evaluate.judge`.
      asked: records, each in one order.
      emit: gets the judgements, in order.
      encode: makes a prompt; the reason, if the record cannot be shown to the model.
      probability: of the first label of a verdict, from what was written.
      done: judgements that are known already; they are not emitted.
      should_stop: ends the samples of a prompt early.
    """
    size, samples = BATCHES * engine.slots, len(temperatures)
    first = done // size * size if done < len(asked) else len(asked)
    read = partial(_read, form=template.response, probability=probability)
    with in_order(encode, asked[first:], threads=threads, ahead=engine.slots) as encoded:
        for start in range(first, len(asked), size):
            part = asked[start : start + size]
            prompts = list(itertools.islice(encoded, len(part)))
            batch = _Batch(part, prompts, read, emit, votes=samples - 1, known=done - start)
            batch.leave()
            engine.generate(
                params,
                list(batch.prompts.values()),
                samples=samples,
                temperature=temperatures,
                seed=seed,
                first_row=start,
                should_stop=should_stop,
                on_done=batch.on_done,
                must_be_finite=True,
            )


class _Batch:
    """The records of one call of the engine; their judgements leave in order."""

    def __init__(
        self,
        asked: Sequence[Asked],
        prompts: Sequence[EncodedPrompt | str],
        read: Callable[[Asked, EncodedPrompt, Sequence[Completion]], Judgement],
        emit: Callable[[Judgement], Any],
        *,
        votes: int,
        known: int,
    ):
        """
        Args:
          asked: the records.
          prompts: of each; the reason why there is none.
          read: makes a judgement of completions.
          emit: gets the judgements, in order, but for the first `known`.
          votes: asked for in each judgement.
          known: judgements that are known already.
        """
        self._asked, self._read, self._emit, self._known = asked, read, emit, known
        self.prompts = {i: p for i, p in enumerate(prompts) if not isinstance(p, str)}
        """By the places in `asked`; what was skipped is missing."""
        self._places, self._next = list(self.prompts), 0
        self._ready = {
            i: _skipped(each, why, votes)
            for i, (each, why) in enumerate(zip(asked, prompts, strict=True))
            if isinstance(why, str)
        }

    def on_done(self, place: int, written: Sequence[Completion]) -> None:
        """Take the completions of a prompt, by its place among those that were not skipped."""
        i = self._places[place]
        self._ready[i] = self._read(self._asked[i], self.prompts[i], written)
        self.leave()

    def leave(self) -> None:
        """Emit the judgements that are ready, up to the first one that is not."""
        while self._next in self._ready:
            judgement = self._ready.pop(self._next)
            if self._next >= self._known:
                self._emit(judgement)
            self._next += 1


def _skipped(asked: Asked, reason: str, votes: int) -> Judgement:
    """Return the judgement of a record that cannot be shown."""
    none = (None,) * votes
    return Judgement(
        asked.as_shown().preferred,
        None,
        votes=none,
        vote_probabilities=none,
        skipped=True,
        reason=reason,
        shown=asked.shown,
    )


def _read(
    asked: Asked,
    prompt: EncodedPrompt,
    written: Sequence[Completion],
    *,
    form: ResponseFormat,
    probability: Callable[[Completion], float | None],
) -> Judgement:
    """Return the judgement that was written: by the greedy completion, and by the others' votes. A
    sample that was stopped has no vote."""
    greedy, *votes = written
    whole = [c for c in votes if c.finish_reason != "stopped"]
    stopped = [c for c in votes if c.finish_reason == "stopped"]
    return Judgement(
        label=asked.as_shown().preferred,
        position=parse_verdict(greedy.text, form),
        first_probability=probability(greedy),
        votes=tuple(parse_verdict(c.text, form) for c in whole),
        vote_probabilities=tuple(map(probability, whole)),
        tokens=len(greedy.token_ids),
        vote_tokens=tuple(len(c.token_ids) for c in whole),
        prompt_tokens=len(prompt.token_ids),
        well_formed=well_formed(greedy.text),
        truncated=greedy.finish_reason == "length",
        stopped=bool(stopped),
        stopped_tokens=sum(len(c.token_ids) for c in stopped),
        shown=asked.shown,
        completions=tuple(written),
    )


def probability_of(engine: Engine, completion: Completion, template: Template) -> float | None:
    """Return the probability of the first label where the verdict was chosen; None without one.

    Raises:
      InputError: the tokenizer does not keep the label apart.
    """
    answers, decode = engine.config.answers, engine.processor.decode
    return verdict_probability(completion, answers, decode, template.response)


@contextlib.contextmanager
def in_order(
    function: Callable[[T], U], items: Sequence[T], *, threads: int, ahead: int
) -> Iterator[Iterator[U]]:
    """Give the results of a function, in the order of the items, from several threads.

    Args:
      function: called once with each item.
      items: what it is called with.
      threads: calls that run at the same time.
      ahead: items, at most, whose results are made before they are asked for, so that memory stays
        bounded.
    """
    pool = ThreadPoolExecutor(max(1, threads))

    def results() -> Iterator[U]:
        waiting = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield results()
    finally:
        # after an error nobody asks for the rest
        pool.shutdown(cancel_futures=True)
