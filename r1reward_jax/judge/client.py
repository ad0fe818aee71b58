"""One request to an OpenAI-compatible server: how it is asked, what comes back, and why not.

Nothing that a server sends is trusted: its body is read up to a limit and unpacked up to the same
one, its words are shown in one printable line, and it is sent its key and nothing else.
"""

import json
import math
import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import httpx2

from r1reward_jax.errors import InputError
from r1reward_jax.judge.words import (
    AnswerWords,
    after_reasoning,
    finite_probability,
    printable,
    share,
)
from r1reward_jax.types import Prompt

MOST_BYTES = 1_000_000
"""Of an answer, also once it is unpacked; a chat completion has some thousands."""
MOST_TOPS = 20
"""Likeliest tokens that a server is asked for; most allow 20, some 5."""
REFUSED = "http"
"""Kinds begin with it where a server answered with a status."""


@dataclass(frozen=True)
class Dialect:
    """How a server is asked; `probe` finds out what it takes."""

    tops: int | None = MOST_TOPS
    """Likeliest tokens that it is asked for; None for none, and the text is read."""
    limit: str = "max_tokens"
    """The name of the limit of tokens; OpenAI's reasoning models want max_completion_tokens."""
    temperature: bool = True
    """Whether a temperature of 0 is sent."""
    system: bool = True
    """Whether a system message is sent."""
    thinking: bool = True
    """False asks the chat template to leave reasoning out."""
    writes: int = 0
    """Tokens that it may write before its answer; 0 reads the first token."""

    def body(self, model: str, prompt: Prompt) -> dict[str, Any]:
        """Return the request for a prompt."""
        system = [{"role": "system", "content": prompt.system}] if self.system else []
        body: dict[str, Any] = {
            "model": model,
            "messages": [*system, {"role": "user", "content": str(prompt.content[0])}],
            self.limit: self.writes or 1,
        }
        if self.temperature:
            body["temperature"] = 0
        if self.tops and not self.writes:
            body |= {"logprobs": True, "top_logprobs": self.tops}
        if not self.thinking:
            body["chat_template_kwargs"] = {"enable_thinking": False}
        return body


class Reading(NamedTuple):
    """What a chat completion says."""

    probability: float | None
    """P(supports); None where it says neither word."""
    said: str
    """What it says instead, for a message."""
    from_text: bool
    """Whether there were no probabilities to read."""
    tokens: int
    """Tokens that were written for it, as far as the server says."""


class JudgeRefusedError(InputError):
    """The server of a judge refuses every request, and no other attempt would help."""


class NoAnswerError(Exception):
    """A request has failed; says whether another attempt may help, and when at the earliest."""

    def __init__(
        self, kind: str, *, again: bool, after_s: float = 0.0, status: int = 0, words: str = ""
    ):
        super().__init__(kind)
        self.kind, self.again, self.after_s = kind, again, after_s
        self.status = status
        """Of HTTP; 0 where nothing came."""
        self.words = words
        """What the server said, for a message."""


def read(answer: Any, words: AnswerWords, dialect: Dialect, min_mass: float) -> Reading:
    """Return what a chat completion says. Raises anything for what is no chat completion.

    Args:
      answer: as it was parsed.
      words: that it may answer with.
      dialect: in which it was asked.
      min_mass: least probability of both words together that is an answer.
    """
    choice = answer["choices"][0]
    message = choice["message"]
    text, reasoning = (str(message.get(k) or "") for k in ("content", "reasoning_content"))
    reasoning = reasoning or str(message.get("reasoning") or "")
    usage = answer.get("usage")
    written = usage.get("completion_tokens") if isinstance(usage, dict) else None
    tokens = written if isinstance(written, int) and 0 <= written < 10**9 else 0
    if dialect.writes:
        return _written(text, reasoning, choice.get("finish_reason"), words, dialect, tokens)
    tops = _tops(choice)
    if not tops:
        return Reading(words.verdict(text), _said(text or reasoning), True, tokens)
    yes, no = words.masses(tops)
    if yes + no >= max(min_mass, 1e-30):
        return Reading(yes / (yes + no), "", False, tokens)
    likeliest = max(tops, key=lambda top: top[1])[0]
    both = f"{words.both} together had {share(yes + no)}"
    return Reading(None, f"{_said(text or reasoning or likeliest)} ({both})", False, tokens)


def _written(
    text: str, reasoning: str, finish: Any, words: AnswerWords, dialect: Dialect, tokens: int
) -> Reading:
    """Return what stands behind the reasoning of an answer."""
    answer = after_reasoning(text)
    cut = finish == "length"
    verdict = None if cut or answer is None else words.verdict(answer)
    said = _said((answer or text).strip() or reasoning)
    if verdict is None and cut:
        said += f" (cut off at judge.answer_tokens {dialect.writes})"
    return Reading(verdict, said, True, tokens)


def _said(text: str) -> str:
    return repr(printable(text)) if text.strip() else "nothing"


def _tops(choice: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return the likeliest first tokens with their probabilities; none where the server gives
    none, or numbers instead of tokens."""
    content = (choice.get("logprobs") or {}).get("content") or []
    if not content:
        return []
    first = content[0]
    given = first.get("top_logprobs") or []
    # the token that was sampled need not be among the likeliest
    if "token" in first and first["token"] not in [top["token"] for top in given]:
        given = [*given, first]
    tops = [(str(top["token"]), finite_probability(top["logprob"])) for top in given]
    return [] if tops and all(re.fullmatch(r"token_id:\d+", t) for t, _ in tops) else tops


# ---------------------------------------------------------------------- requests


async def post(
    client: httpx2.AsyncClient, url: str, body: Any, headers: Mapping[str, str]
) -> tuple[int, Mapping[str, str], bytes]:
    """Send a body; return status, headers and the answer's body.

    Raises:
      NoAnswerError: nothing came, or more than MOST_BYTES.
    """
    try:
        async with client.stream("POST", url, json=body, headers=dict(headers)) as response:
            return response.status_code, response.headers, await _bounded(response)
    except (TimeoutError, httpx2.TimeoutException):
        raise NoAnswerError("timeout", again=True) from None
    except httpx2.InvalidURL as error:
        raise NoAnswerError("no address", again=False, words=printable(error)) from None
    except httpx2.HTTPError as error:
        words = printable(error) or type(error).__name__
        raise NoAnswerError("unreachable", again=True, words=words) from None
    except UnicodeError:  # half of a surrogate pair in an analysis cannot be encoded
        raise NoAnswerError("not text", again=False) from None


async def fetched(client: httpx2.AsyncClient, url: str) -> bytes:
    """Return the body of an address, if it answers with one; else nothing."""
    try:
        async with client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response:
            return await _bounded(response) if response.status_code == 200 else b""
    except (httpx2.HTTPError, TimeoutError, NoAnswerError):
        return b""


async def _bounded(response: httpx2.Response) -> bytes:
    """Return a body of at most MOST_BYTES, unpacked by hand: the client's own decoders turn a
    packet of 64 KB into 64 MB at once, and nothing else runs meanwhile."""
    packed = bytearray()
    async for chunk in response.aiter_raw():
        packed += chunk
        if len(packed) > MOST_BYTES:
            raise NoAnswerError("body too large", again=True, words=f"above {MOST_BYTES:,} bytes")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return bytes(packed)
    if encoding not in ("gzip", "x-gzip", "deflate"):
        words = f"Content-Encoding {printable(encoding, 40)} was not asked for"
        raise NoAnswerError("malformed", again=True, words=words)
    unpacker = zlib.decompressobj(wbits=47 if "gzip" in encoding else 15)
    try:
        body = unpacker.decompress(bytes(packed), MOST_BYTES)
    except zlib.error as error:
        raise NoAnswerError("malformed", again=True, words=printable(error)) from None
    if unpacker.unconsumed_tail:
        raise NoAnswerError("body too large", again=True, words=f"above {MOST_BYTES:,} bytes")
    return body


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> NoAnswerError:
    """Return what a status other than 200 means."""
    again = status in (408, 409, 425, 429) or status >= 500
    words = server_words(body)
    if 300 <= status < 400:
        words = f"it redirects to {printable(headers.get('Location', 'nowhere'))}"
    return NoAnswerError(
        f"{REFUSED} {status}",
        again=again,
        after_s=retry_after(headers),
        status=status,
        words=words,
    )


def server_words(body: bytes) -> str:
    """Return what a server says about a failure, for a message: its `message`, or its text."""
    text: Any = body[: 8 * 1024].decode(errors="replace")
    try:
        said: Any = json.loads(body)
        for field in ("error", "message", "detail", "msg"):
            if isinstance(said, dict) and said.get(field):
                said = said[field]
        text = said if isinstance(said, str) else json.dumps(said)
    except (ValueError, RecursionError):
        pass
    return printable(text, 300)


def retry_after(headers: Mapping[str, str]) -> float:
    """Return the seconds that a server asks to wait (it sends a number, or a date); 0 if none."""
    text = headers.get("Retry-After", "").strip()
    try:
        return max(0.0, float(text)) if math.isfinite(float(text or 0)) else 0.0
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def adapted(dialect: Dialect, error: NoAnswerError) -> Dialect | None:
    """Return how to ask a server that has refused a request for one of its fields; None where its
    words name none that could be changed."""
    if error.status not in (400, 422):
        return None
    words = error.words.lower()
    if "max_completion_tokens" in words and dialect.limit == "max_tokens":
        return replace(dialect, limit="max_completion_tokens")
    if "logprob" in words and dialect.tops:
        allowed = [n for n in map(int, re.findall(r"\b\d{1,3}\b", words)) if 0 < n < dialect.tops]
        return replace(dialect, tops=max(allowed, default=None))
    if "temperature" in words and dialect.temperature:
        return replace(dialect, temperature=False)
    if re.search(r"\bsystem\b", words) and dialect.system:
        return replace(dialect, system=False)
    return None


def difference(old: Dialect, new: Dialect) -> str:
    """Return in what two ways of asking differ, for a message."""
    if new.tops != old.tops:
        return f"top_logprobs {new.tops}" if new.tops else "without log-probabilities"
    if new.limit != old.limit:
        return f"with {new.limit}"
    return "without a temperature" if new.temperature != old.temperature else "without a system"
