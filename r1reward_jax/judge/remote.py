"""A judge behind an OpenAI-compatible server: many requests at a time, and no failure stops a run.

Requests that time out, are refused or meet a busy server are tried again, later and later; what has
no answer in the end is "no verdict" (None): its consistency reward is 0, and it is counted. One of
several processes asks and tells the others.
"""

import asyncio
import email.utils
import itertools
import logging
import math
import random
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import httpx2
import jax
import numpy as np
from jax.experimental import multihost_utils

from r1reward_jax.prompts import Template, judge_prompt
from r1reward_jax.types import InputError, Verdict

log = logging.getLogger(__name__)
Pair = tuple[str, Verdict]


@dataclass(frozen=True)
class RemoteConfig:
    """How a server is asked."""

    url: str
    """Of the API, with its version: http://host:8000/v1."""
    model: str
    """Name of the model that the server serves."""
    api_key: str
    """Sent as a bearer token; empty for none."""
    concurrency: int
    """Requests under way at a time."""
    timeout_s: float
    """Of a request."""
    retries: int
    """Further attempts after the first."""
    backoff_s: float
    """Mean wait before the first retry; doubles with each."""
    budget_s: float
    """Of a whole batch; what is not answered by then has no verdict."""
    pause_share: float
    """Share of a batch without verdict above which the judge says so, waits, and asks once more."""
    pause_s: float
    """That wait."""


class _NoAnswer(Exception):
    """A request that failed; whether another attempt may help, and when at the earliest."""

    def __init__(self, kind: str, *, again: bool, after_s: float = 0.0):
        super().__init__(kind)
        self.kind, self.again, self.after_s = kind, again, after_s


class RemoteJudge:
    """`types.Judge` that asks a server."""

    def __init__(self, template: Template, config: RemoteConfig):
        """
        Args:
          template: whose judge prompt and answer words are used.
          config: where and how to ask.

        Raises:
          InputError: the address is none, or the settings leave nothing to do.
        """
        if not config.url.startswith(("http://", "https://")):
            raise InputError(f"judge.url {config.url!r}: expected http://… or https://…")
        if not config.model:
            raise InputError("judge.model: name the model that the server serves")
        if config.concurrency < 1 or config.timeout_s <= 0 or config.budget_s <= 0:
            raise InputError("judge: concurrency, timeout_s and budget_s must be above 0")
        self.template, self.config, self.group = template, config, config.concurrency
        self._numbers = itertools.count()
        self._background, self._gate = _Background(), asyncio.Semaphore(config.concurrency)
        self.failures: Counter[str] = Counter()
        """Requests that ended without verdict, by kind; "retried" counts further attempts."""

    def start(self, pairs: Sequence[Pair]) -> Callable[[], list[float | None]]:
        """As `types.Judge`: requests go out while the caller does something else; all that are
        under way share `concurrency`."""
        asked = None
        if jax.process_index() == 0 and pairs:
            asked = self._background.run(self._answers(pairs))

        def wait() -> list[float | None]:
            answers = np.full(len(pairs), np.nan) if asked is None else asked.result()
            if jax.process_count() > 1:
                answers = multihost_utils.broadcast_one_to_all(answers)
            return [None if math.isnan(a) else float(a) for a in answers]

        return wait

    def score(self, pairs: Sequence[Pair]) -> list[float | None]:
        """The probability of each (analysis, verdict) that the one supports the other; None where
        there is no answer. Never raises for what the server does."""
        return self.start(pairs)()

    async def _answers(self, pairs: Sequence[Pair]) -> np.ndarray:
        answers = await self._ask_all(pairs)
        missing = np.flatnonzero(np.isnan(answers))
        if len(missing) > self.config.pause_share * len(pairs):
            log.warning(
                "judge %s: no verdict on %d of %d pairs (%s); asking again in %g s",
                *(self.config.url, len(missing), len(pairs), self._kinds(), self.config.pause_s),
            )
            await asyncio.sleep(self.config.pause_s)
            answers[missing] = await self._ask_all([pairs[int(i)] for i in missing])
            left = int(np.isnan(answers).sum())
            if left > self.config.pause_share * len(pairs):
                log.warning("judge: still %d without verdict, which earn no consistency", left)
        return answers

    def _kinds(self) -> str:
        return ", ".join(f"{kind} {count}" for kind, count in sorted(self.failures.items()))

    async def _ask_all(self, pairs: Sequence[Pair]) -> np.ndarray:
        c, answers = self.config, np.full(len(pairs), np.nan)
        headers = {"Authorization": f"Bearer {c.api_key}"} if c.api_key else {}
        limits = httpx2.Limits(max_connections=c.concurrency)
        timeout = httpx2.Timeout(c.timeout_s)
        async with httpx2.AsyncClient(headers=headers, limits=limits, timeout=timeout) as client:

            async def one(row: int) -> None:
                async with self._gate:
                    try:
                        answers[row] = await self._answer(client, pairs[row])
                    except _NoAnswer as error:
                        self.failures[error.kind] += 1

            tasks = [asyncio.create_task(one(row)) for row in range(len(pairs))]
            _, late = await asyncio.wait(tasks, timeout=c.budget_s)
            self.failures["over budget"] += len(late)
            for task in late:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
        for error in done:
            if isinstance(error, Exception):
                raise error  # none of the server's: a mistake of ours must not look like one
        self.failures = +self.failures
        return answers

    async def _answer(self, client: httpx2.AsyncClient, pair: Pair) -> float:
        """One pair, tried until it is answered or no further attempt is left."""
        for attempt in range(self.config.retries + 1):
            try:
                return await self._request(client, pair)
            except _NoAnswer as error:
                if not error.again or attempt == self.config.retries:
                    raise
                self.failures["retried"] += 1
                # full jitter: those that failed together do not come back together
                wait = random.uniform(0, 2 * self.config.backoff_s * 2**attempt)
                await asyncio.sleep(max(wait, error.after_s))
        raise AssertionError

    async def _request(self, client: httpx2.AsyncClient, pair: Pair) -> float:
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
        if response.status_code != 200:
            kind = f"http {response.status_code}"
            again = response.status_code in (408, 409, 425, 429) or response.status_code >= 500
            raise _NoAnswer(kind, again=again, after_s=retry_after(response.headers))
        if response.headers.get("X-Request-Id", ours["X-Request-Id"]) != ours["X-Request-Id"]:
            raise _NoAnswer("another row's answer", again=True)
        try:
            probability = support_probability(response.json(), self.template)
        except (ValueError, LookupError, TypeError, AttributeError):
            probability = None
        if probability is None:
            raise _NoAnswer("malformed", again=True)
        return probability


class _Background:
    """An event loop in a thread of its own: a notebook has one already, and callers go on."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Coroutine[Any, Any, np.ndarray]) -> "Future[np.ndarray]":
        """Begin; the future holds the result."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            thread = threading.Thread(target=_serve, args=(self._loop,), daemon=True)
            thread.start()
            weakref.finalize(self, _stop, self._loop, thread)
        return asyncio.run_coroutine_threadsafe(work, self._loop)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.run_until_complete(_cancel_rest())
    loop.close()


async def _cancel_rest() -> None:
    """What a run that was interrupted has left."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        thread.join()


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait: a number, or a date; 0 if it does not ask."""
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
    """P(supports) / (P(supports) + P(contradicts)) of a chat completion; 1 or 0 by its text where
    the server gives no probabilities; None where it says neither."""
    choice = answer["choices"][0]
    tops = ((choice.get("logprobs") or {}).get("content") or [{}])[0].get("top_logprobs") or []
    found: dict[str, float] = {}
    for top in tops:
        word = str(top["token"]).strip()
        p = math.exp(min(float(top["logprob"]), 0.0))
        found[word] = found.get(word, 0.0) + p
    yes, no = (found.get(word, 0.0) for word in (template.supports, template.contradicts))
    if yes + no > 0 and math.isfinite(yes + no):
        return yes / (yes + no)
    said = str(choice["message"]["content"]).strip().rstrip(".").lower()
    words = {template.supports.lower(): 1.0, template.contradicts.lower(): 0.0}
    return words.get(said)
