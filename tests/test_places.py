"""Paths that a user gives: whatever they are, the answer is one line before anything is loaded."""

import os
from pathlib import Path

import pytest

from r1reward_jax import config as configs
from r1reward_jax import hub, places
from r1reward_jax.cli.main import main
from r1reward_jax.errors import InputError
from r1reward_jax.places import place, require

ADDRESSES = {
    "https://example.org/rows.jsonl": "not downloaded",
    "HTTP://example.org": "not downloaded",
    "https://huggingface.co/datasets/acme/pairs": "--repo-type dataset",
    "hf://datasets/acme/pairs": "--repo-type dataset",
    "https://huggingface.co/acme/judge": "acme/judge",
    "https://hf.co/acme/judge/blob/main/config.json?download=true": "acme/judge",
    "https://huggingface.co/papers": "ORG/NAME",
    "s3://bucket/rows.jsonl": "pip install s3fs",
    "gs://bucket/run": "pip install gcsfs",
    "az://container/x": "pip install adlfs",
    "foo://x": "foo:// is not read",
    "ftp://example.org/x": "ftp:// is not read",
    "file://elsewhere/x": "file:///absolute/path",
    "": "empty",
    "  ": "empty",
    "a\0b": "characters",
    "a\ud800b": "characters",
    "n" * 256: "too long",
    "d/" * 2100: "too long",
}
"""What a name that is no path is answered with."""
OPTIONS = [
    ["compare", "--question", "q", "--a", "a", "--b", "b", "--model"],
    ["compare", "--model", "m", "--a", "a", "--b", "b", "--question", "@"],
    ["evaluate", "--benchmark", "b", "--model"],
    ["evaluate", "eval.samples=1", "--benchmark"],
    ["evaluate", "--benchmark", "vl_rewardbench", "--data"],
    ["evaluate", "--benchmark", "vl_rewardbench", "--prompt-from"],
    ["evaluate", "--workdir"],
    ["sft", "--data.train"],
    ["rl", "--data.heldout"],
    ["rl", "--judge.path"],
    ["rl", "--config"],
    ["scalar-rm", "--model.path"],
    ["parity", "--model"],
    ["quickstart", "--workdir"],
    ["report"],
    ["report", ".", "--out"],
    ["convert", ".", "out", "--like"],
    ["convert", "--like", ".", "ADDRESS", "out"],
    ["convert", "--like", ".", "."],
    ["compare-evals", "."],
    ["bench", "rank", "--model"],
    ["bench", "judge", "--out"],
    ["config", "show"],
    ["doctor", "--workdir"],
]
"""Commands that lack a path, the last argument if no other one is called so."""


@pytest.mark.parametrize(("name", "message"), ADDRESSES.items(), ids=lambda x: ascii(x)[:20])
def test_what_is_no_path_is_answered_with_what_to_do(name, message):
    with pytest.raises(InputError) as raised:
        place(name)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 600


@pytest.mark.parametrize("command", OPTIONS, ids=" ".join)
@pytest.mark.parametrize("address", ["https://example.org/x.jsonl", "foo://x", "s3://b/x"])
def test_every_path_of_every_verb_says_so_in_one_line(command, address, capsys):
    given = [address if argument == "ADDRESS" else argument for argument in command]
    if given == command:
        given = [*given[:-1], f"@{address}"] if given[-1] == "@" else [*given, address]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "://" in said, said
    words = ("not downloaded", "foo:// is not read", "s3fs", "from this machine only")
    assert any(word in said for word in words), said


def test_home_and_file_addresses_are_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a file").write_text("x")
    assert place("~/a file") == place(f"file://{tmp_path}/a%20file") == f"{tmp_path}/a file"
    assert require("~/a file", "data") == f"{tmp_path}/a file"
    assert place(Path("x")) == "x" and place("a:b") == "a:b"
    monkeypatch.setitem(places.PACKAGES, "gs", ("json",))
    assert require("gs://bucket/run", "folder") == "gs://bucket/run"


def test_a_config_with_them_has_plain_paths(checkpoint, tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}")
    config = configs.load("default")
    config.model.path = f"file://{checkpoint}"
    config.data.train = f"file://{tmp_path}/rows.jsonl"
    config.workdir = f"file://{tmp_path}/run"
    assert configs.problems(config, "sft") == []
    assert config.model.path == checkpoint and config.workdir == f"{tmp_path}/run"
    assert config.data.train == f"{tmp_path}/rows.jsonl"
    assert hub.local(f"file://{checkpoint}") == checkpoint


def test_what_is_there_is_of_the_right_kind(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    wrong = {
        ("file", "folder"): "is a file",
        ("file", "new folder"): "is a file",
        ("", "file"): "is a folder",
        ("", "new file"): "is a folder",
        ("pipe", "data"): "no regular file",
        ("pipe", "folder"): "no folder",
        ("none", "file"): "not found",
        ("none/x", "data"): "no folder",
        ("file/x", "new folder"): "Not a directory",
        ("none/x", "new file"): None,
        ("none", "new folder"): None,
        ("", "data"): None,
    }
    for (name, kind), message in wrong.items():
        path = str(tmp_path / name)
        if message is None:
            assert require(path, kind) == path  # pyright: ignore[reportArgumentType]
            continue
        with pytest.raises(InputError, match=message):
            require(path, kind)  # pyright: ignore[reportArgumentType]
    # root may read everything
    monkeypatch.setattr(os, "access", lambda *_: False)
    for name, kind, word in [("file", "file", "read"), ("", "new folder", "written")]:
        with pytest.raises(InputError, match=f"cannot be {word} .permission denied"):
            require(str(tmp_path / name), kind)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="permission denied"):
        require(str(tmp_path / "new" / "x"), "new file")


def test_texts_and_configs_are_regular_files_of_limited_size(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "large.json").write_bytes(b"{" + b" " * 2**20)
    texts = ["compare", "--model", "m", "--a", "a", "--b", "b", "--question"]
    for call in ([*texts, "@/dev/zero"], [*texts, f"@{tmp_path}/pipe.json"]):
        assert main(call) == 2
        assert "no regular file" in capsys.readouterr().err
    for name, message in (("pipe", "no regular file"), ("large", "at most 1 MB")):
        assert main(["sft", "--config", f"{tmp_path}/{name}.json"]) == 2
        assert message in capsys.readouterr().err
