"""The judge: batches against one pair at a time and against the original, a remote judge's many
requests at a time against one after another."""

import contextlib
import json
import math
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from r1reward_jax.bench.model import Pair, make_pair
from r1reward_jax.bench.model import Settings as ModelSettings
from r1reward_jax.bench.timing import Row, compare, refuse_sizes
from r1reward_jax.console import say
from r1reward_jax.judge.local import LocalJudge, answer_ids
from r1reward_jax.judge.remote import RemoteConfig, RemoteJudge
from r1reward_jax.judge.words import AnswerWords
from r1reward_jax.models.qwen2_5_vl import Buckets, Processor, original
from r1reward_jax.prompts import Template, judge_prompt
from r1reward_jax.types import InputError, Verdict

TEMPLATE = Template("", "{analysis} {verdict}", "Y", "N")
"""Words that any byte-level tokenizer has as one token."""
LIMIT = 1e-5
"""How far two ways to the same probability may be apart, in float32."""


@dataclass(frozen=True)
class Settings:
    """What is measured, in float32."""

    layers: int
    width: int
    vocab: int
    batch: int
    """Pairs of a batch."""
    pairs: int
    prompt: int
    """Tokens of the longest judge prompt; the others have half of them or more."""
    requests: int
    """To the remote judge."""
    latency_ms: int
    """Of the server, milliseconds."""
    rounds: int

    def __post_init__(self) -> None:
        refuse_sizes("bench judge", self)
        if self.prompt < 48:
            raise InputError(f"bench judge: prompt {self.prompt}: expected at least 48")


def run(s: Settings) -> tuple[list[Row], dict[str, Any]]:
    """All comparisons, and what was counted.

    Raises:
      InputError: no torch, sizes that make no sense, or probabilities that differ.
    """
    if not original.available():
        raise InputError("bench judge compares with the original: pip install torch first")
    with tempfile.TemporaryDirectory() as folder:
        sizes = (s.layers, s.width, s.vocab, s.batch, s.prompt, s.prompt, 1, s.rounds)
        pair = make_pair(folder, ModelSettings(*sizes, dtype="float32"))
        found: dict[str, Any] = {}
        return [*local(pair, s, found), remote(s, found)], found


def local(pair: Pair, s: Settings, found: dict[str, Any]) -> list[Row]:
    """All pairs in batches: against a judge of one row, and against the original's batches."""
    pairs = _pairs(s)
    batched, single = (_judge(pair, s, rows) for rows in (s.batch, 1))
    theirs = _original(pair, s, pairs)
    scores = [np.asarray(call(), np.float64) for call in _calls(pairs, batched, single)]
    apart = {
        "one_by_one": float(np.abs(scores[0] - scores[1]).max()),
        "original": float(np.abs(scores[0] - theirs()).max()),
    }
    if not max(apart.values()) <= LIMIT:
        raise InputError(f"bench judge: probabilities differ, by {apart}")
    found["local"] = {
        "device_calls": batched.calls,
        "fewest_calls": math.ceil(s.pairs / s.batch),
        "programs": batched.programs(),
        "largest_difference": apart,
    }
    ours, one_by_one = _calls(pairs, batched, single)
    rows = [
        compare(f"batches of {s.batch}", ours, one_by_one, rounds=s.rounds),
        compare("the same, original", ours, theirs, rounds=s.rounds),
    ]
    found["local"]["pairs_per_s"] = round(s.pairs / rows[0].ours_s, 1)
    calls = f"{found['local']['device_calls']} device calls, {batched.programs()} program"
    say(f"{'':<28} {calls}; probabilities within {max(apart.values()):.1e}")
    return rows


def remote(s: Settings, found: dict[str, Any]) -> Row:
    """All requests at a time against one after another."""
    pairs: list[tuple[str, Verdict]] = [(f"request {i}", 1) for i in range(s.requests)]
    with _server(s.latency_ms / 1000) as url:
        many, one = (_remote(url, n).score for n in (s.requests, 1))
        if many(pairs) != one(pairs) or None in many(pairs):
            raise InputError("bench judge: the server's answers differ")
        name = f"{s.requests} requests, {s.latency_ms} ms"
        row = compare(name, lambda: many(pairs), lambda: one(pairs), rounds=min(2, s.rounds))
    found["remote"] = {"requests_per_s": round(s.requests / row.ours_s, 1)}
    return row


# -------------------------------------------------------------------- helpers


def _pairs(s: Settings) -> list[tuple[str, Verdict]]:
    """Random letters, about as many tokens; the first ones fill the prompt."""
    rng = np.random.default_rng(0)
    longest = s.prompt - 40  # what stands around the letters
    sizes = rng.integers(longest // 2, longest + 1, s.pairs)
    letters = [rng.choice(list("abcdefgh"), int(n)) for n in sizes]
    return [("".join(row), 1 if i % 2 else 2) for i, row in enumerate(letters)]


def _judge(pair: Pair, s: Settings, rows: int) -> LocalJudge:
    processor = Processor(pair.processor.folder, Buckets((s.prompt,), (1,), (4,)))
    return LocalJudge(
        pair.model,
        pair.params,
        processor,
        TEMPLATE,
        rows=rows,
        min_mass=0.0,
        compute_dtype="float32",
        put_batch=lambda batch: jax.tree.map(jnp.asarray, batch),
    )


def _calls(pairs: Sequence[tuple[str, Verdict]], *judges: LocalJudge) -> list[Callable[[], Any]]:
    return [lambda judge=judge: judge.score(pairs) for judge in judges]


def _original(
    pair: Pair, s: Settings, pairs: Sequence[tuple[str, Verdict]]
) -> Callable[[], np.ndarray]:
    """Probabilities by the original, in the same batches; the head sees last positions only."""
    import torch

    encode, words = pair.processor.encode, AnswerWords.of(TEMPLATE)
    answers = [
        torch.tensor(ids).long().to(pair.device)
        for ids in answer_ids(pair.processor, TEMPLATE, words)
    ]

    def score(part: Sequence[tuple[str, Verdict]]) -> torch.Tensor:
        prompts = [encode(judge_prompt(*p, TEMPLATE)) for p in part]
        batch = pair.processor.collate(prompts)
        ids = torch.tensor(batch.tokens).long().to(pair.device)
        lengths = torch.tensor(batch.lengths).to(pair.device)
        mask = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
        out = pair.original.model(input_ids=ids, attention_mask=mask, use_cache=False)
        last = out.last_hidden_state[torch.arange(len(part)), lengths.long() - 1]
        logits = pair.original.lm_head(last).float()
        first, second = (torch.logsumexp(logits[:, ids], -1) for ids in answers)
        return torch.sigmoid(first - second).cpu()

    def call() -> np.ndarray:
        parts = [pairs[i : i + s.batch] for i in range(0, len(pairs), s.batch)]
        with torch.inference_mode():
            return torch.cat([score(part) for part in parts]).double().numpy()

    return call


def _remote(url: str, concurrency: int) -> RemoteJudge:
    settings = RemoteConfig(
        url=url,
        model="judge",
        api_key="",
        api_key_env="",
        mode="token",
        answer_tokens=1,
        min_mass=0.5,
        probe_s=60.0,
        concurrency=concurrency,
        timeout_s=30.0,
        retries=0,
        backoff_s=0.0,
        budget_s=600.0,
        pause_share=1.0,
        pause_s=0.0,
    )
    return RemoteJudge(TEMPLATE, settings)


class _Handler(BaseHTTPRequestHandler):
    """Says the same to everybody, late."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # head and body in one packet, or each waits for an acknowledgement
    latency_s = 0.0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.latency_s)
        text = json.dumps({"choices": [{"message": {"content": TEMPLATE.supports}}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 1024


@contextlib.contextmanager
def _server(latency_s: float) -> Iterator[str]:
    """The address of a server in a thread of this process."""
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"latency_s": latency_s}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
