"""The gate before a run: all paths of a policy agree, and a path that is wrong is caught."""

import json
import sys
from pathlib import Path

import pytest

from r1reward_jax.cli.main import main
from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.models.qwen2_5_vl import original
from r1reward_jax.train import rl as loop
from r1reward_jax.train.parity import require_parity
from r1reward_jax.types import InputError
from tests.readme import command
from tests.train.test_rl import small_config, train
from tests.train.test_step import one_device

SMALL = ["--config", "quickstart", "rollout.max_new_tokens=8", "rollout.unroll=False"]


def test_check_compares_all_paths(checkpoint, capsys):
    assert main([*command("parity"), "--model", checkpoint, *SMALL]) == 0
    printed = capsys.readouterr().out
    gaps = {line.split()[0]: line.split()[1] for line in printed.splitlines()[1:4]}
    assert list(gaps) == ["prefill", "decode", "original"]
    compared = [float(gaps["prefill"]), float(gaps["decode"])]
    if sys.version_info < (3, 12):
        compared.append(float(gaps["original"]))
    assert all(gap < 1e-4 for gap in compared) and max(compared) > 0
    assert main(["parity", "--model", checkpoint, *SMALL, "--threshold", "1e-12"]) == 2
    assert "by more than 1e-12 nats: prefill" in capsys.readouterr().err


def test_without_torch_the_rest_is_checked(checkpoint, capsys, monkeypatch):
    monkeypatch.setattr(original, "available", lambda: False)
    assert main(["parity", "--model", checkpoint, *SMALL]) == 0
    assert "not checked: torch is not installed" in capsys.readouterr().out


@pytest.mark.parametrize("path", ["prefill", "decode"])
def test_a_wrong_path_is_caught(path, checkpoint, capsys, monkeypatch):
    """Positions that are off by some tokens, in one path only."""
    right = getattr(qwen2_5_vl.Model, path)

    def wrong(self, params, first, *rest, **options):
        if path == "prefill":
            first = first._replace(positions=first.positions[:, :, :] * 2)
        else:
            rest = (rest[0] + 5, *rest[1:])
        return right(self, params, first, *rest, **options)

    monkeypatch.setattr(qwen2_5_vl.Model, path, wrong)
    monkeypatch.setattr(original, "available", lambda: False)
    assert main(["parity", "--model", checkpoint, *SMALL]) == 2
    assert path in capsys.readouterr().err


def test_a_completion_of_one_token_compares_no_decoding(checkpoint, capsys):
    assert main(["parity", "--model", checkpoint, *SMALL[:2], "rollout.max_new_tokens=1"]) == 0
    assert "not checked: every sample ended with its first token" in capsys.readouterr().out


def test_large_smallest_images_need_no_buckets(checkpoint, tmp_path, capsys):
    """min_pixels as many fine-tunes have it: the prompts' own sizes decide."""
    for file in Path(checkpoint).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    settings["min_pixels"] = 200 * 28 * 28
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    assert main(["parity", "--model", str(tmp_path), *SMALL]) == 0


def test_what_is_not_a_number_does_not_pass():
    require_parity({"prefill": 0.1, "decode": 0.5}, 0.5)
    with pytest.raises(InputError, match="decode nan"):
        require_parity({"prefill": 0.1, "decode": float("nan")}, 0.5)


def test_a_run_refuses_to_start_where_the_sampler_is_wrong(loaded, world, tmp_path, monkeypatch):
    one_device(monkeypatch)
    config = small_config(tmp_path)
    right = qwen2_5_vl.Model.decode

    def wrong(self, params, tokens, positions, *rest, **options):
        return right(self, params, tokens, positions + 5, *rest, **options)

    monkeypatch.setattr(qwen2_5_vl.Model, "decode", wrong)
    monkeypatch.setattr(loop, "write_rollouts", lambda *_: pytest.fail("the run went on"))
    with pytest.raises(InputError, match="disagree"):
        train(config, loaded, world)
    assert not (tmp_path / "metrics.jsonl").exists()
