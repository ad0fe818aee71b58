"""Comparisons take turns, report medians and ratios, and refuse to time different functions."""

import json
import time

import pytest

from r1reward_jax.bench import judge, model, rollout, timing, train
from r1reward_jax.cli.main import main
from r1reward_jax.models.qwen2_5_vl import original
from r1reward_jax.types import InputError
from tests.readme import command

TINY = "--layers 2 --width 64 --vocab 400 --batch 2 --prompt 24 --decode-prompt 8 --new-tokens 4"
NAMES = [
    "text forward",
    *(f"image forward, {rows} x {columns}" for rows, columns in model.GRIDS),
    "forward + backward",
    "prefill",
    "decode, scanned layers",
    "decode, unrolled layers",
]


def test_contestants_take_turns(monkeypatch):
    clock, order = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    costs = {"ours": iter([9, 1, 2, 3]), "other": iter([9, 4, 4, 30])}

    def call(name):
        order.append(name)
        clock[0] += next(costs[name])

    row = timing.compare("x", lambda: call("ours"), lambda: call("other"), rounds=3, peak_bytes=7)
    assert row == timing.Row("x", 2.0, 4.0, 2.0, 7)  # medians; the first round is not timed
    assert order == ["other", "ours", "ours", "other"] * 2


def test_bench_model_writes_every_row(tmp_path, capsys):
    pytest.importorskip("torch", reason="torch is a test dependency on Python 3.11 only")
    out = tmp_path / "new" / "rows.json"
    assert (
        main([*command("bench", "model"), *TINY.split(), "--rounds", "2", "--out", str(out)]) == 0
    )
    body = json.loads(out.read_text())
    assert [row["name"] for row in body["rows"]] == NAMES
    for row in body["rows"]:
        assert row["ours_s"] > 0 and row["other_s"] > 0
        assert row["speedup"] == pytest.approx(row["other_s"] / row["ours_s"])
        assert row["peak_bytes"] > 10_000
    assert body["other"]["torch"] and body["other"]["threads"] > 0
    assert body["settings"]["vocab"] == 400 and body["machine"]["versions"]["jax"]
    printed = capsys.readouterr().out
    assert all(name in printed for name in NAMES)


def test_different_functions_are_not_timed(monkeypatch):
    pytest.importorskip("torch", reason="torch is a test dependency on Python 3.11 only")
    right = original.load

    def other_weights(*arguments):
        loaded = right(*arguments)
        loaded.lm_head.weight.data *= 1.5
        return loaded

    monkeypatch.setattr(original, "load", other_weights)
    settings = model.Settings(2, 64, 400, 2, 24, 8, 4, 1, "float32")
    with pytest.raises(InputError, match="text forward: the two differ"):
        model.run(settings)


def test_without_torch_it_says_what_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(original, "available", lambda: False)
    assert main(["bench", "model"]) == 2
    assert "pip install torch" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "named"),
    [("--width 32", "width 32"), ("--width 100", "multiple of 64"), ("--vocab 300", "vocab 300")]
    + [("--rounds 0", "rounds 0"), ("--decode-prompt 30", "decode_prompt 30")],
)
def test_sizes_that_make_no_sense(wrong, named, capsys):
    assert main(["bench", "model", *TINY.split(), *wrong.split()]) == 2
    assert named in capsys.readouterr().err


def test_bench_train_measures_time_and_memory(tmp_path):
    pytest.importorskip("torch", reason="torch is a test dependency on Python 3.11 only")
    out = tmp_path / "rows.json"
    sizes = "--layers 2 --width 64 --vocab 400 --batch 2 --prompt 24 --completion 8 --rounds 1"
    assert main([*command("bench", "train"), *sizes.split(), "--out", str(out)]) == 0
    body = json.loads(out.read_text())
    names = [row["name"] for row in body["rows"]]
    assert names == ["train step, full logits", "train step, logits_to_keep"]
    memory = body["other"]["peak_memory_bytes"]
    assert list(memory) == ["ours", "full logits", "logits_to_keep"] and min(memory.values()) > 0


def test_bench_rollout_counts_steps(tmp_path, capsys):
    pytest.importorskip("torch", reason="torch is a test dependency on Python 3.11 only")
    out = tmp_path / "rows.json"
    sizes = "--layers 2 --width 64 --vocab 400 --batch 2 --prompt 24 --new-tokens 8 --rounds 1"
    sizes += " --slots 8 --requests 32 --cap 80 --votes 3 --vote-prompt 32 --vote-tokens 4"
    assert main([*command("bench", "rollout"), *sizes.split(), "--out", str(out)]) == 0
    body = json.loads(out.read_text())
    names = [row["name"] for row in body["rows"]]
    assert names == ["greedy, 2 rows", "refills, 8 of 32", "3 votes"]
    found = body["other"]["refills"]
    assert found["steps"] < found["static_steps"] and found["occupancy"] > found["static_occupancy"]
    cache = body["other"]["votes"]
    assert cache["prompt_cache_bytes_apart"] == 3 * cache["prompt_cache_bytes"]
    assert "steps" in capsys.readouterr().out
    assert main(["bench", "rollout", "--votes", "0"]) == 2
    assert "votes 0" in capsys.readouterr().err


def test_bench_judge_counts_calls(tmp_path, capsys):
    pytest.importorskip("torch", reason="torch is a test dependency on Python 3.11 only")
    out = tmp_path / "rows.json"
    sizes = "--layers 2 --width 64 --vocab 400 --batch 4 --pairs 10 --prompt 64 --rounds 1"
    sizes += " --requests 8 --latency-ms 20"
    assert main([*command("bench", "judge"), *sizes.split(), "--out", str(out)]) == 0
    body = json.loads(out.read_text())
    names = [row["name"] for row in body["rows"]]
    assert names == ["batches of 4", "the same, original", "8 requests, 20 ms"]
    assert body["rows"][2]["speedup"] > 2
    found = body["other"]["local"]
    assert found["device_calls"] == found["fewest_calls"] == 3 and found["programs"] == 1
    assert max(found["largest_difference"].values()) <= 1e-5
    assert "3 device calls" in capsys.readouterr().out
    assert main(["bench", "judge", "--prompt", "40"]) == 2
    assert "prompt 40" in capsys.readouterr().err


def test_other_judgements_are_not_timed(monkeypatch):
    pytest.importorskip("torch", reason="torch is a test dependency on Python 3.11 only")
    right = judge._original
    monkeypatch.setattr(judge, "_original", lambda *a: lambda: right(*a)() + 1e-3)
    with pytest.raises(InputError, match="probabilities differ"):
        judge.run(judge.Settings(2, 64, 400, 4, 10, 64, 8, 20, 1))


def test_other_tokens_are_not_timed(monkeypatch):
    pytest.importorskip("torch", reason="torch is a test dependency on Python 3.11 only")
    right = rollout._generate
    monkeypatch.setattr(rollout, "_generate", lambda *a: lambda: right(*a)() + 1)
    settings = rollout.Settings(2, 64, 400, 2, 24, 8, 4, 8, 20, 3, 32, 4, 1)
    with pytest.raises(InputError, match="same tokens"):
        rollout.run(settings)


def test_another_loss_is_not_timed(monkeypatch):
    pytest.importorskip("torch", reason="torch is a test dependency on Python 3.11 only")
    right = train.plain_step

    def other_loss(*arguments):
        step = right(*arguments)
        return lambda: step() + 0.01

    monkeypatch.setattr(train, "plain_step", other_loss)
    with pytest.raises(InputError, match="losses differ"):
        train.run(train.Settings(2, 64, 400, 2, 24, 8, 1, 1))
