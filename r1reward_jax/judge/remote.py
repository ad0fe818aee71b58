"""A judge behind an OpenAI-compatible server: many requests at a time, and no outage stops a run.

Requests that time out or meet a busy server are tried again, with growing waits; a pair that has no
answer in the end is "no verdict" (None): its consistency reward is 0, and it is counted. A server
that refuses everything, such as a key that was revoked, ends the run: no wait would help. One of
several processes asks and broadcasts the answers.

The retries are not those of the `openai` client: it would wait while it holds one of the places
for requests, knows nothing of a batch's budget, does not retry an answer that is malformed or
belongs to another request, and takes five times as long to import.
"""

import asyncio
import itertools
import json
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
import jax
import numpy as np
from jax.experimental import multihost_utils

from r1reward_jax import stopping
from r1reward_jax.config.addresses import endpoint, plain_key, plain_url
from r1reward_jax.console import warn
from r1reward_jax.judge.background import Background
from r1reward_jax.judge.client import (
    REFUSED,
    Dialect,
    JudgeRefusedError,
    NoAnswerError,
    Reading,
    post,
    read,
    refusal,
)
from r1reward_jax.judge.words import UNCLEAR, AnswerWords, printable
from r1reward_jax.prompts import Template, judge_prompt
from r1reward_jax.types import InputError, Verdict

Pair = tuple[str, Verdict]


@dataclass(frozen=True)
class RemoteConfig:
    """How a server is asked."""

    url: str
    """The address of the API, with its version: http://host:8000/v1."""
    model: str
    """The name of the model that the server serves."""
    api_key: str
    """Sent as a bearer token; empty for none."""
    api_key_env: str
    """The environment variable that it came from, for messages."""
    mode: Literal["auto", "token", "text"]
    """Whether the probabilities of the first token are read, or what it writes; `auto` tries."""
    answer_tokens: int
    """Tokens that it may write where its text is read."""
    min_mass: float
    """The least probability of both answer words together that is an answer."""
    probe_s: float
    """The time that the server may take until it answers for the first time."""
    concurrency: int
    """The number of requests under way at a time."""
    timeout_s: float
    """The time that a request may take."""
    retries: int
    """The number of further attempts after the first."""
    backoff_s: float
    """The mean wait before the first retry; it doubles with each."""
    budget_s: float
    """The time that a whole batch may take, retries and pause included, from its first request on;
    a pair that is not answered by then has no verdict."""
    pause_share: float
    """The share of the latest pairs without verdict above which the judge warns, waits, and asks
    once more."""
    pause_s: float
    """The length of that wait."""


class RemoteJudge:
    """A `types.Judge` that asks a server."""

    def __init__(self, template: Template, config: RemoteConfig):
        """
        Args:
          template: whose judge prompt and answer words are used.
          config: where and how to ask.

        Raises:
          InputError: the address is not one, no header can hold the key, or the settings allow no
            request.
        """
        self.url = plain_url("judge.url", config.url)
        self.key, _ = plain_key(config.api_key_env, config.api_key)
        if not config.model:
            raise InputError("judge.model: name the model that the server serves")
        if config.concurrency < 1 or config.timeout_s <= 0 or config.budget_s <= 0:
            raise InputError("judge: concurrency, timeout_s and budget_s must be above 0")
        self.template, self.config, self.batch = template, config, config.concurrency
        self.words = AnswerWords.of(template)
        self.dialect = Dialect(writes=config.answer_tokens if config.mode == "text" else 0)
        """How the server is asked; `probe.probe_server` changes it to what it takes."""
        self._numbers = itertools.count()
        self._background = Background()
        self.gate = asyncio.Semaphore(config.concurrency)
        self.failures: Counter[str] = Counter()
        """Requests that ended without verdict, by kind; "retried" counts further attempts."""
        self.tokens = 0
        """Tokens that the server has written, as far as it says."""
        self.recent: deque[bool] = deque(maxlen=max(20, config.concurrency))
        """Whether the latest pairs have no verdict."""
        self._shown: set[str] = set()

    def describe(self) -> str:
        """Return one line about the judge, for the beginning of a run."""
        key = f", with the key of {self.config.api_key_env}" if self.key else ""
        d = self.dialect
        how = f"writes up to {d.writes:,} tokens" if d.writes else "answers with its first token"
        return f"{printable(self.config.model)} at {self.url}{key}; {how}"

    def start(self, pairs: Sequence[Pair]) -> Callable[[], list[float | None]]:
        """Send requests while the caller does something else, as `types.Judge` says; all that are
        under way share `concurrency`. The function returned raises JudgeRefusedError, on every
        process, where the server refuses whatever it is asked."""
        asked = None
        if jax.process_index() == 0 and pairs:
            asked = self._background.run(_Batch(self, pairs).answers())

        def work() -> np.ndarray:
            if asked is None:
                return np.full(len(pairs), np.nan)
            # several processes end together, at the next iteration
            return stopping.result(asked) if jax.process_count() == 1 else asked.result()

        def wait() -> list[float | None]:
            return [None if math.isnan(a) else float(a) for a in shared(work, len(pairs))]

        return wait

    def score(self, pairs: Sequence[Pair]) -> list[float | None]:
        """Return the probability of each (analysis, verdict) that the one supports the other; None
        where there is no answer. Raises JudgeRefusedError, and nothing else that a server does."""
        return self.start(pairs)()

    def run(self, work: Callable[[httpx2.AsyncClient], Any]) -> Any:
        """Return what a coroutine function returns that is given a client, run in the
        background."""

        async def with_client() -> Any:
            async with self.client() as client:
                return await work(client)

        return stopping.result(self._background.run(with_client()))

    def client(self) -> httpx2.AsyncClient:
        """Return a client that sends the key; it follows no redirect, so the key goes nowhere
        else."""
        c = self.config
        # packed answers would be unpacked without a limit
        headers = {"Accept-Encoding": "identity"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        limits, timeout = httpx2.Limits(max_connections=c.concurrency), httpx2.Timeout(c.timeout_s)
        return httpx2.AsyncClient(headers=headers, limits=limits, timeout=timeout)

    async def request(self, client: httpx2.AsyncClient, pair: Pair) -> Reading:
        """Send one request, in the background. Raises NoAnswerError."""
        body = self.dialect.body(self.config.model, judge_prompt(*pair, self.template))
        ours = {"X-Request-Id": f"pair-{next(self._numbers)}"}
        try:
            # the client's own timeout starts anew with every byte that arrives
            async with asyncio.timeout(self.config.timeout_s):
                status, headers, text = await post(client, endpoint(self.url), body, ours)
        except TimeoutError:
            raise NoAnswerError("timeout", again=True) from None
        if status != 200:
            raise self._without_key(refusal(status, headers, text))
        if headers.get("X-Request-Id", ours["X-Request-Id"]) != ours["X-Request-Id"]:
            raise NoAnswerError("another row's answer", again=True)
        try:
            reading = read(json.loads(text), self.words, self.dialect, self.config.min_mass)
        except Exception:  # servers send anything: wrong types, deep nesting, huge numbers
            words = repr(printable(text[:1000].decode(errors="replace")))
            error = NoAnswerError("malformed", again=True, words=f"no chat completion: {words}")
            raise self._without_key(error) from None
        self.tokens += reading.tokens
        return reading

    def _without_key(self, error: NoAnswerError) -> NoAnswerError:
        """Return an error whose words do not repeat the key."""
        if len(self.key) >= 4:
            error.words = error.words.replace(self.key, "…")
        return error

    def show_once(self, error: NoAnswerError) -> None:
        """Warn of the first failure of each kind, with the words of the server."""
        if error.words and error.kind not in self._shown:
            self._shown.add(error.kind)
            warn(f"judge {self.url}: {error.kind}: {error.words}")


def shared(work: Callable[[], np.ndarray], size: int) -> np.ndarray:
    """Return on every process what the first one's work returns, or raise what it raises.

    Args:
      work: gives an array on the first process; it is called on all.
      size: of the array.
    """
    answers, error = np.full(size, np.nan), None
    try:
        answers = work()
    except Exception as mistake:  # a bug here, not a server error: re-raised on every process
        error = mistake
    if jax.process_count() > 1:
        kind = 0.0 if error is None else 2.0 if isinstance(error, InputError) else 1.0
        *answers, failed = multihost_utils.broadcast_one_to_all(np.append(answers, kind))
        if failed and error is None:
            what = "the process that asks the judge failed"
            error = JudgeRefusedError(what) if failed == 2 else RuntimeError(what)
    if error:
        raise error
    return np.asarray(answers)


class _Batch:
    """The pairs of one call of `start`, and what is known of them."""

    def __init__(self, judge: RemoteJudge, pairs: Sequence[Pair]):
        self.judge, self.pairs, self.config = judge, pairs, judge.config
        self.found = np.full(len(pairs), np.nan)
        self.failures: Counter[str] = Counter()
        self.hopeless: set[int] = set()
        """The rows that another attempt would not help."""
        self._begun = asyncio.Event()
        self._deadline = math.inf

    async def answers(self) -> np.ndarray:
        """Open connections of its own, and return the answers."""
        async with self.judge.client() as client:
            return await self._answers(client)

    async def _answers(self, client: httpx2.AsyncClient) -> np.ndarray:
        """Return the answers to all pairs, NaN for no verdict; after a pause, these are asked for
        again if there have been too many failures of late."""
        c, judge = self.config, self.judge
        await self._ask(client, list(range(len(self.pairs))))
        missing = np.flatnonzero(np.isnan(self.found))
        if len(missing) == len(self.pairs) and self._all_refused():
            await self._require_no_refusal(client)
        judge.recent.extend(np.isnan(self.found).tolist())
        if len(missing) and sum(judge.recent) > c.pause_share * len(judge.recent):
            left = [int(row) for row in missing if int(row) not in self.hopeless]
            again = bool(left) and self._seconds_left() > c.pause_s
            why = "no time is left to ask again" if left else "another attempt would not help"
            warn(
                f"judge {judge.url}: no verdict on {len(missing)} of {len(self.pairs)} pairs "
                f"({self._kinds()}); {f'asking again in {c.pause_s:g} s' if again else why}"
            )
            judge.recent.clear()
            if again:
                await self._again(client, left)
        judge.failures.update(self.failures)
        return self.found

    def _all_refused(self) -> bool:
        """Say whether the server has refused every pair in a way that no wait would help."""
        kinds = {kind for kind in self.failures if kind != "retried"}
        whole = len(self.hopeless) == len(self.pairs)
        return whole and all(kind.startswith(REFUSED) for kind in kinds)

    async def _require_no_refusal(self, client: httpx2.AsyncClient) -> None:
        """Raise JudgeRefusedError where the server also refuses a pair that it has answered
        before, now and after a pause: the pairs of this batch are not the reason."""
        pair = example_pairs(self.judge.template)[0]
        for last in (False, True):
            try:
                await self.judge.request(client, pair)
                return
            except NoAnswerError as error:
                if error.again:
                    return
                if last:
                    self.judge.failures.update(self.failures)
                    raise JudgeRefusedError(
                        f"judge {self.judge.url}: {error.kind}: {error.words or 'no reason given'}"
                    ) from None
            await asyncio.sleep(self.config.pause_s)

    async def _again(self, client: httpx2.AsyncClient, rows: Sequence[int]) -> None:
        """Wait, and ask again for the rows that another attempt may help."""
        await asyncio.sleep(self.config.pause_s)
        await self._ask(client, rows)
        left = int(np.isnan(self.found).sum())
        if left > self.config.pause_share * len(self.pairs):
            warn(f"judge: still {left} without verdict, which earn no consistency")

    def _kinds(self) -> str:
        return ", ".join(f"{kind} {count}" for kind, count in sorted(self.failures.items()))

    def _seconds_left(self) -> float:
        return self._deadline - asyncio.get_running_loop().time()

    async def _ask(self, client: httpx2.AsyncClient, rows: Sequence[int]) -> None:
        """Ask for some rows, until the budget is used up. The budget begins with the first request
        that other batches leave room for."""
        tasks = [asyncio.create_task(self._answer(client, row)) for row in rows]
        if not tasks:
            return
        first = asyncio.create_task(self._begun.wait())
        await asyncio.wait([first, *tasks], return_when=asyncio.FIRST_COMPLETED)
        first.cancel()
        _, late = await asyncio.wait(tasks, timeout=max(0.0, self._seconds_left()))
        self.failures.update({"over budget": len(late)} if late else {})
        for task in late:
            task.cancel()
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(error, Exception):
                raise error  # a bug here must not look like a failure of the server

    async def _answer(self, client: httpx2.AsyncClient, row: int) -> None:
        """Ask for one pair until it is answered or no further attempt helps."""
        c = self.config
        for attempt in range(c.retries + 1):
            try:
                async with self.judge.gate:  # not held while this pair waits: others use the place
                    if not self._begun.is_set():
                        self._deadline = asyncio.get_running_loop().time() + c.budget_s
                        self._begun.set()
                    self.found[row] = await self._reading(client, row, attempt)
                return
            except NoAnswerError as error:
                self.judge.show_once(error)
                # full jitter: those that failed together do not come back together
                wait = max(random.uniform(0, 2 * c.backoff_s * 2**attempt), error.after_s)
                late = wait > self._seconds_left()
                if not error.again or attempt == c.retries or late:
                    self.hopeless |= set() if error.again else {row}
                    self.failures["over budget" if error.again and late else error.kind] += 1
                    return
                self.failures["retried"] += 1
            await asyncio.sleep(wait)

    async def _reading(self, client: httpx2.AsyncClient, row: int, attempt: int) -> float:
        """Return the probability of a row. Raises NoAnswerError, also for neither word."""
        reading = await self.judge.request(client, self.pairs[row])
        if reading.probability is not None:
            return reading.probability
        # some servers sample at a temperature of 0, too: one more attempt, where it costs a token
        again = not self.judge.dialect.writes and attempt == 0
        raise NoAnswerError(UNCLEAR, again=again, words=f"the judge said {reading.said}")


def example_pairs(template: Template) -> list[Pair]:
    """Return two pairs whose analysis supports the verdict, then two whose does not."""
    first, second = template.examples
    return [(first, 1), (second, 2), (first, 2), (second, 1)]
