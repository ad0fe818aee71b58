"""Nothing is compiled twice: sizes fall into buckets, and depth costs no compile time."""

import os
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from r1reward_jax.cli.main import main
from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.models.packing import window_sizes
from r1reward_jax.models.qwen2_5_vl.rope import window_order
from r1reward_jax.prompts import SYSTEM
from r1reward_jax.train.batches import make_train_batch
from r1reward_jax.train.objectives import StepConfig, batch_logprobs
from r1reward_jax.types import ImagePart, Prompt, PromptBatch
from tests.conftest import random_image
from tests.rollout.test_sampler import NEW, make_engine

ROWS = 4
BUCKETS = qwen2_5_vl.Buckets((96, 160), (2,), (144,))
SIZES = ((140, 150), (56, 504), (28, 700))
"""Of images whose windows fall into the first, the second and the last bucket."""


@pytest.fixture
def compilations():
    """Compilations since the fixture was asked for; those that a cache answers count as well."""
    seen = []

    def listen(event, duration, **_):
        if event.endswith("backend_compile_duration"):
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture
def no_cache():
    kept = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    yield
    jax.config.update("jax_compilation_cache_dir", kept)
    compilation_cache.reset_cache()


def prompt(rng, images: list[tuple[int, int]], words: int) -> Prompt:
    parts = [ImagePart(random_image(int(rng.integers(1000)), *size)) for size in images]
    return Prompt(SYSTEM, (*parts, " circle" * words))


def varied(rng) -> Prompt:
    """No image, one, or two; almost square ones and strips; up to 60 words."""
    side = int(rng.integers(28, 160))
    kinds = [(side, side // 2 + 14), (28, int(rng.integers(600, 1000)))]
    images = [kinds[int(k)] for k in rng.integers(2, size=rng.integers(3))]
    return prompt(rng, images, int(rng.integers(60)))


def mixes(kinds, processor, sizes):
    """Calls that put every kind of prompt into every number of slots beside the widest prompt of
    every width: what an engine that prefills prompts one by one has programs for."""
    width = lambda p: processor.width([processor.encode(p)])  # noqa: E731
    for widest in {width(p): p for p in kinds}.values():
        narrower = [p for p in kinds if width(p) <= width(widest)]
        yield [widest, *narrower, *[widest] * sizes[0]]  # all slots: the others wait
        for size in sizes[1:]:
            for kind in narrower:
                yield [widest, *[kind] * (size - 1)] if size > 1 else [kind]


def test_varied_batches_compile_nothing_after_warm_up(loaded, checkpoint, compilations):
    """Every bucket once, then 25 batches of other numbers of prompts, lengths, images and
    completions: training forward, prefill and decode; with prompts that are prefilled one by one
    between short and long ones, and slots that are compacted."""
    model, params, _ = loaded
    processor = qwen2_5_vl.Processor(checkpoint, BUCKETS)
    static = StepConfig(chunk=64, remat=False, compute_dtype=jnp.float32)
    engines = [
        make_engine((model, params, processor), slots=ROWS),
        make_engine((model, params, processor), slots=ROWS, prefill_batch=1, compact=2),
    ]

    @jax.jit
    def train(params, batch):
        return batch_logprobs(model, params, batch, static)[0].sum()

    def sample(engine, prompts):
        out = engine.generate(params, prompts, samples=1, temperature=1.0, seed=0)
        assert np.all(out.batch.lengths > 0) and len(out.completions) == len(prompts)

    def push(prompts, completions):
        encoded = [processor.encode(p) for p in prompts]
        missing = ROWS - len(prompts)  # a training batch is full, a rollout need not be
        batch = make_train_batch(
            encoded + encoded[:1] * missing,
            completions + completions[:1] * missing,
            processor,
            capacity=NEW,
        )
        assert np.isfinite(train(params, batch))
        sample(engines[0], prompts)
        sample(engines[1], prompts * 2)
        vision = batch.inputs.vision
        return batch.inputs.tokens.shape[1], vision and vision.window_slots.shape[-1]

    rng = np.random.default_rng(0)
    warm = {
        push([prompt(rng, images, words)] * ROWS, [[9] * NEW] * ROWS)
        for words in (4, 90)
        for images in ([], *([size] for size in SIZES))
    }
    assert len(warm) == 8
    kinds = [
        prompt(rng, images, words)
        for words in (90, 4)
        for images in ([], *([size] for size in SIZES))
    ]
    for group in mixes(kinds, processor, engines[1].sizes):
        sample(engines[1], group)
    count = len(compilations)
    assert count >= 16
    seen = {
        push([varied(rng) for _ in range(rows)], [[9] * int(n) for n in rng.integers(1, NEW, rows)])
        for rows in rng.integers(1, ROWS + 1, 25)
    }
    assert len(compilations) == count
    assert len(seen) > 2 and seen <= warm


def test_windows_of_any_image_fit(loaded):
    """For every grid of visual tokens of up to a bucket's size, the number that is padded to."""
    vision = loaded[0].config.vision
    for patches in (36, 144, 400, 1024):
        sizes, tokens = window_sizes(patches, vision.window_patches), patches // 4
        assert 1 <= len(sizes) <= 4
        for rows in range(1, tokens + 1):
            windows = len(window_order(2 * rows, 2 * (tokens // rows), vision)[1])
            assert windows <= max(sizes)
        side = int(tokens**0.5)
        assert len(window_order(2 * side, 2 * side, vision)[1]) <= sizes[0]


def compile_seconds(config, layers: int) -> float:
    """Of the gradient of a training forward pass with so many decoder layers."""
    model = qwen2_5_vl.Model(replace(config, text=replace(config.text, num_hidden_layers=layers)))
    row, grid = jax.ShapeDtypeStruct((2,), jnp.int32), jax.ShapeDtypeStruct((2, 32), jnp.int32)
    positions = jax.ShapeDtypeStruct((2, 32, 3), jnp.int32)
    batch = PromptBatch(grid, row, positions, row, grid, None)

    def loss(params, batch):
        return jnp.sum(model.hidden(params, batch, remat=True) @ model.head(params))

    started = time.perf_counter()
    jax.jit(jax.grad(loss)).lower(model.abstract_params(), batch).compile()
    return time.perf_counter() - started


def test_depth_costs_no_compile_time(loaded, no_cache):
    """28 layers against 4, interleaved, the fastest of three each."""
    config = loaded[0].config
    times = [[compile_seconds(config, layers) for layers in (4, 28)] for _ in range(3)]
    few, many = (min(column) for column in zip(*times))
    assert many <= 1.3 * few


def test_the_cli_keeps_compiled_programs(checkpoint, tmp_path, monkeypatch):
    kept = jax.config.jax_compilation_cache_dir
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        (tmp_path / "config.json").write_text("{}")
        assert main(["parity", f"model.path={tmp_path}"]) == 2  # stops at a model of no known type
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "r1reward" / "jax")
    finally:
        jax.config.update("jax_compilation_cache_dir", kept)


def test_an_entry_of_the_cache_that_a_kill_cut_short_is_compiled_again(tmp_path, no_cache):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    for size in (None, 10, 0):
        if size is not None:
            (entry,) = tmp_path.glob("*-cache")
            os.truncate(entry, size)
        assert float(jax.jit(lambda x: 3 * x + 1)(np.float32(2))) == 7
