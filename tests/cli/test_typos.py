"""Mistakes are told first: with what is allowed, and before a folder exists; all but those that
need the number of devices before JAX is imported. The corrected command is accepted in the same
folder."""

import json
import os
import resource
import subprocess
import sys

import pytest

from r1reward_jax.cli.main import main
from tests.train.test_step import one_device

TYPOS = {
    "knob": ("rl", ["rl.lrr=1"], "'rl.lrr'; did you mean 'rl.lr'?"),
    "knob as an option": ("rl", ["--rl.lrr", "1"], "'rl.lrr'; did you mean 'rl.lr'?"),
    "section": ("rl", ["optimiser.b1=0.5"], "did you mean 'optimizer.b1'?"),
    "option": ("rl", ["--sed", "3"], "--sed; did you mean '--seed'?"),
    "type": ("sft", ["sft.steps=many"], "sft.steps=many: expected int, like"),
    "choice": ("quickstart", ["rl.loss=typo"], "expected one of stable_reinforce, ppo_clip"),
    "near choice": ("rl", ["rl.baseline=groups"], "did you mean 'group'?"),
    "range": ("rl", ["rl.clip_eps=2.0"], "rl.clip_eps=2.0: expected above 0 and below 1"),
    "not dividing": ("quickstart", ["rl.train_batch=100"], "not a multiple of rl.train_batch 100"),
    "exclusive": (
        "rl",
        ["judge.path=j", "judge.url=http://h/v1"],
        "judge.path and judge.url: set one of them",
    ),
    "missing": ("sft", ["model.path="], "set model.path=…"),
    "verb": ("quikstart", [], "there is no verb 'quikstart'; did you mean 'quickstart'?"),
    "config": ("sft", ["--config", "sft_7"], "config 'sft_7': not found; did you mean 'sft_7b'?"),
    "tuple": ("sft", ["buckets.tokens=(64,0)"], "buckets.tokens=(64, 0): expected positive"),
    "mesh": ("sft", ["mesh.fsdp=3"], "needs 3 devices, there are 8"),
    "two rests": ("sft", ["mesh.data=-1"], "at most one -1"),
    "file": ("rl", ["data.train=nothing.jsonl"], "data.train=nothing.jsonl: not found"),
    "folder of a model": (
        "rl",
        ["--model.path", "./modell"],
        "model.path=./modell: no such folder",
    ),
    "file for a model": ("rl", ["model.path=data.jsonl"], "model.path=data.jsonl: is a file"),
    "no model": ("sft", ["model.path=."], "model.path=.: holds no config.json"),
    "page of a model": (
        "sft",
        ["model.path=https://huggingface.co/org/m"],
        "write org/m",
    ),
    "judge": ("rl", ["judge.path=/nowhere"], "judge.path=/nowhere: no such folder; expected the"),
    "evaluate --model": ("evaluate", ["--model", "modell"], "model.path=modell: no such folder"),
    "benchmark": (
        "evaluate",
        ["--benchmark", "vl_rewardbnch"],
        "eval.benchmark=vl_rewardbnch: not found; expected a file of records or one of vl_reward",
    ),
    "near benchmark": ("evaluate", ["--benchmark", "mm_rlhf"], "mean 'mm_rlhf_rewardbench'?"),
    "response format": ("evaluate", ["--response-format", "boxd"], "did you mean 'boxed'?"),
    "expression": ("evaluate", ["--response-format", "([12"], "eval.response_format=([12: "),
    "group": ("evaluate", ["--response-format", "(x|y)"], "with one group ([12]) or ([AB])"),
    "prompt": ("evaluate", ["--prompt-from", "p.txt"], "prompt_from=p.txt: not found"),
    "row of a prompt": ("evaluate", ["--prompt-from", "p.jsonl:3"], "=p.jsonl:3: not found"),
    "data of a benchmark": ("evaluate", ["--data", "away"], "eval.data=away: not found"),
    "compare": (
        "compare",
        ["--model", "modell", "--question", "q", "--a", "a", "--b", "b"],
        "--model=modell: no such folder",
    ),
    "bench": ("bench", ["rank", "--model", "modell"], "--model=modell: no such folder"),
    "sampler": ("quickstart", ["rollout.top_p=0.5"], "rollout.top_p=0.5: expected 1.0 in RL"),
}


@pytest.fixture
def desk(checkpoint, tmp_path, monkeypatch):
    """A folder in which nothing is but a model and an empty file of data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(checkpoint)
    (tmp_path / "data.jsonl").write_text("")
    return tmp_path


def call(verb, more):
    if verb in ("compare", "bench"):
        return [verb, *more]
    place = ["--workdir", "run"] + ["wandb="] * (verb != "quikstart")
    data = ["model.path=model", "data.train=data.jsonl"] if verb in ("sft", "rl") else []
    if verb == "evaluate":
        data = ["model.path=model", "eval.benchmark=data.jsonl"]
    return [verb, *place, *data, *more]


@pytest.mark.parametrize("name", TYPOS)
def test_typos(name, desk, capsys):
    verb, more, message = TYPOS[name]
    before = sorted(desk.iterdir())
    assert main(call(verb, more)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and error.startswith("r1reward"), error
    assert sorted(desk.iterdir()) == before  # no folder, no file


EACH = """
import contextlib, io, json, sys, time
from r1reward_jax.cli.main import main
found = []
for arguments in json.load(sys.stdin):
    before, said = time.process_time(), io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(arguments)
    found.append([code, "jax" in sys.modules, time.process_time() - before, said.getvalue()])
print(json.dumps(found))
"""
OF_DEVICES = ("mesh",)
"""Mistakes for which the devices must be known, and JAX knows them."""


def test_no_mistake_costs_more_than_a_moment(desk):
    """Without JAX; the first of them also pays for what is imported."""
    names = [name for name in TYPOS if name not in OF_DEVICES]
    calls = [call(verb, more) for verb, more, _ in (TYPOS[n] for n in names)]
    command = [sys.executable, "-c", EACH]
    done = subprocess.run(command, input=json.dumps(calls), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(names) >= 12 and any(TYPOS[name][0] == "evaluate" for name in names)
    for name, (code, jax_is_there, seconds, said) in zip(names, found, strict=True):
        assert code == 2 and not jax_is_there and seconds <= 1.5, (name, code, seconds, said)
        assert TYPOS[name][2] in said


def test_all_mistakes_of_an_evaluation_are_in_one_message(desk, capsys):
    more = ["--benchmark", "x", "--response-format", "y", "--prompt-from", "z", "--data", "d"]
    assert main(call("evaluate", [*more, "--model", "m"])) == 2
    error = capsys.readouterr().err
    for path in ("eval.benchmark", "eval.response_format", "prompt_from", "eval.data"):
        assert f"{path}=" in error
    assert "model.path=m: no such folder" in error and error.count("\n") == 1


def test_a_judge_that_is_no_model_is_found_before_the_folder_is_claimed(desk, capsys):
    (desk / "judge").mkdir()
    (desk / "judge" / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    assert main(call("rl", ["--config", "quickstart", "judge.path=judge"])) == 2
    assert "vision_config" in capsys.readouterr().err and not (desk / "run").exists()


def test_the_corrected_command_is_accepted_in_the_same_folder(desk, monkeypatch, capsys):
    from r1reward_jax import quickstart

    one_device(monkeypatch)
    begun = []
    monkeypatch.setattr(quickstart, "run", lambda config, **_: begun.append(config))
    for name in ("choice", "not dividing", "sampler"):
        assert main(call("quickstart", TYPOS[name][1])) == 2
    assert main(call("quickstart", [])) == 0
    assert begun[0].workdir == "run" and begun[0].rl.loss == "stable_reinforce"


@pytest.mark.parametrize("arguments", [["quickstart", "rl.loss=typo"], ["report", "--help"]])
def test_a_wrong_choice_and_a_help_cost_a_moment(arguments, tmp_path):
    command = [sys.executable, "-m", "r1reward_jax.cli.main", *arguments]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == (2 if "quickstart" in arguments else 0), done.stderr
    assert after.ru_utime - before.ru_utime < 1.5  # 0.2 s on free cores
    assert list(tmp_path.iterdir()) == []


PARSERS = """
import sys
from r1reward_jax.cli.main import Parser, VERBS, fill, whole_parser
whole_parser().format_help()
for verb in VERBS:
    parser = Parser(prog=verb)
    fill(parser, verb)
    parser.format_help()
heavy = ("jax", "jaxlib", "numpy", "transformers", "flax", "PIL", "torch", "rich", "scipy")
print([name for name in heavy if name in sys.modules])
"""


def test_no_help_imports_what_computes():
    done = subprocess.run([sys.executable, "-c", PARSERS], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
