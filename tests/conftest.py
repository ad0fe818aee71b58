"""Shared fixtures: eight fake devices, a tiny checkpoint and a small world, made once."""

import os

from tests.speed import CACHE, FAST

os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count=8 {FAST}")
# compiled programs are kept, the many small ones as well, and for the processes that tests start
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", CACHE)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["WANDB_MODE"] = "disabled"

import jax
import numpy as np
import pytest
from PIL import Image

from r1reward_jax.data import synthetic
from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.models.qwen2_5_vl.tiny import make_checkpoint
from r1reward_jax.prompts import SYSTEM
from r1reward_jax.types import ImagePart, Prompt

SIZES = {
    "hidden_size": 64,
    "layers": 3,
    "heads": 4,
    "kv_heads": 2,
    "mlp": 96,
    "vision_hidden_size": 32,
    "vision_layers": 3,
    "vision_heads": 2,
    "vision_mlp": 48,
    "rope_theta": 1000.0,
}
TEXTS = [
    "system\nYou are a helpful assistant.",
    "user\nWhat color is the circle?\nResponse 1: It is red.\nResponse 2: It is green.",
    "How many squares are there?\nResponse 1: I count two.\nWhich is better?",
    "assistant\n<think>a red circle, a blue square. Response 1 fits.</think><answer>1</answer>",
    "Yes",
    "No",
] * 9
"""What the tests' tokenizer is trained on; the golden file depends on it."""
LONGEST = ("test_quickstart", "resume/", "train/test_rl", "test_package", "models/test_compilation")
"""Files that take longest: they go first, so that one of two processes does not end alone."""
BUCKETS = qwen2_5_vl.Buckets((128, 256), (1, 2), (36, 400))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return next((i for i, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST))

    items.sort(key=place)  # stable: the other files, and the tests of each, keep their order


def random_params(abstract, seed: int):
    """Parameters from numpy's generator, the same bits on every version of JAX, large enough that
    a wrong layer shows in the logits."""
    rng = np.random.default_rng(seed)

    def one(path, leaf):
        x = rng.standard_normal(leaf.shape, np.float32)
        if path[-1].key == "scale":
            return 1 + 0.1 * x
        if path[-1].key == "bias":
            return x * 0.1
        return x * leaf.shape[-1 if path[-1].key == "embed_tokens" else -2] ** -0.5

    return jax.tree_util.tree_map_with_path(one, abstract)


def random_image(seed: int, height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("world"))
    sizes = {"sft": 240, "rl": 120, "heldout": 60}
    records = synthetic.make_world(
        folder,
        seed=0,
        sizes=sizes,
        skills=("color", "count"),
        things=dict.fromkeys(sizes, (1, 2, 3)),
    )
    return folder, records


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A tiny Hugging Face folder with well-scaled random weights."""
    folder = str(tmp_path_factory.mktemp("checkpoint"))
    make_checkpoint(folder, TEXTS, vocab_size=400, seed=0, max_pixels=10**6, sizes=SIZES)
    model, params = qwen2_5_vl.load(folder)
    params = random_params(model.abstract_params(), 1)
    qwen2_5_vl.save(folder, model, params, like=folder)
    return folder


@pytest.fixture(scope="session")
def loaded(checkpoint):
    """(model, params, processor) of the tiny checkpoint."""
    model, params = qwen2_5_vl.load(checkpoint)
    return model, params, qwen2_5_vl.Processor(checkpoint, BUCKETS)


@pytest.fixture(scope="session")
def prompts():
    """Text only; one image; two images of different odd sizes."""
    small, odd, wide = random_image(0, 84, 84), random_image(1, 131, 85), random_image(2, 60, 200)
    return [
        Prompt(SYSTEM, ("What color is the circle?",)),
        Prompt(SYSTEM, (ImagePart(small), "Response 1: It is red.")),
        Prompt(SYSTEM, ("First", ImagePart(odd), "then", ImagePart(wide), "Which is better?")),
    ]
