"""A judge is asked about a few pairs before the first update: does it answer, and does it tell an
analysis that argues for its verdict from one that argues against it?

A server is asked in the ways that it might take, and what no retry can help ends the run here, with
the server's own words.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import httpx2
import jax
import numpy as np

from r1reward_jax.config.addresses import endpoint
from r1reward_jax.console import note, say, warn
from r1reward_jax.errors import InputError
from r1reward_jax.judge.client import (
    Dialect,
    NoAnswerError,
    Reading,
    adapted,
    difference,
    fetched,
)
from r1reward_jax.judge.local import LocalJudge
from r1reward_jax.judge.remote import RemoteJudge, example_pairs, shared
from r1reward_jax.judge.words import printable
from r1reward_jax.types import Judge

LONGEST_WAIT = 15.0
"""Seconds between two attempts at most."""


def probe(judge: Judge) -> None:
    """Ask a judge about pairs whose answers are known, and say what it answers.

    Raises:
      InputError: it cannot be asked, or gives no verdicts.
    """
    if isinstance(judge, RemoteJudge):
        answers = shared(lambda: _on_first_process(judge), 4)
        _say_what_it_answers([None if a != a else float(a) for a in answers])
    elif isinstance(judge, LocalJudge):
        _probe_local(judge)


def _say_what_it_answers(answers: Sequence[float | None]) -> None:
    """Print the answers, the first half of which should be high; warn where they say nothing."""
    if jax.process_index():
        return
    shown = ["none" if a is None else f"{a:.2f}" for a in answers]
    for_it, against = ", ".join(shown[:2]), ", ".join(shown[2:])
    say(f"judge: supports 2 analyses for their verdict with {for_it}, 2 against it with {against}")
    given = [a >= 0.5 for a in answers if a is not None]
    if len(given) < len(answers):
        missing = len(answers) - len(given)
        warn(f"judge: no verdict on {missing} of {len(answers)} examples")
    elif len(set(given)) == 1:
        word = "Yes" if given[0] else "No"
        warn(
            f"judge: {word} to all {len(given)} examples, for and against their verdict; such a "
            "judge rewards nothing"
        )
    elif given != [True, True, False, False]:
        warn("judge: it takes an example for the opposite of what it is; look at its answers")


# ------------------------------------------------------------------------ local


def _probe_local(judge: LocalJudge) -> None:
    pairs = example_pairs(judge.template)
    answers = judge.score(pairs)
    if judge.failures["too long"]:
        note("judge: the examples are longer than judge.max_tokens; it was not tried")
        return
    if all(answer is None for answer in answers):
        raise InputError(
            f"judge.path={judge.name}: no verdict on {len(pairs)} examples; "
            f"{judge.said or 'its scores are no numbers'}. A judge here answers with its first "
            "token (judge.min_mass); one that writes first has to be served, see judge.url"
        )
    _say_what_it_answers(answers)


# ----------------------------------------------------------------------- remote


def _on_first_process(judge: RemoteJudge) -> np.ndarray:
    """Return what the server says about the examples, NaN for no verdict."""
    if jax.process_index():
        return np.full(4, np.nan)
    readings = judge.run(lambda client: _settle(judge, client))
    return np.asarray([np.nan if r.probability is None else r.probability for r in readings])


async def _settle(judge: RemoteJudge, client: httpx2.AsyncClient) -> list[Reading]:
    """Find the way of asking in which the server answers; its judge is asked so from then on."""
    said: dict[str, str] = {}
    first: Dialect = judge.dialect
    for name, change in _ways(judge):
        judge.dialect = change(judge.dialect)
        try:
            readings = await _ask_all(judge, client)
        except NoAnswerError as error:
            if not said or error.again:
                raise await _explained(judge, client, error) from None
            # an addition that it does not know is no way to ask it
            said[name], judge.dialect = f"{error.kind} {error.words}", first
            continue
        answered = [r for r in readings if r.probability is not None]
        if len(answered) >= len(readings) / 2:
            _say_how(judge, name, said, readings)
            return readings
        if not said:
            first = judge.dialect  # with what the server has asked for
        said[name] = next(r.said for r in readings if r.probability is None)
        judge.dialect = first
    ways = "; ".join(f"{name}: {text}" for name, text in said.items())
    raise InputError(
        f"judge {judge.url}: {judge.config.model!r} gives no verdict. Asked for "
        f"{judge.template.supports} or {judge.template.contradicts}, it said, {ways}"
    )


def _ways(judge: RemoteJudge) -> list[tuple[str, Callable[[Dialect], Dialect]]]:
    """Return the ways of asking that the mode allows, cheapest first."""
    most = judge.config.answer_tokens
    token: list[tuple[str, Callable[[Dialect], Dialect]]] = [
        ("with its first token", lambda d: d),
        ("without thinking", lambda d: replace(d, thinking=False)),
    ]
    text: list[tuple[str, Callable[[Dialect], Dialect]]] = [
        (f"in up to {most} tokens", lambda d: replace(d, thinking=True, writes=most))
    ]
    return {"auto": token + text, "token": token, "text": text}[judge.config.mode]


def _say_how(
    judge: RemoteJudge, name: str, said: dict[str, str], readings: Sequence[Reading]
) -> None:
    if said:
        tokens = sum(r.tokens for r in readings) / len(readings)
        cost = f", {tokens:.0f} a pair" if judge.dialect.writes and tokens else ""
        first = next(iter(said.values()))
        note(f"judge: it answers {name}{cost}; its first token was no answer, it said {first}")
    if not judge.dialect.writes and any(r.from_text for r in readings):
        note("judge: the server gives no probabilities; its text is read, and is 1 or 0")


async def _ask_all(judge: RemoteJudge, client: httpx2.AsyncClient) -> list[Reading]:
    """Return the readings of all examples. Raises NoAnswerError where the server refuses them, or
    has not answered in time."""
    deadline = asyncio.get_running_loop().time() + judge.config.probe_s
    pairs = example_pairs(judge.template)
    first = await _ask(judge, client, pairs[0], deadline)  # what it takes is found with one
    rest = await asyncio.gather(*(_ask(judge, client, pair, deadline) for pair in pairs[1:]))
    return [first, *rest]


async def _ask(
    judge: RemoteJudge, client: httpx2.AsyncClient, pair: tuple, deadline: float
) -> Reading:
    """Return the reading of one pair: other ways of asking are tried where the server names what it
    does not take, and a server that is not ready is waited for."""
    attempt, odd = 0, 0
    while True:
        dialect, url = judge.dialect, judge.url
        try:
            async with judge.gate:
                return await judge.request(client, pair)
        except NoAnswerError as error:
            change = adapted(dialect, error)
            if change:
                note(f"judge: {error.words}; it is asked {difference(dialect, change)}")
                judge.dialect = change
                continue
            if error.status in (404, 405) and "/v1" not in url:
                judge.url = endpoint(url, "/v1")
                try:
                    reading = await judge.request(client, pair)
                except NoAnswerError as again:
                    if again.status == error.status or not again.status:
                        judge.url = url
                        raise error from None
                    raise again from None
                note(f"judge.url {url}: the API is at {judge.url}")
                return reading
            odd += error.kind in ("malformed", "another row's answer", "body too large")
            wait = min(judge.config.backoff_s * 2**attempt, LONGEST_WAIT)
            wait, attempt = max(wait, error.after_s, 0.01), attempt + 1
            late = asyncio.get_running_loop().time() + wait > deadline
            if not error.again or late or odd > judge.config.retries:
                raise
            judge.show_once(error)
            if attempt == 1:
                most = judge.config.probe_s
                note(f"judge {judge.url}: {error.kind}; asking again for up to {most:g} s")
        await asyncio.sleep(wait)


async def _explained(
    judge: RemoteJudge, client: httpx2.AsyncClient, error: NoAnswerError
) -> InputError:
    """Return what a user can do about a server that refuses, or does not answer."""
    c, words = judge.config, f" ({error.words})" if error.words else ""
    what = f"judge {judge.url}: {error.kind}{words}"
    variable = c.api_key_env
    if error.status in (401, 403):
        key = f"it was sent the key of {variable}" if judge.key else f"{variable} is not set"
        return InputError(f"{what}; {key} (judge.api_key_env)")
    if error.status == 402:
        return InputError(f"{what}; the account of the key in {variable} has to be paid for")
    names = await _served(judge, client) if error.status in (400, 404, 422) else []
    if names and c.model not in names:
        some = ", ".join(printable(n, 60) for n in names[:5])
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        return InputError(f"{what}; judge.model={c.model}: the server has {some}{more}")
    if error.status in (404, 405):
        return InputError(f"{what}; look at judge.url and judge.model={c.model}")
    if 300 <= error.status < 400:
        return InputError(f"{what}; give that address as judge.url, the key is not sent on")
    if error.kind in ("malformed", "body too large"):
        return InputError(f"{what}; judge.url: expected an OpenAI-compatible server")
    if error.again:
        return InputError(
            f"{what}; no answer for {c.probe_s:g} s (judge.probe_s): start the server "
            "first, or look at judge.url and judge.timeout_s"
        )
    return InputError(what)


async def _served(judge: RemoteJudge, client: httpx2.AsyncClient) -> list[str]:
    """Return the names of the models that the server lists; none where it lists none."""
    try:
        async with asyncio.timeout(judge.config.timeout_s):
            body = json.loads(await fetched(client, endpoint(judge.url, "/models")))
        return [str(model["id"]) for model in body["data"]]
    except Exception:  # a list that cannot be read is none
        return []
