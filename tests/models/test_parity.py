"""The port against the original in transformers, float32, on a tiny random checkpoint."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.models.qwen2_5_vl.tiny import tiny_config
from tests.conftest import BUCKETS, SIZES
from tests.models.reference import original_logits

GOLDEN = Path(__file__).parent.parent / "golden" / "parity.npz"


@pytest.fixture(scope="module")
def ours(loaded, prompts):
    model, params, processor = loaded
    encoded = [processor.encode(p) for p in prompts]
    forward = jax.jit(lambda p, b: model.hidden(p, b) @ model.head(p))
    logits = np.asarray(forward(params, processor.collate(encoded)))
    return encoded, [row[: len(e.token_ids)] for row, e in zip(logits, encoded)]


def test_logits_equal_the_original(checkpoint, loaded, prompts, ours):
    encoded, logits = ours
    reference = original_logits(checkpoint, prompts, encoded, loaded[2])
    assert np.std(reference[1]) > 0.5  # well scaled: an error in a layer would be seen
    for a, b in zip(logits, reference):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_logits_equal_the_golden_file(checkpoint, loaded, prompts, ours, request):
    """Versions without torch are checked against what the original gave where there was one."""
    encoded, logits = ours
    found = {f"logits_{i}": x[-4:] for i, x in enumerate(logits)}
    found |= {f"tokens_{i}": e.token_ids for i, e in enumerate(encoded)}
    if request.config.getoption("--write-golden"):
        reference = original_logits(checkpoint, prompts, encoded, loaded[2])
        theirs = {f"logits_{i}": x[-4:] for i, x in enumerate(reference)}
        np.savez_compressed(GOLDEN, **(found | theirs))
    golden = np.load(GOLDEN)
    assert set(golden) == set(found)
    for name in found:
        np.testing.assert_allclose(found[name], golden[name], atol=1e-4, err_msg=name)


def test_trained_and_saved_checkpoint_loads_in_the_original(checkpoint, loaded, prompts, tmp_path):
    """Change every tensor, save, and both sides read the same model."""
    model, params, processor = loaded
    changed = jax.tree.map(lambda p: p * 1.01 + 1e-3, params)
    folder = str(tmp_path / "saved")
    qwen2_5_vl.save(folder, model, changed, like=checkpoint)
    encoded = [processor.encode(p) for p in prompts]
    logits = jax.jit(lambda p, b: model.hidden(p, b) @ model.head(p))(
        changed, processor.collate(encoded)
    )
    for row, reference in zip(logits, original_logits(folder, prompts, encoded, processor)):
        np.testing.assert_allclose(row[: len(reference)], reference, atol=1e-4)


def test_padding_and_neighbours_do_not_matter(loaded, prompts):
    model, params, processor = loaded
    encoded = [processor.encode(p) for p in prompts]
    forward = jax.jit(lambda p, b: model.hidden(p, b))
    together = forward(params, processor.collate(encoded))
    alone = forward(params, processor.collate(encoded[1:2], rows=3))
    n = len(encoded[1].token_ids)
    np.testing.assert_allclose(together[1, :n], alone[0, :n], atol=1e-5)


def test_remat_changes_nothing(loaded, prompts):
    model, params, processor = loaded
    batch = processor.collate([processor.encode(p) for p in prompts])
    batch = jax.tree.map(jnp.asarray, batch)

    def total(p, remat):
        return (model.hidden(p, batch, remat=remat) ** 2).mean()

    plain = jax.jit(jax.grad(lambda p: total(p, False)))(params)
    remat = jax.jit(jax.grad(lambda p: total(p, True)))(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), plain, remat)
    # every tensor takes part: the vision tower learns too
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(plain))


def test_real_sizes_are_regular():
    """Shapes of the 7B model, nothing allocated."""
    from r1reward_jax.models.qwen2_5_vl.config import Config, TextConfig, VisionConfig

    config = Config(
        TextConfig(152064, 3584, 18944, 28, 28, 4, (16, 24, 24)),
        VisionConfig(32, 1280, 16, 3420, 3584, (7, 15, 23, 31)),
    )
    shapes = qwen2_5_vl.Model(config).abstract_params()
    assert sum(x.size for x in jax.tree.leaves(shapes)) == 8_292_166_656


def test_tiny_config_rejects_what_does_not_fit():
    with pytest.raises(ValueError, match="multiple of num_key_value_heads"):
        tiny_config(
            100,
            dict.fromkeys(
                [
                    "<|image_pad|>",
                    "<|video_pad|>",
                    "<|vision_start|>",
                    "<|vision_end|>",
                    "<|endoftext|>",
                    "<|im_end|>",
                ],
                0,
            ),
            **SIZES | {"kv_heads": 3},
        )


def test_prompt_longer_than_its_bucket_is_an_error(loaded, prompts):
    processor = qwen2_5_vl.Processor(loaded[2].folder, qwen2_5_vl.Buckets((16,), (1,), (36,)))
    with pytest.raises(ValueError, match="largest bucket"):
        processor.collate([processor.encode(prompts[0])])
    assert BUCKETS.tokens[0] > 16
