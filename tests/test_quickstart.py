"""The whole path at a reduced size, and the exported model in the original's `generate`."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from r1reward_jax import config as configs
from r1reward_jax.cli.main import main
from r1reward_jax.data.preferences import read_records
from r1reward_jax.evals.types import Judgement, PairJudgement
from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.prompts import TEMPLATES, evaluator_prompt
from r1reward_jax.quickstart import measuring
from r1reward_jax.types import Completion, PreferenceRecord
from tests.models.reference import original_logits
from tests.original import greedy_verdicts
from tests.readme import command
from tests.train.test_step import one_device

KEYS = {
    "blank_accuracy",
    "text_only_classifier_accuracy",
    "cold_start_accuracy",
    "rl_accuracy",
    "rl_strict_accuracy",
    "vote5_accuracy",
    "rl_sample_accuracy",
    "judge_balanced_accuracy",
    "consistent_share",
    "truth_consistent_share_before",
    "truth_consistent_share_after",
    "verdict_1_share",
    "format_share",
    "mean_response_tokens_before",
    "mean_response_tokens_after",
    "seconds",
    "blind_accuracy",
    "cold_start_longer_accuracy",
}
REDUCED = [
    "sft.steps=60",
    "rl.iterations=2",
    "rl.rollout_batch=64",
    "rl.train_batch=32",
    "rollout.slots=64",
    "judge.batch=64",
    "eval.records=8",
    "tiny_judge.steps=20",
    "world.sft_records=600",
    "world.rl_records=200",
    "world.heldout_records=24",
    "tiny.hidden_size=64",
    "tiny.layers=2",
    "tiny.mlp=128",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart")
    with pytest.MonkeyPatch.context() as patch:
        one_device(patch)
        assert main([*command("quickstart"), "--controls", *REDUCED, f"workdir={folder}"]) == 0
        return folder, json.loads((folder / "summary.json").read_text())


def test_summary_holds_what_was_measured(run):
    _, summary = run
    assert set(summary) >= KEYS
    for name, value in summary.items():
        if name.endswith(("accuracy", "share")):
            assert 0 <= value <= 1, name
    # twins: whoever does not see the image is at chance exactly
    assert summary["blank_accuracy"] <= 0.5
    assert summary["text_only_classifier_accuracy"] <= 0.55
    assert summary["format_share"] > 0.3  # it learned to write in 60 steps


def test_summary_can_be_recomputed_from_the_judgements(run):
    folder, summary = run
    rows = [json.loads(x) for x in (folder / "judgements.jsonl").read_text().splitlines()]
    right = [r["verdicts"][0] == r["preferred"] for r in rows]
    assert len(rows) == 48 and np.mean(right) == summary["rl_accuracy"]
    strict = [a and b for a, b in zip(right[::2], right[1::2])]
    assert np.mean(strict) == summary["rl_strict_accuracy"]
    samples = [v == r["preferred"] for r in rows for v in r["votes"]]
    assert np.mean(samples) == summary["rl_sample_accuracy"]


def test_run_directory_is_complete(run):
    folder = Path(run[0])
    for name in ("run.json", "metrics.jsonl", "summary.json", "judgements.jsonl", "report.html"):
        assert (folder / name).stat().st_size > 0
    for name in ("base", "judge", "exported"):
        assert (folder / name / "config.json").exists()
        assert (folder / name / "model.safetensors").exists()
    assert len(list((folder / "rollouts").glob("*.jsonl"))) == 2
    phases = {json.loads(x)["phase"] for x in (folder / "metrics.jsonl").read_text().splitlines()}
    assert phases == {"cold_start", "judge", "rl", "blind", "longer"}
    opening = json.loads((folder / "run.json").read_text())["opening"]
    assert opening.keys() == {"cold_start", "rl"}
    assert opening["cold_start"]["cold_start"].startswith("60 updates of 32 examples; 19 updates")
    assert opening["cold_start"]["records"].startswith(
        "600, 600 images, 0 videos; labels 300 first"
    )
    assert "iterations of 64 samples of 64 records, 2 updates of 32" in opening["rl"]["rl"]
    assert opening["rl"]["held out"].startswith("8 of 24, 8 images")
    assert (
        opening["rl"]["judge"].endswith("judge, here") and "float32" in opening["rl"]["precision"]
    )
    assert opening["rl"]["buckets"] == "tokens 52, 64; images 1; patches 36"
    assert opening["rl"]["model"].endswith(", all trained")


def test_the_trained_and_exported_model_is_the_same_in_the_original(run):
    folder = str(run[0] / "exported")
    model, params = qwen2_5_vl.load(folder)
    processor = qwen2_5_vl.Processor(folder, qwen2_5_vl.Buckets((64,), (1,), (36,)))
    records = read_records(f"{run[0]}/data/heldout.jsonl")[:3]
    prompts = [evaluator_prompt(r, TEMPLATES["brief"]) for r in records]
    encoded = [processor.encode(p) for p in prompts]
    logits = jax.jit(lambda p, b: model.hidden(p, b) @ model.head(p))(
        params, processor.collate(encoded)
    )
    for row, theirs in zip(logits, original_logits(folder, prompts, encoded, processor)):
        np.testing.assert_allclose(row[: len(theirs)], theirs, atol=1e-4)


def test_the_original_generates_our_greedy_verdicts(run):
    folder = Path(run[0])
    if sys.version_info >= (3, 12):
        pytest.skip("torch is a test dependency on Python 3.11 only")
    rows = [json.loads(x) for x in (folder / "judgements.jsonl").read_text().splitlines()]
    theirs = greedy_verdicts(str(folder / "exported"), rows, max_new_tokens=34)
    assert np.mean([t == r["texts"][0] for t, r in zip(theirs, rows)]) >= 0.95


def test_judgements_of_prompts_that_were_skipped(tmp_path):
    config = configs.load("quickstart")
    config.workdir = str(tmp_path)
    record = PreferenceRecord("a", "Which?", ("one", "two"), 1)
    text = "<think>So 1 fits.</think><answer>1</answer>"
    right = Judgement(1, 1, 0.9, completions=(Completion(text, (1,), "eos"),))
    pair = PairJudgement(orders=(Judgement(1, None, skipped=True), right))
    judge = SimpleNamespace(score=lambda pairs: [0.25] * len(pairs))
    measuring.write_judgements(config, judge, [record], [pair])
    skipped, shown = map(json.loads, (tmp_path / "judgements.jsonl").read_text().splitlines())
    assert skipped["rewards"] == skipped["judge"] == skipped["texts"] == []
    assert shown["judge"] == [0.25] and shown["rewards"][0]["result"] == 1
    assert shown["rewards"][0]["consistency"] == 0
