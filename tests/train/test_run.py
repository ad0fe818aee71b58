"""A run directory belongs to one configuration."""

import json

import pytest

from r1reward_jax.cli import configs
from r1reward_jax.train.run import write_run_json
from r1reward_jax.types import InputError


def test_another_run_in_the_same_directory_is_refused(tmp_path):
    config = configs.load("quickstart")
    write_run_json(str(tmp_path), config.to_dict(), data_hash="a")
    write_run_json(str(tmp_path), config.to_dict(), data_hash="a")  # the same run goes on
    with pytest.raises(InputError, match="data_hash: a -> b"):
        write_run_json(str(tmp_path), config.to_dict(), data_hash="b")
    configs.override(config, ["rl.lr=0.5"])
    with pytest.raises(InputError, match="rl.lr: 0.0003 -> 0.5"):
        write_run_json(str(tmp_path), config.to_dict(), data_hash="a")
    assert json.loads((tmp_path / "run.json").read_text())["data_hash"] == "a"
