"""Folders that are no model's are named as what they are, with what to do."""

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from r1reward_jax.cli.main import main
from r1reward_jax.errors import InputError
from r1reward_jax.model_folder import problem, read_json, require_model, weight_files
from r1reward_jax.models import qwen2_5_vl

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n"


def made(folder, files):
    """Files by their names; None is a named pipe, a folder ends with a slash."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif content is None:
            os.mkfifo(path)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(folder)


ADAPTER = {"base_model_name_or_path": "Qwen/Qwen2.5-VL-7B-Instruct", "peft_type": "LORA"}
KINDS = {
    "nothing": ({}, "the folder is empty"),
    "an adapter": (
        {"adapter_config.json": ADAPTER, "adapter_model.safetensors": "x"},
        "is a LoRA adapter of Qwen/Qwen2.5-VL-7B-Instruct, not a model; merge it into its base",
    ),
    "an adapter's config alone": ({"adapter_config.json": "{"}, "is a LoRA adapter, not a model"),
    "an adapter beside a config": (
        {"adapter_config.json": ADAPTER, "adapter_model.bin": "x", "config.json": {}},
        "is a LoRA adapter of Qwen/",
    ),
    "GGUF": ({"model-q4.gguf": "GGUF"}, "quantised GGUF weights are not read"),
    "pickled": ({"pytorch_model.bin": "x"}, "never unpickled, as that runs code; load them where"),
    "a training's state": ({"global_step1.pt": "x"}, "never unpickled"),
    "a run": ({"exported/config.json": {}, "base/config.json": {}}, "did you mean {}/exported?"),
    "a folder above": ({"model/config.json": {}, "x.txt": ""}, "did you mean {}/model?"),
    "checkpoints": (
        {"rl/6/_CHECKPOINT_METADATA": "", "rl/6/state/": ""},
        "`r1reward convert {}/rl TARGET --like MODEL` makes a model of it",
    ),
    "a phase": ({"6/_CHECKPOINT_METADATA": ""}, "`r1reward convert {} TARGET"),
    "a run without a model": (
        {"checkpoints/rl/6/_CHECKPOINT_METADATA": "", "run.json": {}},
        "`r1reward convert {}/checkpoints/rl TARGET",
    ),
    "a model in the cache": ({"refs/main": "1f", "snapshots/1f/": ""}, "give {}/snapshots/1f"),
    "the cache": ({"models--Qwen--Qwen2.5-VL-3B/": ""}, "give a name, such as Qwen/Qwen2.5-VL-3B"),
    "half a download": ({"tokenizer.json": "{}", "m.safetensors.part": ""}, "a download that stop"),
    "a tokenizer": ({"tokenizer.json": "{}"}, "a tokenizer's folder, without a model"),
    "a head": ({"reward_head.npz": ""}, "a reward head without its model"),
    "weights": ({"model.safetensors": ""}, "only weights; copy config.json"),
    "something else": ({"notes.txt": ""}, "expected the folder of a Hugging Face checkpoint"),
    "a pipe for a config": ({"config.json": None}, "config.json is a named pipe, expected a file"),
    "a pipe for weights": (
        {"config.json": {}, "model.safetensors": None},
        "model.safetensors is a named pipe",
    ),
    "a pipe for tokens": ({"config.json": {}, "merges.txt": None}, "merges.txt is a named pipe"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_folders_of_other_kinds(name, tmp_path):
    files, expected = KINDS[name]
    folder = made(tmp_path, files)
    with pytest.raises(InputError) as error:
        require_model(folder)
    assert str(error.value).startswith(f"{folder}: ")
    assert expected.replace("{}", folder) in str(error.value), error.value


def test_a_checkpoint_itself_names_its_phase(tmp_path):
    made(tmp_path, {"rl/6/_CHECKPOINT_METADATA": "", "rl/6/state/_METADATA": ""})
    for inside in ("rl/6", "rl/6/state"):
        assert f"convert {tmp_path}/rl TARGET" in (problem(str(tmp_path / inside)) or "")


def test_files_in_place_of_folders(tmp_path):
    for name, expected in {
        "m.gguf": "a GGUF file; quantised",
        "m.pt": "never unpickled",
        "m.safetensors": f"is a file; give its folder, {tmp_path}",
        "config.json": f"give its folder, {tmp_path}",
        "m.zip": "is a file",
    }.items():
        (tmp_path / name).write_text("x")
        assert expected in (problem(str(tmp_path / name)) or "")
    assert problem(str(tmp_path / "nowhere")) == "no such folder"
    assert problem("gs://bucket/model") is None


def test_links_and_sockets(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "gone")
    assert "a link to nothing; is the hub's cache" in (problem(str(tmp_path)) or "")
    (tmp_path / "model.safetensors").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the path of a socket must be short
        server.bind("model.safetensors")
        assert problem(str(tmp_path)) == "model.safetensors is a socket, expected a file"
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").symlink_to("/dev/zero")
    assert problem(str(tmp_path)) == "model.safetensors is a device, expected a file"


def test_settings_files_are_bounded(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(10**11)  # sparse
    with pytest.raises(InputError, match="at most"):
        read_json(tmp_path / "config.json")
    with pytest.raises(InputError, match="not found"):
        read_json(tmp_path / "other.json")


INDEX = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
WEIGHTS = {
    "a shard is missing": (
        {"model.safetensors.index.json": INDEX, "model-1.safetensors": ""},
        "1 of the 2 files that model.safetensors.index.json lists are missing: model-2.safetensors",
    ),
    "all are missing": ({"model.safetensors.index.json": INDEX}, "2 of the 2 files"),
    "an index of something else": ({"model.safetensors.index.json": [1]}, "expected a JSON object"),
    "an index without files": ({"model.safetensors.index.json": {}}, "expected a weight_map"),
    "Git LFS": ({"model.safetensors": POINTER}, "a pointer of Git LFS, not the file itself"),
    "a folder": ({"model.safetensors/": ""}, "model.safetensors: a folder, expected a file"),
    "pickled": ({"pytorch_model-1.bin": ""}, "only pickled weights (pytorch_model-1.bin): they"),
    "GGUF": ({"q4.gguf": ""}, "quantised GGUF"),
    "stopped": ({"x.incomplete": ""}, "but x.incomplete: a download that stopped?"),
    "none": ({}, "no *.safetensors file; it has no weights"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_are_none(name, tmp_path):
    files, expected = WEIGHTS[name]
    folder = made(tmp_path, files | {"config.json": {}})
    with pytest.raises(InputError) as error:
        weight_files(folder)
    assert folder in str(error.value) and expected in str(error.value), error.value


def test_many_missing_shards_are_one_line(tmp_path):
    index = {"weight_map": {str(i): f"model-{i:05}.safetensors" for i in range(40)}}
    folder = made(tmp_path, {"model.safetensors.index.json": index, "config.json": {}})
    with pytest.raises(InputError, match="model-00007.safetensors and 32 more; a download"):
        weight_files(folder)


def test_adapters_and_models_side_by_side(checkpoint, tmp_path):
    """The config that peft leaves behind in a merged folder does no harm."""
    for file in Path(checkpoint).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    made(tmp_path, {"adapter_config.json": ADAPTER})
    assert problem(str(tmp_path)) is None
    assert qwen2_5_vl.Config.load(str(tmp_path)) == qwen2_5_vl.Config.load(checkpoint)


@pytest.mark.parametrize("verb", ["compare", "sft", "rl", "evaluate", "scalar-rm", "parity"])
def test_every_verb_says_so(verb, tmp_path, capsys):
    """Before anything is loaded."""
    model = made(tmp_path / "model", {"adapter_config.json": ADAPTER})
    save_file({"x": np.zeros(1)}, tmp_path / "model" / "adapter_model.safetensors")
    (tmp_path / "data.jsonl").write_text("")
    call = {
        "compare": ["--model", model, "--question", "q", "--a", "a", "--b", "b"],
        "evaluate": ["--model", model, "--benchmark", f"{tmp_path}/data.jsonl"],
        "parity": [f"model.path={model}"],
    }.get(verb, [f"model.path={model}", f"data.train={tmp_path}/data.jsonl"])
    call += [] if verb in ("compare", "parity") else [f"workdir={tmp_path}/run"]
    assert main([verb, *call]) == 2
    assert "is a LoRA adapter of Qwen/Qwen2.5-VL-7B-Instruct" in capsys.readouterr().err
