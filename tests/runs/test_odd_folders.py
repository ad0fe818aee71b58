"""Folders of somebody else's runs, damaged at random: resumed, reported, converted."""

import json
import random

import pytest

from r1reward_jax import config as configs
from r1reward_jax import report
from r1reward_jax.cli.convert import _settings
from r1reward_jax.errors import InputError
from r1reward_jax.runs.run_dir import claim_data, run_folder
from r1reward_jax.runs.stages import Stages

PIECES = (b"null", b"[", b"{}", b'"', b"1e999", b"-", b"\xff", b"\\ud800", b"NaN", b"9" * 5000)
NAMES = ("run.json", "config.json", "stages.json", "metrics.jsonl", "summary.json")


@pytest.fixture
def left(tmp_path):
    """What a run of sft has left, as bytes by name; and its config."""
    folder, config = tmp_path / "run", configs.load("default")
    config.workdir = str(folder)
    with run_folder(str(folder), config.to_dict(), verb="sft"):
        claim_data(str(folder), "hash")
    row = {"phase": "sft", "step": 1, "at": 1.0, "loss/total": 1.0}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "stages.json").write_text(json.dumps({"found": {"a": {"b": 1.0}}, "seconds": 3.0}))
    (folder / "summary.json").write_text(json.dumps({"accuracy": 0.5, "seconds": 3.0}))
    return folder, config, {name: (folder / name).read_bytes() for name in NAMES}


def damaged(data: bytes, rng: random.Random) -> bytes:
    """One value replaced, or bytes changed, cut or doubled."""
    if rng.random() < 0.5 and data.startswith(b"{"):
        body = json.loads(data.splitlines()[0] if b'"phase"' in data else data)
        body[rng.choice(list(body))] = rng.choice([None, 0, "x", [], {}, [None], {"a": []}, True])
        return json.dumps(body).encode() + b"\n"
    found = bytearray(data)
    at = rng.randrange(len(found))
    kind = rng.randrange(3)
    if kind == 0:
        found[at : at + rng.randrange(40)] = b""
    elif kind == 1:
        found[at:at] = rng.choice(PIECES)
    else:
        found[at:at] = found[at : at + rng.randrange(60)]
    return bytes(found)


def test_nothing_but_our_own_error_whatever_is_in_a_folder(left):
    folder, config, files = left
    rng, refused = random.Random(0), 0
    for _ in range(60):
        for name, data in files.items():
            (folder / name).write_bytes(data)
        name = rng.choice(NAMES)
        (folder / name).write_bytes(damaged(files[name], rng))
        for use in (
            lambda: report.write([str(folder)]),
            lambda: _settings(str(folder / "checkpoints" / "sft"), str(folder)),
            lambda: Stages(str(folder)).found(),
            lambda: resumed(folder, config),
        ):
            try:
                use()
            except InputError as error:
                refused += 1
                assert len(str(error)) < 4200
    assert refused > 5


def resumed(folder, config):
    with run_folder(str(folder), config.to_dict(), verb="sft"):
        claim_data(str(folder), "hash")


def test_what_a_killed_process_left_half_written_goes(left):
    folder, config, _ = left
    (folder / "report.html.part").write_text("<html>")
    resumed(folder, config)
    assert not list(folder.glob("*.part"))
