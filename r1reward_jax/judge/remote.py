"""A judge behind an OpenAI-compatible server: many requests at a time, and no failure stops a run.

Requests that time out, are refused or meet a busy server are tried again, with growing waits; a
pair that has no answer in the end is "no verdict" (None): its consistency reward is 0, and it is
counted. One of several processes asks and broadcasts the answers.

The retries are not those of the `openai` client: it would wait while it holds one of the places
for requests, knows nothing of a batch's budget, does not retry an answer that is malformed or
belongs to another request, and takes five times as long to import.
"""

import asyncio
import email.utils
import itertools
import logging
import math
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import jax
import numpy as np
from jax.experimental import multihost_utils

from r1reward_jax import stopping
from r1reward_jax.judge.background import Background
from r1reward_jax.prompts import Template, judge_prompt
from r1reward_jax.types import InputError, Verdict

log = logging.getLogger(__name__)
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


class _NoAnswer(Exception):
    """A request has failed; says whether another attempt may help, and when at the earliest."""

    def __init__(self, kind: str, *, again: bool, after_s: float = 0.0):
        super().__init__(kind)
        self.kind, self.again, self.after_s = kind, again, after_s


class RemoteJudge:
    """A `types.Judge` that asks a server."""

    def __init__(self, template: Template, config: RemoteConfig):
        """
        Args:
          template: whose judge prompt and answer words are used.
          config: where and how to ask.

        Raises:
          InputError: the address is not one, or the settings allow no request.
        """
        if not config.url.startswith(("http://", "https://")):
            raise InputError(f"judge.url {config.url!r}: expected http://… or https://…")
        if not config.model:
            raise InputError("judge.model: name the model that the server serves")
        if config.concurrency < 1 or config.timeout_s <= 0 or config.budget_s <= 0:
            raise InputError("judge: concurrency, timeout_s and budget_s must be above 0")
        self.template, self.config, self.batch = template, config, config.concurrency
        self._numbers = itertools.count()
        self._background = Background()
        self.gate = asyncio.Semaphore(config.concurrency)
        self.failures: Counter[str] = Counter()
        """Requests that ended without verdict, by kind; "retried" counts further attempts."""
        self.recent: deque[bool] = deque(maxlen=max(20, config.concurrency))
        """Whether the latest pairs have no verdict."""

    def start(self, pairs: Sequence[Pair]) -> Callable[[], list[float | None]]:
        """Send requests while the caller does something else, as `types.Judge` says; all that are
        under way share `concurrency`."""
        asked = None
        if jax.process_index() == 0 and pairs:
            asked = self._background.run(_Batch(self, pairs).answers())

        def wait() -> list[float | None]:
            answers, error = np.full(len(pairs), np.nan), None
            try:
                if asked is not None:  # several processes end together, at the next iteration
                    alone = jax.process_count() == 1
                    answers = stopping.result(asked) if alone else asked.result()
            except (
                Exception
            ) as mistake:  # a bug here, not a server error: re-raised on every process
                error = mistake
            if jax.process_count() > 1:
                sent = np.append(answers, float(error is not None))
                *answers, failed = multihost_utils.broadcast_one_to_all(sent)
                error = error or (failed and RuntimeError("the process that asks the judge failed"))
            if error:
                raise error
            return [None if math.isnan(a) else float(a) for a in answers]

        return wait

    def score(self, pairs: Sequence[Pair]) -> list[float | None]:
        """Return the probability of each (analysis, verdict) that the one supports the other; None
        where there is no answer. Never raises for what the server does."""
        return self.start(pairs)()

    async def request(self, client: httpx2.AsyncClient, pair: Pair) -> float:
        """Send one request, in the background. Raises _NoAnswer."""
        c, prompt = self.config, judge_prompt(*pair, self.template)
        body = {
            "model": c.model,
            "messages": [
                {"role": "system", "content": prompt.system},
                {"role": "user", "content": str(prompt.content[0])},
            ],
            "temperature": 0,
            "max_tokens": 1,
            "logprobs": True,
            "top_logprobs": 20,
        }
        ours = {"X-Request-Id": f"pair-{next(self._numbers)}"}
        url = f"{c.url.rstrip('/')}/chat/completions"
        try:
            # the client's own timeout starts anew with every byte that arrives
            async with asyncio.timeout(c.timeout_s):
                response = await client.post(url, json=body, headers=ours)
        except (TimeoutError, httpx2.TimeoutException):
            raise _NoAnswer("timeout", again=True) from None
        except httpx2.HTTPError:
            raise _NoAnswer("unreachable", again=True) from None
        except UnicodeError:  # half of a surrogate pair in an analysis cannot be encoded
            raise _NoAnswer("not text", again=False) from None
        if response.status_code != 200:
            kind = f"http {response.status_code}"
            again = response.status_code in (408, 409, 425, 429) or response.status_code >= 500
            raise _NoAnswer(kind, again=again, after_s=retry_after(response.headers))
        if response.headers.get("X-Request-Id", ours["X-Request-Id"]) != ours["X-Request-Id"]:
            raise _NoAnswer("another row's answer", again=True)
        try:
            probability = support_probability(response.json(), self.template)
        except Exception:  # servers send anything: wrong types, deep nesting, huge numbers
            probability = None
        if probability is None:
            raise _NoAnswer("malformed", again=True)
        return probability


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
        c = self.config
        headers = {"Authorization": f"Bearer {c.api_key}"} if c.api_key else {}
        limits, timeout = httpx2.Limits(max_connections=c.concurrency), httpx2.Timeout(c.timeout_s)
        async with httpx2.AsyncClient(headers=headers, limits=limits, timeout=timeout) as client:
            return await self._answers(client)

    async def _answers(self, client: httpx2.AsyncClient) -> np.ndarray:
        """Return the answers to all pairs, NaN for no verdict; after a pause, these are asked for
        again if there have been too many failures of late."""
        c, judge = self.config, self.judge
        await self._ask(client, list(range(len(self.pairs))))
        missing = np.flatnonzero(np.isnan(self.found))
        judge.recent.extend(np.isnan(self.found).tolist())
        if len(missing) and sum(judge.recent) > c.pause_share * len(judge.recent):
            again = self._seconds_left() > c.pause_s
            log.warning(
                "judge %s: no verdict on %d of %d pairs (%s); %s",
                *(c.url, len(missing), len(self.pairs), self._kinds()),
                f"asking again in {c.pause_s:g} s" if again else "no time is left to ask again",
            )
            judge.recent.clear()
            if again:
                await self._again(client, missing)
        judge.failures.update(self.failures)
        return self.found

    async def _again(self, client: httpx2.AsyncClient, missing: np.ndarray) -> None:
        """Wait, and ask again for the rows that another attempt may help."""
        await asyncio.sleep(self.config.pause_s)
        await self._ask(client, [int(row) for row in missing if int(row) not in self.hopeless])
        left = int(np.isnan(self.found).sum())
        if left > self.config.pause_share * len(self.pairs):
            log.warning("judge: still %d without verdict, which earn no consistency", left)

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
                    self.found[row] = await self.judge.request(client, self.pairs[row])
                return
            except _NoAnswer as error:
                # full jitter: those that failed together do not come back together
                wait = max(random.uniform(0, 2 * c.backoff_s * 2**attempt), error.after_s)
                late = wait > self._seconds_left()
                if not error.again or attempt == c.retries or late:
                    self.hopeless |= set() if error.again else {row}
                    self.failures["over budget" if error.again and late else error.kind] += 1
                    return
                self.failures["retried"] += 1
            await asyncio.sleep(wait)


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that a server asks to wait (it sends a number, or a date); 0 if none."""
    text = headers.get("Retry-After", "").strip()
    try:
        return max(0.0, float(text)) if math.isfinite(float(text or 0)) else 0.0
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0


def support_probability(answer: Any, template: Template) -> float | None:
    """Return P(supports) / (P(supports) + P(contradicts)) of a chat completion; 1 or 0 by its text
    where the server gives no probabilities; None where it says neither."""
    choice = answer["choices"][0]
    tops = ((choice.get("logprobs") or {}).get("content") or [{}])[0].get("top_logprobs") or []
    found: dict[str, float] = {}  # by word: several tokens are the same one but for spaces
    for top in tops:
        word = str(top["token"]).strip()
        p = math.exp(min(float(top["logprob"]), 0.0))  # above 0 it would overflow
        found[word] = found.get(word, 0.0) + p
    yes, no = (found.get(word, 0.0) for word in (template.supports, template.contradicts))
    if yes + no > 0 and math.isfinite(yes + no):
        return yes / (yes + no)
    text = str(choice["message"]["content"]).strip().rstrip(".").lower()
    words = {template.supports.lower(): 1.0, template.contradicts.lower(): 0.0}
    return words.get(text)
