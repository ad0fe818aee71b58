"""Checkpoints in and out: streamed, sharded, bit-exact, and refused as a whole when they misfit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from huggingface_hub import ModelCard
from safetensors.numpy import load, load_file, save_file

from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.models.qwen2_5_vl import loading, saving
from r1reward_jax.sharding import make_mesh, param_shardings
from r1reward_jax.types import InputError
from tests.runs.test_object_store import bucket as bucket


def copy_of(checkpoint, folder):
    for file in Path(checkpoint).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


class Counting:
    """A stored tensor that counts the numbers read from it."""

    def __init__(self, stored, reads):
        self.stored, self.reads = stored, reads

    def __getattr__(self, name):
        return getattr(self.stored, name)

    def __getitem__(self, index):
        value = self.stored[index]
        self.reads.append(value.size)
        return value


def test_each_device_reads_its_own_slices(checkpoint, loaded, monkeypatch):
    mesh = make_mesh(1, 4, 2)
    reads, opened = [], loading._open
    monkeypatch.setattr(
        loading, "_open", lambda f: {n: Counting(t, reads) for n, t in opened(f).items()}
    )
    _, params = qwen2_5_vl.load(
        checkpoint, place=lambda tree: param_shardings(tree, qwen2_5_vl.RULES, mesh)
    )
    jax.tree.map(np.testing.assert_array_equal, params, loaded[1])
    kernel = params["text"]["layers"]["q_proj"]["kernel"]
    assert kernel.sharding.shard_shape(kernel.shape) == (3, 64 // 4, 64 // 2)
    # every device holds an eighth of a split tensor and a whole norm; nothing is read twice
    held = sum(
        len({str(s.index) for s in x.addressable_shards}) * x.addressable_shards[0].data.size
        for x in jax.tree.leaves(params)
    )
    assert sum(reads) == held == sum(x.size for x in jax.tree.leaves(params))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_round_trip_is_bit_exact(dtype, checkpoint, loaded, tmp_path):
    model, params, _ = loaded
    first, second = tmp_path / "first", tmp_path / "second"
    qwen2_5_vl.save(str(first), model, params, like=checkpoint, dtype=dtype)
    again = qwen2_5_vl.load(str(first))
    assert again[0] == model
    assert {x.dtype for x in jax.tree.leaves(again[1])} == {jnp.dtype(dtype)}
    qwen2_5_vl.save(str(second), *again, like=str(first))
    a, b = (load_file(f / "model.safetensors") for f in (first, second))
    assert a.keys() == b.keys() and all(a[k].tobytes() == b[k].tobytes() for k in a)
    assert json.loads((second / "config.json").read_text())["torch_dtype"] == dtype


def test_shards_have_an_index(checkpoint, loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "SHARD_BYTES", 100_000)
    (tmp_path / "model.safetensors").write_bytes(b"left over")
    qwen2_5_vl.save(str(tmp_path), loaded[0], loaded[1], like=checkpoint)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    files = {f.name: load_file(f) for f in tmp_path.glob("*.safetensors")}
    assert len(files) > 3 and set(index["weight_map"].values()) == set(files)
    assert all(name in files[file] for name, file in index["weight_map"].items())
    total = sum(t.nbytes for tensors in files.values() for t in tensors.values())
    assert index["metadata"]["total_size"] == total
    jax.tree.map(np.testing.assert_array_equal, qwen2_5_vl.load(str(tmp_path))[1], loaded[1])


def test_everything_that_misfits_is_reported_together(checkpoint, tmp_path):
    folder = copy_of(checkpoint, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    tensors["visual.patch_embed.proj.weight"] = np.zeros((3, 3), np.float32)
    tensors["model.layers.7.mlp.up_proj.weight"] = np.zeros((3, 3), np.float32)
    tensors["model.layers.0.self_attn.q_proj.bias"] = np.zeros(64, np.int8)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError) as error:
        qwen2_5_vl.load(str(folder))
    for part in (
        "4 tensors",
        "missing model.norm",
        "patch_embed.proj.weight is",
        "unexpected",
        "I8",
    ):
        assert part in str(error.value)


def test_a_left_over_file_is_noticed(checkpoint, tmp_path):
    folder = copy_of(checkpoint, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    save_file({"model.norm.weight": tensors["model.norm.weight"] + 1}, folder / "zz.safetensors")
    with pytest.raises(InputError, match=r"stored twice: model.norm.weight \(again in zz"):
        qwen2_5_vl.load(str(folder))


def test_mixed_dtypes_lose_nothing(checkpoint, loaded, tmp_path):
    """One layer in float32 among bf16 ones: all of its stack becomes float32, and is saved so."""
    folder = copy_of(checkpoint, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    half = {n: t.astype(jnp.bfloat16) for n, t in tensors.items()}
    name = "model.layers.2.mlp.up_proj.weight"
    save_file(half | {name: tensors[name]}, folder / "model.safetensors", {"format": "pt"})
    model, params = qwen2_5_vl.load(str(folder))
    stack = params["text"]["layers"]["mlp"]["up_proj"]["kernel"]
    assert stack.dtype == jnp.float32 and params["text"]["norm"]["scale"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(stack[2], tensors[name].T)
    qwen2_5_vl.save(str(tmp_path / "out"), model, params, like=str(folder))
    written = load_file(tmp_path / "out" / "model.safetensors")
    for n, t in half.items():
        assert np.array_equal(written[n], tensors[n] if n == name else t.astype(written[n].dtype))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "bfloat16"


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 2)])
def test_large_tensors_are_read_in_pieces(checkpoint, loaded, monkeypatch, shape):
    monkeypatch.setattr(loading, "PIECE_BYTES", 30_000)
    mesh = make_mesh(*shape, devices=jax.devices()[: shape[0] * shape[1] * shape[2]])
    _, params = qwen2_5_vl.load(
        checkpoint, place=lambda tree: param_shardings(tree, qwen2_5_vl.RULES, mesh)
    )
    jax.tree.map(np.testing.assert_array_equal, params, loaded[1])


def test_a_save_that_fails_keeps_what_was_there(checkpoint, loaded, tmp_path, monkeypatch):
    folder = copy_of(checkpoint, tmp_path)
    monkeypatch.setattr(saving, "save_file", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        qwen2_5_vl.save(str(folder), loaded[0], loaded[1], like=checkpoint)
    monkeypatch.undo()
    jax.tree.map(np.testing.assert_array_equal, qwen2_5_vl.load(str(folder))[1], loaded[1])
    (folder / "model-00001-of-00007.safetensors.part").write_bytes(b"half a shard")
    qwen2_5_vl.save(str(folder), loaded[0], loaded[1], like=checkpoint)
    assert [f.name for f in folder.glob("*.safetensors*")] == ["model.safetensors"]


def test_a_truncated_file_is_named(checkpoint, tmp_path):
    folder = copy_of(checkpoint, tmp_path)
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-100])
    with pytest.raises(InputError, match="model.safetensors: cannot be read"):
        qwen2_5_vl.load(str(folder))


def test_the_model_card_names_base_and_license(checkpoint, loaded, tmp_path):
    base = tmp_path / "models--Qwen--Qwen2.5-VL-3B-Instruct" / "snapshots" / "66285546d2b8"
    base.mkdir(parents=True)
    copy_of(checkpoint, base)
    lines = ["license: other", "license_name: qwen-research", "license_link: https://a.b/LICENSE"]
    (base / "README.md").write_text("\n".join(["---", *lines, "---", "A model."]))
    one, two = tmp_path / "cold", tmp_path / "rl"
    qwen2_5_vl.save(str(one), loaded[0], loaded[1], like=str(base))
    qwen2_5_vl.save(str(two), loaded[0], loaded[1], like=str(one))
    for folder in (one, two):  # a chain of runs names where it began
        card = (folder / "README.md").read_text()
        assert "\nbase_model: Qwen/Qwen2.5-VL-3B-Instruct\n" in card
        assert "\n".join(lines) in card
        assert "`Qwen/Qwen2.5-VL-3B-Instruct` applies: qwen-research." in card
    (base / "README.md").unlink()
    qwen2_5_vl.save(str(one), loaded[0], loaded[1], like=str(base))
    assert "did not say which" in (one / "README.md").read_text()
    assert not (Path(checkpoint) / "README.md").exists()  # its own base: nothing was trained


def test_a_card_that_cannot_be_parsed_stops_no_save(checkpoint, loaded, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    copy_of(checkpoint, base)
    for text in ("---\nlicense: [open\n---\n", "---\n- a list\n---\n", "no metadata", ""):
        (base / "README.md").write_text(text)
        qwen2_5_vl.save(str(tmp_path / "out"), loaded[0], loaded[1], like=str(base))
        card = ModelCard((tmp_path / "out" / "README.md").read_text())
        assert card.data.base_model == "base" and card.data.license == "other"
        assert "r1reward-jax" in card.data.tags and "did not say which" in card.text


def test_a_model_is_saved_to_a_bucket(bucket, checkpoint, loaded, monkeypatch):
    """The same bytes as on a disk, and nothing but whole objects."""
    monkeypatch.setattr(saving, "SHARD_BYTES", 200_000)
    target = epath.Path(f"{bucket}/exported")
    qwen2_5_vl.save(str(target), loaded[0], loaded[1], like=checkpoint)
    index = json.loads((target / "model.safetensors.index.json").read_text())["weight_map"]
    tensors = load_file(Path(checkpoint) / "model.safetensors")
    stored = {k: v for f in set(index.values()) for k, v in load((target / f).read_bytes()).items()}
    assert stored.keys() == tensors.keys() and len(set(index.values())) > 1
    assert all(stored[name].tobytes() == tensors[name].tobytes() for name in tensors)
    for name in ("config.json", "tokenizer.json", "README.md"):
        assert (target / name).exists()
    assert not list(target.glob("*.part"))


MEASURE = """
import sys, jax
from r1reward_jax.models import qwen2_5_vl

def anonymous():
    lines = open("/proc/self/status").read().splitlines()
    return max(int(x.split()[1]) * 1024 for x in lines if x.startswith("RssAnon"))

import threading, time
peak, done = [anonymous()], []
def watch():
    while not done:
        peak.append(max(peak.pop(), anonymous()))
        time.sleep(0.01)
thread = threading.Thread(target=watch)
thread.start()
_, params = qwen2_5_vl.load(sys.argv[1])
jax.block_until_ready(params)
done.append(True)
thread.join()
print(peak[0], sum(x.nbytes for x in jax.tree.leaves(params)))
"""


@pytest.mark.slow
def test_memory_of_a_load_is_the_parameters_and_one_gib(tmp_path, checkpoint):
    """A 3B-shaped bf16 checkpoint: 7.5 GB on disk, loaded by a process of its own."""
    sizes = json.loads((Path(__file__).parent / "sizes.json").read_text())["Qwen2.5-VL-3B"]
    model = qwen2_5_vl.Model(qwen2_5_vl.Config.from_hf(sizes["config"]))
    params = jax.tree.map(lambda x: jnp.zeros(x.shape, jnp.bfloat16), model.abstract_params())
    qwen2_5_vl.save(str(tmp_path), model, params, like=checkpoint)
    del params
    environment = os.environ | {"XLA_FLAGS": ""}
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    peak, parameters = (int(x) for x in done.stdout.split())
    print(f"peak {peak / 2**30:.2f} GiB, parameters {parameters / 2**30:.2f} GiB")
    assert parameters == 2 * sizes["parameters"]
    assert peak <= parameters + 2**30


# ----------------------------------------------------- damaged, odd, and lossless


def resaved(folder, change):
    """Write a folder's tensors anew, as another program does."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_one_flipped_bit_of_an_export_is_noticed(checkpoint, tmp_path):
    """In numbers, in the header, in the digest itself; what others saved has none."""
    folder = copy_of(checkpoint, tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    rng = np.random.default_rng(0)
    at = whole.index(b'"sha256":"') + 12
    for i in [9, at, len(whole) - 1, *rng.integers(0, len(whole), 20)]:
        broken = bytearray(whole)
        broken[i] ^= 1 << int(rng.integers(8))
        (folder / "model.safetensors").write_bytes(broken)
        with pytest.raises(InputError, match="model.safetensors"):
            qwen2_5_vl.load(str(folder))
    broken = bytearray(whole)
    broken[-1] ^= 1
    (folder / "model.safetensors").write_bytes(broken)
    with pytest.raises(InputError, match=r"damaged: its bytes are not those that were saved"):
        qwen2_5_vl.load(str(folder))
    resaved(folder, lambda tensors: None)
    qwen2_5_vl.load(str(folder))


def test_every_shard_has_its_digest(checkpoint, loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "SHARD_BYTES", 200_000)
    qwen2_5_vl.save(str(tmp_path), loaded[0], loaded[1], like=checkpoint)
    last = sorted(tmp_path.glob("*.safetensors"))[-1]
    data = bytearray(last.read_bytes())
    data[-3] ^= 8
    last.write_bytes(data)
    with pytest.raises(InputError, match=f"{last.name}: damaged"):
        qwen2_5_vl.load(str(tmp_path))
    last.unlink()
    with pytest.raises(InputError, match=f"are missing: {last.name}; a download"):
        qwen2_5_vl.load(str(tmp_path))


def test_equal_weights_make_equal_files(checkpoint, loaded, tmp_path):
    for name in "abcd":
        qwen2_5_vl.save(str(tmp_path / name), loaded[0], loaded[1], like=checkpoint)
    files = {(tmp_path / name / "model.safetensors").read_bytes() for name in "abcd"}
    assert len(files) == 1


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_weights_are_as_readable_as_their_neighbours(checkpoint, loaded, tmp_path, umask):
    before = os.umask(umask)
    try:
        qwen2_5_vl.save(str(tmp_path), loaded[0], loaded[1], like=checkpoint)
    finally:
        os.umask(before)
    modes = {f.name: f.stat().st_mode & 0o777 for f in tmp_path.iterdir()}
    assert set(modes.values()) == {0o666 & ~umask}, modes


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "name",
    ["model.layers.1.mlp.up_proj.weight", "visual.blocks.0.norm1.weight", "model.norm.weight"],
)
def test_numbers_that_are_not_finite_are_named(checkpoint, tmp_path, name, value):
    folder = copy_of(checkpoint, tmp_path)

    def change(tensors):
        tensors[name].flat[5] = value

    resaved(folder, change)
    with pytest.raises(InputError, match=f"{folder}: 1 of the model's tensors .* nothing: {name};"):
        qwen2_5_vl.load(str(folder))
    if name.startswith("visual."):  # a judge does not read it
        qwen2_5_vl.load(str(folder), with_vision=False)


def test_weights_that_overflow_in_a_dtype(checkpoint, tmp_path):
    folder = copy_of(checkpoint, tmp_path)

    def change(tensors):
        tensors["model.norm.weight"][0] = 1e6

    resaved(folder, change)
    qwen2_5_vl.load(str(folder), jnp.bfloat16)
    with pytest.raises(InputError, match=r"not finite .* model.norm.weight"):
        qwen2_5_vl.load(str(folder), jnp.float16)


def test_buffers_of_older_releases_are_no_parameters(checkpoint, loaded, tmp_path):
    folder = copy_of(checkpoint, tmp_path)

    def change(tensors):
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(8, np.float32)
        tensors["model.rotary_emb.inv_freq"] = np.ones(8, np.float32)
        tensors["visual.rotary_pos_emb.inv_freq"] = np.ones(4, np.float32)
        tensors["model.embed_positions.position_ids"] = np.arange(4)

    resaved(folder, change)
    jax.tree.map(np.testing.assert_array_equal, qwen2_5_vl.load(str(folder))[1], loaded[1])


def test_a_tied_head_must_be_the_embedding(checkpoint, tmp_path):
    folder = copy_of(checkpoint, tmp_path)

    def equal(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()

    def other(tensors):
        tensors["lm_head.weight"] = tensors["lm_head.weight"] + 1

    resaved(folder, equal)
    qwen2_5_vl.load(str(folder))
    resaved(folder, other)
    with pytest.raises(InputError, match=r"lm_head.weight differs .* tie_word_embeddings is true"):
        qwen2_5_vl.load(str(folder))


EXTRA = {
    "vocab.json": "{}",
    "merges.txt": "#version: 0.2",
    "added_tokens.json": "{}",
    "special_tokens_map.json": "{}",
    "LICENSE": "free",
}


def test_an_export_loses_no_field(checkpoint, loaded, tmp_path, capsys):
    """Through two exports: fields that mean nothing here, unknown ones, scaled positions; only the
    dtype is that of what is stored."""
    base, one, two = (tmp_path / n for n in ("base", "one", "two"))
    base.mkdir()
    copy_of(checkpoint, base)
    hf = json.loads((base / "config.json").read_text())
    hf["rope_scaling"] = {"type": "yarn", "factor": 4.0, "mscale": 0.5, "mscale_all_dim": 0.25}
    hf["rope_scaling"]["mrope_section"] = [4, 2, 2]
    hf |= {"transformers_version": "4.51.3", "my_field": {"a": [1]}, "sliding_window": 32768}
    hf |= {"initializer_range": 0.03, "use_sliding_window": False, "max_window_layers": 3}
    hf["vision_config"] |= {"later": None, "in_chans": 3, "dtype": "float32"}
    (base / "config.json").write_text(json.dumps(hf))
    for name, text in EXTRA.items():
        (base / name).write_text(text)
    model, params = qwen2_5_vl.load(str(base))
    assert model.config.text.rope.kind == "yarn"
    qwen2_5_vl.save(str(one), model, params, like=str(base), dtype="bfloat16")
    qwen2_5_vl.save(str(two), *qwen2_5_vl.load(str(one)), like=str(one))
    expected = hf | {"torch_dtype": "bfloat16"}
    expected["vision_config"] = hf["vision_config"] | {"dtype": "bfloat16"}
    assert json.loads((two / "config.json").read_text()) == expected
    for file in base.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            assert (two / file.name).read_bytes() == file.read_bytes(), file.name
    assert "my_field, vision_config.later" in capsys.readouterr().err


def test_newer_configs_keep_their_layout(checkpoint, loaded, tmp_path):
    """`transformers` 5 writes text_config with rope_parameters, and dtype."""
    base, out = tmp_path / "base", tmp_path / "out"
    base.mkdir()
    copy_of(checkpoint, base)
    hf = json.loads((base / "config.json").read_text())
    vision = hf.pop("vision_config")
    rope = {"rope_type": "default", "mrope_section": hf.pop("rope_scaling")["mrope_section"]}
    text = hf | {"rope_parameters": rope | {"rope_theta": hf.pop("rope_theta")}, "dtype": "float32"}
    text = {k: v for k, v in text.items() if k not in ("architectures", "torch_dtype")}
    text = {k: v for k, v in text.items() if not k.endswith("token_id")} | {"rope_theta": None}
    top = {k: v for k, v in hf.items() if k.endswith("token_id")} | {"model_type": "qwen2_5_vl"}
    new = top | {"text_config": text, "vision_config": vision, "dtype": "float32"}
    new["tie_word_embeddings"] = True
    (base / "config.json").write_text(json.dumps(new))
    model, params = qwen2_5_vl.load(str(base))
    assert model == loaded[0]
    qwen2_5_vl.save(str(out), model, params, like=str(base), dtype="bfloat16")
    expected = new | {"dtype": "bfloat16", "text_config": text | {"dtype": "bfloat16"}}
    assert json.loads((out / "config.json").read_text()) == expected


def test_the_chat_template_is_where_transformers_looks(checkpoint, loaded, tmp_path):
    """Processors read chat_template.jinja, those up to 4.51 chat_template.json as well; a base may
    have it in its tokenizer's config alone."""
    from transformers import AutoTokenizer, Qwen2_5_VLProcessor

    base = tmp_path / "base"
    base.mkdir()
    copy_of(checkpoint, base)
    template = json.loads((base / "tokenizer_config.json").read_text())["chat_template"]
    for given in ((), ("chat_template.json",), ("chat_template.jinja",)):
        for name in {"chat_template.json", "chat_template.jinja"} - set(given):
            (base / name).unlink(missing_ok=True)
        out = tmp_path / f"out{len(str(given))}"
        qwen2_5_vl.save(str(out), loaded[0], loaded[1], like=str(base))
        assert (out / "chat_template.jinja").read_text() == template
        assert json.loads((out / "chat_template.json").read_text())["chat_template"] == template
        found, _ = Qwen2_5_VLProcessor.get_processor_dict(str(out))
        assert found["chat_template"] == template
        copy_of(checkpoint, base)
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Which?"}]}]
    tokenizer = AutoTokenizer.from_pretrained(str(out))
    assert "<|image_pad|><|vision_end|>Which?" in tokenizer.apply_chat_template(
        chat, tokenize=False
    )
