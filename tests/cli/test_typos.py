"""Mistakes are told first: with what is allowed, before JAX is imported and before a folder exists;
the corrected command is accepted in the same folder."""

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
    place = ["--workdir", "run"] + ["wandb="] * (verb != "quikstart")
    data = ["model.path=model", "data.train=data.jsonl"] if verb in ("sft", "rl") else []
    return [verb, *place, *data, *more]


@pytest.mark.parametrize("name", TYPOS)
def test_typos(name, desk, capsys):
    verb, more, message = TYPOS[name]
    before = sorted(desk.iterdir())
    assert main(call(verb, more)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and error.startswith("r1reward"), error
    assert sorted(desk.iterdir()) == before  # no folder, no file


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
