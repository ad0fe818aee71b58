"""Parity with the original over kinds of inputs and of configurations: logits and gradients.

Our side runs rows with none, one and several images and with videos in one padded batch, the
original runs them one by one.
"""

import functools
import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.models.layers import attention
from r1reward_jax.models.qwen2_5_vl.rope_scaling import RopeScaling
from r1reward_jax.models.qwen2_5_vl.weights import hub_names, to_hub
from r1reward_jax.prompts import SYSTEM
from r1reward_jax.types import ImagePart, Prompt, VideoPart
from tests.conftest import random_image, random_params
from tests.models.reference import load_original, original_inputs, original_logits

BUCKETS = qwen2_5_vl.Buckets((128, 256), (1, 8), (16, 400))


def image(seed, height, width):
    return ImagePart(random_image(seed, height, width))


def video(seed, count, fps, height=56, width=84):
    return VideoPart(tuple(random_image(seed + i, height, width) for i in range(count)), fps)


CASES = {
    "text": ("How many circles are there?",),
    "smallest image": (image(0, 20, 30), "What color is it?"),
    "tall": ("Look:", image(1, 500, 40), "Which?"),
    "wide": (image(2, 30, 610), "Which?"),
    "one window and a bit": (image(3, 112, 140), "Which?"),
    "partial windows on both sides": (image(4, 140, 252), "Which?"),
    "two images": (image(5, 131, 85), "or", image(6, 60, 200), "?"),
    "five images": (*(image(7 + i, 56 + 28 * i, 84) for i in range(5)), "Which?"),
    "video of two frames": (video(20, 2, 2.0), "What happens?"),
    "video of five frames, four a second": (video(30, 5, 4.0), "What happens?"),
    "video of sixteen frames, one a second": (video(40, 16, 1.0), "What happens?"),
    "image and video": (image(60, 84, 84), "then", video(70, 4, 1.5, 84, 140), "Same?"),
}
MIXED = ["text", "five images", "partial windows on both sides", "image and video"]
TIED = {"tie_word_embeddings": True}
UNTIED = {"tie_word_embeddings": False}
DEEP_VISION = {"depth": 6, "fullatt_block_indexes": (2, 5)}
"""Two groups of two window layers and a full one."""
YARN = RopeScaling("yarn", 4.0, 64, attention_factor=1.2, beta_fast=8.0)
CONFIGS = {
    "untied": (UNTIED, DEEP_VISION),
    "every head its own keys": (TIED | {"num_key_value_heads": 4}, DEEP_VISION),
    "one pair of keys and values": (UNTIED | {"num_key_value_heads": 1}, DEEP_VISION),
    "yarn, gelu, three full layers of eight": (
        TIED | {"rope": YARN, "hidden_act": "gelu"},
        {"depth": 8, "fullatt_block_indexes": (1, 3, 5), "hidden_act": "quick_gelu"},
    ),
    "linear, tanh gelu, all layers full": (
        UNTIED | {"rope": RopeScaling("linear", 4.0), "hidden_act": "gelu_pytorch_tanh"},
        {"depth": 2, "fullatt_block_indexes": (0, 1), "hidden_act": "gelu"},
    ),
    "llama3, relu, no layer full": (
        TIED | {"rope": RopeScaling("llama3", 8.0, 64), "hidden_act": "relu"},
        {"depth": 2, "fullatt_block_indexes": (), "hidden_act": "relu"},
    ),
    "a first full layer, another vocabulary, theta and eps": (
        UNTIED | {"vocab_size": 424, "rope_theta": 5e4, "rms_norm_eps": 1e-2},
        {"depth": 3, "fullatt_block_indexes": (0,), "window_size": 56},
    ),
}
"""Each field of a config.json that is honoured differs in one of them: text and vision."""


@pytest.fixture(scope="module")
def processor(checkpoint):
    return qwen2_5_vl.Processor(checkpoint, BUCKETS, video_rule="side")


def encode(processor, names):
    prompts = [Prompt(SYSTEM, CASES[name]) for name in names]
    return prompts, [processor.encode(p) for p in prompts]


def our_logits(model, params, processor, encoded):
    forward = jax.jit(lambda p, b: model.hidden(p, b) @ model.head(p))
    logits = np.asarray(forward(params, processor.collate(encoded)))
    return [row[: len(e.token_ids)] for row, e in zip(logits, encoded)]


def assert_equal_logits(ours, theirs):
    np.testing.assert_allclose(ours, theirs, atol=2e-4)
    assert np.array_equal(ours.argmax(-1), theirs.argmax(-1))


@pytest.fixture(scope="module")
def both_logits(checkpoint, loaded, processor):
    prompts, encoded = encode(processor, CASES)
    theirs = original_logits(checkpoint, prompts, encoded, processor)
    ours = our_logits(loaded[0], loaded[1], processor, encoded)
    return dict(zip(CASES, zip(ours, theirs)))


@pytest.mark.parametrize("case", CASES)
def test_inputs(both_logits, case):
    assert_equal_logits(*both_logits[case])


def other_model(loaded, checkpoint, folder, text, vision):
    """With other settings; random weights, also in `folder`."""
    config = loaded[0].config
    config = replace(config, text=replace(config.text, **text))
    config = replace(config, vision=replace(config.vision, **vision))
    model = qwen2_5_vl.Model(config)
    params = random_params(model.abstract_params(), 5)
    qwen2_5_vl.save(str(folder), model, params, like=checkpoint)
    return model, params


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations(name, checkpoint, loaded, tmp_path):
    model, params = other_model(loaded, checkpoint, tmp_path, *CONFIGS[name])
    assert qwen2_5_vl.Config.load(str(tmp_path)) == model.config
    processor = qwen2_5_vl.Processor(str(tmp_path), BUCKETS, video_rule="side")
    prompts, encoded = encode(processor, MIXED)
    theirs = original_logits(str(tmp_path), prompts, encoded, processor)
    for ours, reference in zip(our_logits(model, params, processor, encoded), theirs):
        assert_equal_logits(ours, reference)


def test_both_weight_name_prefixes(checkpoint, loaded, tmp_path):
    """What newer releases of the original save is read as well."""
    for file in Path(checkpoint).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    renamed = {
        "model." + n
        if n.startswith("visual.")
        else n.replace("model.", "model.language_model.", 1): t
        for n, t in tensors.items()
    }
    assert not set(renamed) & set(tensors)
    save_file(renamed, tmp_path / "model.safetensors", {"format": "pt"})
    model, params = qwen2_5_vl.load(str(tmp_path))
    assert model == loaded[0]
    jax.tree.map(np.testing.assert_array_equal, params, loaded[1])


def test_text_behind_a_long_video_goes_on_by_either_rule(processor, checkpoint):
    """Eight temporal patches a second each, two positions a second: times 0, 4, …, 28; the picture
    is 2 x 3. So "max" goes on at 28 + 1 behind the video's start, "side" at 3; both count
    completions from the largest position on."""
    prompt = Prompt(SYSTEM, CASES["video of sixteen frames, one a second"])
    side = processor.encode(prompt)
    largest = qwen2_5_vl.Processor(checkpoint, BUCKETS, video_rule="max").encode(prompt)
    start = int(np.argmax(side.is_vision))
    end = start + int(side.is_vision.sum())
    assert end - start == 8 * 2 * 3
    times = np.repeat(start + 4 * np.arange(8), 6)
    for encoded in (side, largest):
        np.testing.assert_array_equal(encoded.positions[start:end, 0], times)
        assert encoded.positions[start:end, 1:].max(0).tolist() == [start + 1, start + 2]
    assert side.positions[end].tolist() == [start + 3] * 3
    assert largest.positions[end].tolist() == [start + 29] * 3
    rest = len(side.token_ids) - end
    assert largest.rope_delta == start + 29 - end
    assert side.rope_delta == max(start + 29, start + 3 + rest) - len(side.token_ids)


def test_the_older_position_rule_gives_the_originals_logits(checkpoint, loaded):
    """Our default, "max", is that of older releases: the original is told the positions."""
    processor = qwen2_5_vl.Processor(checkpoint, BUCKETS, video_rule="max")
    prompts, encoded = encode(processor, ["video of sixteen frames, one a second"])
    original = load_original(checkpoint)
    import torch

    inputs = original_inputs(prompts[0], encoded[0], processor)
    positions = torch.tensor(encoded[0].positions.T[:, None].astype(np.int64))
    with torch.no_grad():
        theirs = original(**inputs, position_ids=positions).logits[0].numpy()
    ours = our_logits(loaded[0], loaded[1], processor, encoded)[0]
    assert_equal_logits(ours, theirs)


@pytest.mark.parametrize(("text", "remat"), [(TIED, False), (UNTIED, True)])
def test_gradient_of_every_tensor(checkpoint, loaded, processor, tmp_path, text, remat):
    """Of the mean next-token loss of each row, images and videos included."""
    model, params = other_model(loaded, checkpoint, tmp_path, text, DEEP_VISION)
    prompts, encoded = encode(processor, MIXED)
    original = load_original(str(tmp_path))
    import torch

    for prompt, e in zip(prompts, encoded):
        inputs = original_inputs(prompt, e, processor)
        logits = original(**inputs).logits[0, :-1]
        torch.nn.functional.cross_entropy(logits, inputs["input_ids"][0, 1:]).backward()
    theirs = {n: p.grad.numpy() for n, p in original.named_parameters()}
    theirs = {n.replace("model.language_model", "model"): g for n, g in theirs.items()}
    theirs = {n.replace("model.visual", "visual"): g for n, g in theirs.items()}

    batch = jax.tree.map(jnp.asarray, processor.collate(encoded))

    def loss(p):
        logp = jax.nn.log_softmax(model.hidden(p, batch, remat=remat)[:, :-1] @ model.head(p))
        picked = jnp.take_along_axis(logp, batch.tokens[:, 1:, None], axis=-1)[..., 0]
        mask = jnp.arange(1, logp.shape[1] + 1) < batch.lengths[:, None]
        return -jnp.sum(jnp.sum(picked * mask, 1) / jnp.sum(mask, 1))

    seen = set()
    for path, gradient in flatten_dict(jax.jit(jax.grad(loss))(params), sep="/").items():
        names = hub_names(model.config, path)
        stacked = [(names, gradient)] if isinstance(names, str) else zip(names, gradient)
        for name, value in stacked:
            expected = theirs[name]
            error = np.linalg.norm(to_hub(path, np.asarray(value), model.config) - expected)
            assert error <= 1e-3 * np.linalg.norm(expected), name
            seen.add(name)
    assert seen == set(theirs)


def test_prefill_and_decode_equal_the_full_forward(loaded, processor):
    model, params, _ = loaded
    _, encoded = encode(processor, CASES)
    steps = 3
    rng = np.random.default_rng(0)
    ids = rng.integers(10, 300, (len(encoded), steps)).tolist()
    full = processor.collate(encoded, ids, completion_capacity=steps)
    expected = np.asarray(jax.jit(lambda p, b: model.hidden(p, b))(params, full))
    prompts = processor.collate(encoded)
    prefill = jax.jit(model.prefill, static_argnames=("samples", "capacity"))
    hidden, cache = prefill(params, prompts, samples=1, capacity=steps)
    decode = jax.jit(model.decode, static_argnames="unroll")
    lengths = np.asarray(prompts.lengths)
    rows = np.arange(len(encoded))
    np.testing.assert_allclose(hidden, expected[rows, lengths - 1], atol=1e-4)
    for step in range(steps):
        tokens = np.asarray(ids, np.int32)[:, step : step + 1]
        positions = (lengths + prompts.rope_delta + step)[:, None]
        visible = np.broadcast_to(np.arange(steps) <= step, (len(rows), 1, steps))
        slot = jnp.asarray(step)
        hidden, cache = decode(params, tokens, positions, slot, visible, cache, unroll=False)
        np.testing.assert_allclose(hidden[:, 0], expected[rows, lengths + step], atol=1e-4)


def test_half_precision_stays_near(loaded, processor):
    """bfloat16 and float16 through forward, prefill and decode: log-probs near those of float32."""
    model, params, _ = loaded
    _, encoded = encode(processor, MIXED)
    batch = processor.collate(encoded)
    rows, last = np.arange(len(encoded)), np.asarray(batch.lengths) - 1
    tokens = jnp.full((len(encoded), 1), 20, jnp.int32)
    positions = jnp.asarray((last + 1 + np.asarray(batch.rope_delta))[:, None])

    @functools.partial(jax.jit, static_argnums=2)
    def paths(params, batch, dtype):
        p = jax.tree.map(lambda x: x.astype(dtype), params)
        forward = model.hidden(p, batch)
        first, cache = model.prefill(p, batch, samples=1, capacity=2)
        visible = jnp.broadcast_to(jnp.arange(2) < 1, (len(rows), 1, 2))
        slot = jnp.asarray(0)
        second, _ = model.decode(p, tokens, positions, slot, visible, cache, unroll=False)
        hidden = forward[rows, last], first, second[:, 0]
        return [jax.nn.log_softmax((h @ model.head(p)).astype(jnp.float32)) for h in hidden]

    exact = paths(params, batch, jnp.float32)
    for dtype, limit in ((jnp.bfloat16, 0.25), (jnp.float16, 0.03)):
        for found, expected in zip(paths(params, batch, dtype), exact):
            assert 0 < np.abs(found - expected).max() < limit


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_long_even_attention_does_not_overflow(dtype):
    """4,096 equal weights on values of 20: their mean is 20, their sum no number of float16."""
    length = 4096
    q, k = jnp.zeros((1, length, 1, 1, 8), dtype), jnp.zeros((1, length, 1, 8), dtype)
    out = jax.jit(functools.partial(attention, causal=True))(
        q, k, jnp.full((1, length, 1, 8), 20, dtype), jnp.array([length])
    )
    np.testing.assert_allclose(np.asarray(out, np.float32), 20, rtol=1e-2)


def test_blocks_of_queries_are_exact():
    """Lengths beside, at and behind block edges against a plain softmax."""
    rng = np.random.default_rng(0)
    for length, causal in [(1, True), (64, False), (65, True), (530, False)]:
        q = jnp.asarray(rng.normal(size=(2, length, 2, 3, 8)), jnp.float32)
        k, v = (jnp.asarray(rng.normal(size=(2, length, 2, 8)), jnp.float32) for _ in range(2))
        lengths = jnp.array([length, max(1, length // 2)])
        scores = jnp.einsum("btkgh,bskh->bkgts", q, k) / 8**0.5
        seen = jnp.arange(length) < lengths[:, None, None]
        seen = seen & (jnp.arange(length) <= jnp.arange(length)[:, None]) if causal else seen
        seen = jnp.broadcast_to(seen, (2, length, length))[:, None, None]
        weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf))
        expected = jnp.einsum("bkgts,bskh->btkgh", weights, v)
        np.testing.assert_allclose(attention(q, k, v, lengths, causal=causal), expected, atol=1e-5)


SPARSE = {
    "vision_config": {
        "model_type": "qwen2_5_vl",
        "hidden_size": 1280,
        "in_chans": 3,
        "spatial_patch_size": 14,
        "tokens_per_second": 2,
    }
}
"""What releases of `transformers` around 4.50 wrote of the 7B's vision tower."""
OTHER_HEADS = {
    "model_type": "qwen2_5_vl",
    "hidden_size": 3584,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vision_config": {},
}


def test_a_silent_config_means_the_originals_defaults():
    whole = json.loads((Path(__file__).parent / "sizes.json").read_text())["Qwen2.5-VL-7B"]
    sparse = whole["config"] | SPARSE
    ours = qwen2_5_vl.Config.from_hf(sparse)
    assert ours.vision == qwen2_5_vl.Config.from_hf(whole["config"]).vision
    from transformers import Qwen2_5_VLConfig

    for hf in (sparse, OTHER_HEADS):
        ours, theirs = qwen2_5_vl.Config.from_hf(hf), Qwen2_5_VLConfig(**hf)
        for name in qwen2_5_vl.config.VISION_DEFAULTS:
            expected = getattr(theirs.vision_config, name)
            found = getattr(ours.vision, name)
            assert found == (tuple(expected) if isinstance(expected, list) else expected), name
        for name in qwen2_5_vl.config.TEXT_DEFAULTS:
            assert getattr(ours.text, name) == getattr(theirs.text_config, name), name


@pytest.mark.parametrize(
    "name", ["Qwen2.5-VL-3B", "Qwen2.5-VL-7B", "Qwen2.5-VL-32B", "Qwen2.5-VL-72B"]
)
def test_real_sizes_map_one_to_one(name):
    """Names and shapes of the original, built on torch's meta device; nothing is allocated."""
    config = json.loads((Path(__file__).parent / "sizes.json").read_text())[name]
    ours = qwen2_5_vl.Config.from_hf(config["config"])
    abstract = flatten_dict(qwen2_5_vl.Model(ours).abstract_params(), sep="/")
    mapped = {}
    for path, leaf in abstract.items():
        names = hub_names(ours, path)
        stacked = not isinstance(names, str)
        shape = leaf.shape[1:] if stacked else leaf.shape
        if path.endswith("patch_embed/kernel"):
            shape = (shape[1], 3, 2, 14, 14)
        elif path.endswith("kernel"):
            shape = shape[::-1]
        mapped |= dict.fromkeys(names if stacked else [names], shape)
    assert sum(int(np.prod(x.shape)) for x in abstract.values()) == config["parameters"]

    pytest.importorskip("torch", reason="torch is a test dependency on Python 3.11 only")
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    with torch.device("meta"):
        original = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**config["config"]))
    theirs = {
        n.replace("model.language_model", "model").replace("model.visual", "visual"): tuple(p.shape)
        for n, p in original.named_parameters()
    }
    assert mapped == theirs
