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
