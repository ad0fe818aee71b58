"""The sampler against the original's `generate`, and what refills and shared prompts save."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from r1reward_jax.bench.model import Pair, make_pair
from r1reward_jax.bench.model import Settings as ModelSettings
from r1reward_jax.bench.timing import Row, compare, refuse_sizes
from r1reward_jax.console import say
from r1reward_jax.models.qwen2_5_vl import Buckets, Processor, original
from r1reward_jax.rollout.engine import Engine, Rollout
from r1reward_jax.rollout.sampler import SamplerConfig
from r1reward_jax.types import EncodedPrompt, InputError

MEAN, SIGMA = 65, 0.4
"""Of the log-normal lengths of completions."""
BYTES_PER_S = {
    "NVIDIA H100 80GB HBM3": 3.35e12,
    "NVIDIA H200": 4.8e12,
    "TPU v5 lite": 0.81e12,
    "TPU v5p": 2.8e12,
    "TPU v6 lite": 1.6e12,
}
"""Peak memory bandwidth of a device, by its kind as JAX names it."""


@dataclass(frozen=True)
class Settings:
    """What is measured, in float32, layers unrolled."""

    layers: int
    width: int
    vocab: int
    batch: int
    """Prompts of the comparison with `generate`."""
    prompt: int
    """Their tokens."""
    new_tokens: int
    """Their completions'."""
    slots: int
    """Rows that are decoded at a time, of `requests`, whose completions differ in length."""
    requests: int
    cap: int
    """Their longest completion."""
    votes: int
    """Completions that share a prompt."""
    vote_prompt: int
    vote_tokens: int
    rounds: int

    def __post_init__(self) -> None:
        refuse_sizes("bench rollout", self)


def run(s: Settings) -> tuple[list[Row], dict[str, Any]]:
    """All comparisons, and what was counted.

    Raises:
      InputError: no torch, sizes that make no sense, or tokens that differ.
    """
    if not original.available():
        raise InputError("bench rollout compares with the original: pip install torch first")
    with tempfile.TemporaryDirectory() as folder:
        sizes = (s.layers, s.width, s.vocab, s.batch, s.prompt, s.prompt, s.new_tokens, s.rounds)
        pair = make_pair(folder, ModelSettings(*sizes, dtype="float32"))
        found: dict[str, Any] = {}
        rows = [against_generate(pair, s, found), refills(pair, s, found), votes(pair, s, found)]
        return rows, found


def against_generate(pair: Pair, s: Settings, found: dict[str, Any]) -> Row:
    """The same greedy tokens, as many for everybody."""
    prompts = _prompts(s, s.batch, s.prompt)
    engine = _engine(pair, s.prompt, s.new_tokens, s.vocab, slots=s.batch, prefill_batch=s.batch)
    theirs = _generate(pair, prompts, s.new_tokens)
    rollout = _complete(engine, pair, prompts)()
    if not np.array_equal(rollout.batch.tokens[:, 0], theirs()):
        raise InputError("bench rollout: the two do not write the same tokens")
    name = f"greedy, {s.batch} rows"
    row = compare(name, _complete(engine, pair, prompts), theirs, rounds=s.rounds)
    found["greedy"] = _speed(pair, rollout, row.ours_s)
    return row


def refills(pair: Pair, s: Settings, found: dict[str, Any]) -> Row:
    """Rows that are filled anew when an eighth of them have ended, and move together at the end,
    against batches that wait for their longest; the same work."""
    drawn = np.random.default_rng(0).lognormal(np.log(MEAN) - SIGMA**2 / 2, SIGMA, s.requests)
    limits = [int(n) for n in np.clip(np.round(drawn), 1, s.cap)]
    short = max(1, s.prompt // 4)
    prompts = _prompts(s, s.requests, short)
    calls, counted = [], []
    for prefill_batch, compact in ((max(1, s.slots // 8), 4), (s.slots, 1)):
        sizes = {"slots": s.slots, "prefill_batch": prefill_batch, "compact": compact}
        engine = _engine(pair, short, s.cap, s.vocab, **sizes)
        calls.append(_complete(engine, pair, prompts, limits=limits))
        counted.append(calls[-1]())
    ours, static = counted
    if ours.completions != static.completions:
        raise InputError("bench rollout: refills change what is written")
    row = compare(f"refills, {s.slots} of {s.requests}", *calls, rounds=min(2, s.rounds))
    found["refills"] = _speed(pair, ours, row.ours_s) | {
        "steps": ours.steps,
        "static_steps": static.steps,
        "occupancy": round(ours.occupancy, 4),
        "static_occupancy": round(static.occupancy, 4),
    }
    saved = f"steps {ours.steps} against {static.steps}, {static.steps / ours.steps:.2f} times"
    busy = f"occupancy {ours.occupancy:.3f} against {static.occupancy:.3f}"
    say(f"{'':<28} {saved}; {busy}")
    return row


def votes(pair: Pair, s: Settings, found: dict[str, Any]) -> Row:
    """Several samples from one prompt cache, against as many prompts."""
    (prompt,) = _prompts(s, 1, s.vote_prompt)
    one = _engine(pair, s.vote_prompt, s.vote_tokens, s.vocab, slots=1, prefill_batch=1)
    many = _engine(
        pair, s.vote_prompt, s.vote_tokens, s.vocab, slots=s.votes, prefill_batch=s.votes
    )
    shared = _complete(one, pair, [prompt], samples=s.votes, temperature=1.0)
    apart = _complete(many, pair, [prompt] * s.votes, temperature=1.0)
    row = compare(f"{s.votes} votes", shared, apart, rounds=s.rounds)
    sizes = [_prompt_cache_bytes(e, pair, [prompt], n) for e, n in ((one, s.votes), (many, 1))]
    found["votes"] = {"prompt_cache_bytes": sizes[0], "prompt_cache_bytes_apart": sizes[1]}
    say(f"{'':<28} prompt cache {sizes[1] / sizes[0]:.1f} times smaller")
    return row


# -------------------------------------------------------------------- helpers


def _engine(
    pair: Pair,
    width: int,
    new_tokens: int,
    vocab: int,
    *,
    slots: int,
    prefill_batch: int,
    compact: int = 1,
) -> Engine:
    """Return an engine whose completions end at their limit, and only there."""
    sampler = SamplerConfig(
        samples=1,
        max_new_tokens=new_tokens,
        eos_ids=(),
        pad_id=0,
        banned_ids=(pair.model.config.eos_token_id,),
        vocab_size=vocab,
        unroll=True,
        compute_dtype=jnp.float32,
    )
    processor = Processor(pair.processor.folder, Buckets((width,), (1,), (4,)))
    put = lambda batch: jax.tree.map(jnp.asarray, batch)  # noqa: E731
    return Engine(
        pair.model,
        processor,
        sampler,
        slots=slots,
        prefill_batch=prefill_batch,
        compact=compact,
        put_batch=put,
    )


def _prompts(s: Settings, count: int, length: int) -> list[EncodedPrompt]:
    """Random text."""
    ids = np.random.default_rng(0).integers(300, s.vocab, (count, length), np.int32)
    positions = np.repeat(np.arange(length, dtype=np.int32)[:, None], 3, axis=1)
    return [EncodedPrompt(row, positions, 0, np.zeros(length, bool)) for row in ids]


def _complete(
    engine: Engine,
    pair: Pair,
    prompts: Sequence[EncodedPrompt],
    *,
    samples: int = 1,
    temperature: float = 0.0,
    limits: Sequence[int] | None = None,
) -> Callable[[], Rollout]:
    settings = {"samples": samples, "temperature": temperature, "seed": 0, "limits": limits}
    return lambda: engine.generate(pair.params, prompts, **settings)


def _generate(
    pair: Pair, prompts: Sequence[EncodedPrompt], new_tokens: int
) -> Callable[[], np.ndarray]:
    """Greedy tokens [B, C] of the original."""
    import torch

    ids = torch.tensor(np.stack([p.token_ids for p in prompts])).long().to(pair.device)
    end = pair.model.config.eos_token_id
    settings: dict[str, Any] = {
        "max_new_tokens": new_tokens,
        "min_new_tokens": new_tokens,
        "do_sample": False,
        "eos_token_id": end,
        "pad_token_id": end,
        "attention_mask": torch.ones_like(ids),
    }

    def call() -> np.ndarray:
        with torch.inference_mode():
            return pair.original.generate(ids, **settings)[:, ids.shape[1] :].cpu().numpy()

    return call


def _speed(pair: Pair, rollout: Rollout, seconds: float) -> dict[str, Any]:
    """Tokens per second, and, where the device's peak is known, the share of its bandwidth that
    reading the weights once for each decode step takes, prefill time included."""
    peak = BYTES_PER_S.get(jax.devices()[0].device_kind)
    weights = sum(x.nbytes for x in jax.tree.leaves(pair.params["text"]))
    share = rollout.steps * weights / seconds / peak if peak else None
    tokens = float(rollout.batch.lengths.sum())
    return {"tokens_per_s": round(tokens / seconds, 1), "share_of_peak_bandwidth": share}


def _prompt_cache_bytes(
    engine: Engine, pair: Pair, prompts: Sequence[EncodedPrompt], samples: int
) -> int:
    """Bytes that an engine holds for the prompts of its slots."""
    inputs = engine.put_batch(engine.processor.collate(prompts, rows=engine.prefill_batch))
    width = engine.processor.width(prompts)
    jitted = engine.programs.of(samples, width, pair.params, inputs)
    cache = jitted.empty.eval_shape(count=engine.slots).cache
    return sum(x.size * x.dtype.itemsize for x in (cache.prompt_k, cache.prompt_v))
