"""A run directory belongs to one configuration."""

import json

import pytest

from r1reward_jax.cli import configs
from r1reward_jax.train.metrics import MetricsLog
from r1reward_jax.train.run import write_run_json
from r1reward_jax.types import InputError


def test_another_run_in_the_same_directory_is_refused(tmp_path):
    config = configs.load("quickstart")
    write_run_json(str(tmp_path), config.to_dict(), verb="sft", data_hash="a")
    write_run_json(
        str(tmp_path), config.to_dict(), verb="sft", data_hash="a"
    )  # the same run goes on
    with pytest.raises(InputError, match="data_hash: a -> b"):
        write_run_json(str(tmp_path), config.to_dict(), verb="sft", data_hash="b")
    configs.override(config, ["rl.lr=0.5"])
    with pytest.raises(InputError, match="rl.lr: 0.0003 -> 0.5"):
        write_run_json(str(tmp_path), config.to_dict(), verb="sft", data_hash="a")
    assert json.loads((tmp_path / "run.json").read_text())["data_hash"] == "a"


def test_a_runs_config_can_be_used_again(tmp_path):
    config = configs.load("quickstart")
    configs.override(config, ["rl.lr=0.5", "buckets.tokens=(64, 96)"])
    write_run_json(str(tmp_path), config.to_dict(), verb="sft", data_hash="a")
    assert configs.load(str(tmp_path / "config.json")).to_dict() == config.to_dict()
    old = config.to_dict()
    del old["rl"]["sigmas"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    with pytest.raises(InputError, match="lacks rl.sigmas"):
        configs.load(str(tmp_path / "config.json"))
    (tmp_path / "config.json").write_text("[1")
    with pytest.raises(InputError, match="not a config"):
        configs.load(str(tmp_path / "config.json"))


def test_a_resumed_phase_forgets_what_it_writes_again(tmp_path):
    log = MetricsLog(str(tmp_path / "metrics.jsonl"))
    for phase, step in [("sft", 1), ("sft", 2), ("rl", 1), ("rl", 2)]:
        log.write(phase, step, {"loss/total": 1.0})
    with open(log.path, "a") as file:
        file.write('{"phase": "rl", "st')  # killed while writing
    log.rewind("rl", 1)
    rows = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["phase"], r["step"]) for r in rows] == [("sft", 1), ("sft", 2), ("rl", 1)]
