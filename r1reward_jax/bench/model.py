"""Our port against the original in transformers: the same random weights, the same inputs."""

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

from r1reward_jax.bench.timing import Row, compare, peak_bytes
from r1reward_jax.models.qwen2_5_vl import Buckets, Config, Model, Processor, create, original, save
from r1reward_jax.models.qwen2_5_vl.config import TextConfig, VisionConfig
from r1reward_jax.models.qwen2_5_vl.tiny import (
    SPECIAL_TOKENS,
    train_tokenizer,
    write_processor_files,
)
from r1reward_jax.prompts import SYSTEM
from r1reward_jax.rl.logprobs import token_logprobs
from r1reward_jax.rollout.sampler import SamplerConfig
from r1reward_jax.rollout.slots import sample
from r1reward_jax.types import ImagePart, InputError, Params, Prompt, PromptBatch

GRIDS = ((8, 8), (16, 16), (18, 30), (32, 32))
"""Rows and columns of patches."""
CHUNK = 2048
"""Positions per pass through the output head in the backward row."""


@dataclass(frozen=True)
class Settings:
    """What is measured; the vision tower has half the width and twice the layers, every other one
    with windows."""

    layers: int
    width: int
    vocab: int
    batch: int
    prompt: int
    """Tokens of a text row."""
    decode_prompt: int
    """Tokens before the decoded ones."""
    new_tokens: int
    rounds: int
    dtype: str

    def __post_init__(self) -> None:
        least = {"vocab": 400, "width": 64, "decode_prompt": 1}
        small = [
            f"{name} {getattr(self, name)}: expected at least {least.get(name, 1)}"
            for name in ("layers", "width", "vocab", "batch", "prompt", "new_tokens", "rounds")
            if getattr(self, name) < least.get(name, 1)
        ]
        if self.width % 64:
            small.append(f"width {self.width}: expected a multiple of 64")
        if not 1 <= self.decode_prompt <= self.prompt:
            small.append(f"decode_prompt {self.decode_prompt}: expected 1 to prompt {self.prompt}")
        if small:
            raise InputError("bench model: " + "; ".join(small))


@dataclass(frozen=True)
class Pair:
    """Both implementations of one set of weights."""

    model: Model
    params: Params
    processor: Processor
    original: Any
    device: str
    """Of the original."""

    def finished(self, value: Any) -> Any:
        """Wait for the original's device."""
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()
        return value


def run(s: Settings) -> tuple[list[Row], dict[str, Any]]:
    """All comparisons; nothing else was counted.

    Raises:
      InputError: no torch, or the two do not agree.
    """
    if not original.available():
        raise InputError("bench model compares with the original: pip install torch first")
    tokens = np.random.default_rng(0).integers(300, s.vocab, (s.batch, s.prompt), np.int32)
    with tempfile.TemporaryDirectory() as folder:
        pair = make_pair(folder, s)
        rows = [text_forward(pair, s, tokens)]
        rows += [image_forward(pair, s, grid) for grid in GRIDS]
        rows += [forward_backward(pair, s, tokens), prefill(pair, s, tokens)]
        return rows + [decode(pair, s, tokens, unroll) for unroll in (False, True)], {}


def make_pair(folder: str, s: Settings) -> Pair:
    """Random weights, saved to `folder` and read by the original."""
    sizes = {"layers": s.layers, "width": s.width, "vocab": s.vocab}
    model, params = write_model(folder, **sizes, dtype=s.dtype)
    device = {"gpu": "cuda", "cpu": "cpu"}.get(jax.default_backend(), "cpu")
    if device == "cuda" and not _has_cuda():
        raise InputError("bench model: JAX is on a GPU, but this torch knows none; install CUDA's")
    processor = Processor(folder, Buckets((s.prompt,), (1,), (4,)))
    return Pair(model, params, processor, original.load(folder, s.dtype, device), device)


def write_model(
    folder: str, *, layers: int, width: int, vocab: int, dtype: str
) -> tuple[Model, Params]:
    """Random weights as a Hugging Face folder."""
    tokenizer = train_tokenizer([SYSTEM] * 9, 300)
    write_processor_files(folder, tokenizer, max_pixels=10**7)
    ids = {t: tokenizer.token_to_id(t) or 0 for t in SPECIAL_TOKENS}
    model, params = create(_config(layers, width, vocab, ids), 0)
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    save(folder, model, params, like=folder)
    return model, params


def original_runs_on() -> dict[str, Any]:
    """Version, device and threads of torch."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"torch": torch.__version__, "device": device, "threads": torch.get_num_threads()}


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _config(layers: int, width: int, vocab: int, ids: dict[str, int]) -> Config:
    heads, sections = width // 64, (8, 12, 12)
    text = TextConfig(vocab, width, 4 * width, layers, heads, max(1, heads // 4), sections)
    depth, half = 2 * layers, width // 2
    full = tuple(range(1, depth, 2))
    vision = VisionConfig(depth, half, max(1, half // 64), 3 * half, width, full)
    names = ("image_pad", "video_pad", "vision_start", "vision_end", "endoftext", "im_end")
    return Config(text, vision, *(ids[f"<|{name}|>"] for name in names))


# ------------------------------------------------------------------- the rows


def text_forward(pair: Pair, s: Settings, tokens: np.ndarray) -> Row:
    """Logits of every position of rows of text."""
    ours = _compiled(lambda p, b: _logits(pair.model, p, b), pair.params, _text_batch(tokens))
    ids = _torch(tokens, pair)
    theirs = lambda: pair.original(input_ids=ids, use_cache=False)  # noqa: E731
    return _compare_logits("text forward", pair, s, ours, theirs)


def image_forward(pair: Pair, s: Settings, grid: tuple[int, int]) -> Row:
    """Logits of rows of one image and a short question, from arrays on the device: positions and
    window order are part of the original's time, we make them on the host with the batch."""
    rng = np.random.default_rng(1)
    height, width = (14 * n for n in grid)
    images = rng.integers(0, 256, (s.batch, height, width, 3), dtype=np.uint8)
    prompts = [Prompt(SYSTEM, (ImagePart(Image.fromarray(i)), "What?")) for i in images]
    encoded = [pair.processor.encode(p) for p in prompts]
    sizes = Buckets((len(encoded[0].token_ids),), (1,), (grid[0] * grid[1],))
    batch = Processor(pair.processor.folder, sizes).collate(encoded)
    ours = _compiled(lambda p, b: _logits(pair.model, p, b), pair.params, batch)
    import torch

    parts = [original.inputs(p, e, pair.processor) for p, e in zip(prompts, encoded)]
    joined = {k: torch.cat([part[k] for part in parts]).to(pair.device) for k in parts[0]}
    joined["pixel_values"] = joined["pixel_values"].to(getattr(torch, s.dtype))
    name = f"image forward, {grid[0]} x {grid[1]}"
    return _compare_logits(name, pair, s, ours, lambda: pair.original(**joined, use_cache=False))


def forward_backward(pair: Pair, s: Settings, tokens: np.ndarray) -> Row:
    """Mean next-token loss of rows of text, and its gradient."""
    import torch

    batch = _text_batch(tokens)

    def loss(params: Params, batch: PromptBatch):
        hidden = pair.model.hidden(params, batch)[:, :-1]
        head = pair.model.head(params)
        logp, _ = token_logprobs(hidden, head, batch.tokens[:, 1:], chunk=CHUNK, temperature=1.0)
        return -logp.mean()

    ours = _compiled(jax.value_and_grad(loss), pair.params, batch)
    ids = _torch(tokens, pair)

    def theirs():
        pair.original.zero_grad(set_to_none=True)
        logits = pair.original(input_ids=ids, use_cache=False).logits[:, :-1].float()
        value = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        value.backward()
        return pair.finished(value.detach())

    value, gradients = ours()
    _agree("forward + backward", value, theirs().item(), s)
    slopes = [p.grad.float() for p in pair.original.parameters() if p.grad is not None]
    norm = float(optax.tree.norm(gradients))
    theirs_norm = float(sum(slope.square().sum() for slope in slopes)) ** 0.5
    _agree("forward + backward, norm of the gradient", 1.0, theirs_norm / norm, s)
    row = compare(
        "forward + backward", ours, theirs, rounds=s.rounds, peak_bytes=peak_bytes(ours.program)
    )
    pair.original.zero_grad(set_to_none=True)
    return row


def prefill(pair: Pair, s: Settings, tokens: np.ndarray) -> Row:
    """Keys and values of rows of text, and the logits of their last positions."""

    def function(params: Params, batch: PromptBatch):
        hidden, cache = pair.model.prefill(params, batch, samples=1, capacity=s.new_tokens)
        return hidden @ pair.model.head(params), cache

    ours = _compiled(function, pair.params, _text_batch(tokens))
    ids, last = _torch(tokens, pair), {"use_cache": True, "logits_to_keep": 1}
    theirs = _inference(pair, lambda: pair.original(input_ids=ids, **last))
    _agree("prefill", ours()[0], theirs().logits[:, 0].float().cpu().numpy(), s)
    return compare("prefill", ours, theirs, rounds=s.rounds, peak_bytes=peak_bytes(ours.program))


def decode(pair: Pair, s: Settings, tokens: np.ndarray, unroll: bool) -> Row:
    """Greedy completions of short rows of text, against the original's `generate`; the prefill
    of the short rows is in both times."""
    short = tokens[:, : s.decode_prompt]
    end = pair.model.config.eos_token_id
    config = SamplerConfig(
        samples=1,
        max_new_tokens=s.new_tokens,
        eos_ids=(end,),
        pad_id=end,
        banned_ids=(end,),  # as many tokens as asked for
        vocab_size=s.vocab,
        unroll=unroll,
        compute_dtype=jnp.dtype(s.dtype),
    )
    function = functools.partial(sample, pair.model, config)
    seeds, key, cold = jnp.arange(s.batch), jax.random.key(0), jnp.float32(0.0)
    ours = _compiled(lambda p, b: function(p, b, seeds, key, cold), pair.params, _text_batch(short))
    ids = _torch(short, pair)
    settings = {"max_new_tokens": s.new_tokens, "min_new_tokens": s.new_tokens, "do_sample": False}
    settings |= {
        "eos_token_id": end,
        "pad_token_id": end,
        "attention_mask": ids.new_ones(ids.shape),
    }
    theirs = _inference(pair, lambda: pair.original.generate(ids, **settings))
    found = theirs()[:, s.decode_prompt :].cpu().numpy()
    if s.dtype == "float32" and not np.array_equal(ours().tokens[:, 0], found):
        raise InputError("bench model: the two do not decode the same tokens")
    name = f"decode, {'unrolled' if unroll else 'scanned'} layers"
    return compare(name, ours, theirs, rounds=s.rounds, peak_bytes=peak_bytes(ours.program))


# -------------------------------------------------------------------- helpers


@dataclass(frozen=True)
class Compiled:
    """A compiled program with its arguments."""

    program: Any
    arguments: tuple

    def __call__(self) -> Any:
        return self.program(*self.arguments)


def _compiled(function: Callable, *arguments: Any) -> Compiled:
    arguments = jax.tree.map(jnp.asarray, arguments)
    return Compiled(jax.jit(function).lower(*arguments).compile(), arguments)


def _logits(model: Model, params: Params, batch: PromptBatch):
    return model.hidden(params, batch) @ model.head(params)


def _text_batch(tokens: np.ndarray) -> PromptBatch:
    rows, length = tokens.shape
    positions = np.broadcast_to(np.arange(length, dtype=np.int32)[None, :, None], (rows, length, 3))
    zeros = np.zeros(rows, np.int32)
    return PromptBatch(
        tokens, zeros + length, positions, zeros, np.full(tokens.shape, -1, np.int32), None
    )


def _torch(tokens: np.ndarray, pair: Pair) -> Any:
    import torch

    return torch.tensor(tokens.astype(np.int64), device=pair.device)


def _inference(pair: Pair, function: Callable[[], Any]) -> Callable[[], Any]:
    import torch

    def call():
        with torch.inference_mode():
            return pair.finished(function())

    return call


def _compare_logits(
    name: str, pair: Pair, s: Settings, ours: Compiled, theirs: Callable[[], Any]
) -> Row:
    theirs = _inference(pair, theirs)
    _agree(name, ours(), theirs().logits.float().cpu().numpy(), s)
    return compare(name, ours, theirs, rounds=s.rounds, peak_bytes=peak_bytes(ours.program))


def _agree(name: str, ours: Any, theirs: Any, s: Settings) -> None:
    """Times of different functions would say nothing."""
    gap = float(np.max(np.abs(np.asarray(ours, np.float32) - theirs)))
    if not gap <= (2e-3 if s.dtype == "float32" else 1.0):
        raise InputError(f"bench model: {name}: the two differ by {gap:.3g}")
