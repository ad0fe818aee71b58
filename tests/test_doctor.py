"""`r1reward doctor`: what it finds, what it says of what is missing, and that it never crashes."""

import json
import re
import shutil
from importlib import metadata

import jax
import pytest

from r1reward_jax import doctor
from r1reward_jax.cli.main import main
from r1reward_jax.runs.provenance import PACKAGES


def lines(capsys) -> dict[str, str]:
    """Status of each name."""
    out = capsys.readouterr().out.splitlines()
    return {line[9:30].strip(): line[:8].strip() for line in out if line[:8].strip()}


def without(monkeypatch, **versions):
    """As if these distributions had other versions; None for not being there."""
    version = metadata.version

    def changed(name):
        found = versions[name] if name in versions else version(name)
        if found is None:
            raise metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(metadata, "version", changed)


def test_all_that_the_tests_need_is_here(tmp_path, capsys):
    assert main(["doctor", "--workdir", f"{tmp_path}/not/yet", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    named = {f["name"]: f for f in found["findings"]}
    assert found["ok"] and {*PACKAGES, "python", "pillow"} <= named.keys()
    assert {f"device {d.id}" for d in jax.devices()} <= named.keys()
    assert all(f["status"] == "ok" for f in named.values() if f["required"])
    assert "GiB free" in named["workdir"]["found"] and not list(tmp_path.iterdir())
    assert set(doctor.OPTIONAL) <= named.keys()


def test_what_is_too_old_or_missing_fails(monkeypatch, capsys):
    without(monkeypatch, jax="0.4.1", optax=None)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"0\.4\.1, required (>=0\.10,<\S+); pip install -U 'jax\1'", out)
    assert re.search("optax +not installed, required >=.*; pip install", out)
    assert out.endswith("FAILED: jax, optax\n")


def test_optional_parts_may_be_missing(monkeypatch, capsys):
    without(monkeypatch, torch=None, av=None, wandb=None, tensorboard=None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", "/nowhere")
    assert main(["doctor"]) == 0
    found = lines(capsys)
    missing = {name for name, status in found.items() if status == "missing"}
    assert {"torch", "av", "wandb", "tensorboard", "git", "chromium"} <= missing
    assert found["python"] == "ok" and "FAILED" not in found.values()


def test_a_gpu_that_jax_does_not_see(monkeypatch):
    which = {"nvidia-smi": "/usr/bin/nvidia-smi"}.get
    monkeypatch.setattr(shutil, "which", which)
    (found,) = doctor._cuda()
    assert found.status == "missing" and "r1reward-jax[cuda]" in found.advice
    assert not found.required


def test_a_check_that_raises_is_a_line(monkeypatch, capsys):
    def broken():
        raise RuntimeError("no driver\nat all")

    monkeypatch.setattr(jax, "local_devices", broken)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "FAILED   devices              RuntimeError: no driver at all" in out
    assert "ok       temporary files" in out  # the others go on


def test_one_broken_device_does_not_hide_the_others(monkeypatch):
    put, (first, *others) = jax.device_put, jax.local_devices()

    def broken(x, device):
        if device == first:
            raise RuntimeError("out of memory")
        return put(x, device)

    monkeypatch.setattr(jax, "device_put", broken)
    assert [f.status for f in doctor._devices()] == ["FAILED"] + ["ok"] * len(others)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_workdir_that_cannot_be_written(place, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["doctor", "--workdir", str(tmp_path / place)]) == 1
    out = capsys.readouterr().out
    assert "FAILED   workdir" in out and "give another folder" in out
