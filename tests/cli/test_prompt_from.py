"""A model is trained, exported and evaluated with one prompt, also with one of its own."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import pytest

from r1reward_jax.cli import convert
from r1reward_jax.cli.main import main, parsed
from r1reward_jax.cli.start import started
from r1reward_jax.data.preferences import read_preferences, write_records
from r1reward_jax.inference.settings import FILE, ModelSettings
from r1reward_jax.prompts import TEMPLATES
from r1reward_jax.reward_model import RewardModel
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.types import InputError
from tests.train.test_step import one_device

TEXT = "Q: {question} {images} A: {first} B: {second} Which {one}?"
OWN = "Q: {question} {images} A: {first} B: {second} Which {{one}}?"
SIZES = ["buckets.tokens=(512,)", "buckets.images=(1,)", "buckets.patches=(36,)"]


@pytest.fixture(scope="module")
def desk(checkpoint, world, tmp_path_factory):
    """A base model, a file with a prompt, records, and the export of a run that began with them."""
    folder = tmp_path_factory.mktemp("prompt")
    write_records(f"{folder}/pairs.jsonl", world[1]["heldout"][:4])
    (folder / "prompt.txt").write_text(TEXT)
    with pytest.MonkeyPatch.context() as patch:
        one_device(patch)
        patch.chdir(folder)
        with started(train(checkpoint), read_preferences) as start:
            setup = start.setup
            assert setup.template.evaluator == OWN
            setup.policy.save("run/exported", setup.policy.params)
            MetricsLog("run/metrics.jsonl").write("rl", 1, {"reward/total": 1.0})  # a result
        yield folder


def train(model, *more) -> Namespace:
    """The arguments of a training in the words of the file."""
    data = [f"model.path={model}", "data.train=pairs.jsonl", "template=brief", *SIZES]
    data += ["judge=none", "rollout.max_new_tokens=8"]
    return parsed("rl", ["--workdir", "run", "--prompt-from", "prompt.txt", *data, *more])


def test_a_run_and_its_export_keep_the_prompt(desk, checkpoint, capsys):
    run = json.loads((desk / "run" / "run.json").read_text())
    assert run["prompt"] == {"evaluator": OWN, "system": TEMPLATES["brief"].system}
    assert run["config"]["prompt_from"] == "prompt.txt" and len(run["prompt_hash"]) == 64
    settings = ModelSettings.load("run/exported")
    assert settings and settings.wording.evaluator == OWN
    assert settings.wording.judge == TEMPLATES["brief"].judge
    # a checkpoint is exported with what the run was given, whatever became of the file
    assert convert._settings("run/checkpoints/rl", checkpoint) == settings
    (desk / "prompt.txt").write_text(TEXT + "!")
    with (
        pytest.raises(InputError, match="prompt_hash"),
        started(train(checkpoint), read_preferences),
    ):
        pass
    (desk / "prompt.txt").write_text(TEXT)
    assert "15 characters behind the second response" in capsys.readouterr().out


def test_the_python_api_takes_the_prompt_of_the_export(desk):
    model = RewardModel.from_pretrained("run/exported")
    assert model._judge.template.evaluator == OWN and model.settings.template == "brief"
    other = RewardModel.from_pretrained("run/exported", template="full")
    assert other._judge.template == TEMPLATES["full"]


def test_an_evaluation_takes_the_prompt_of_the_export(desk, capsys):
    asked = ["evaluate", "--model", "run/exported", "--benchmark", "pairs.jsonl", "--dry-run"]
    lengths = []
    for more, said in (
        ([], "asked in its own prompt"),
        (["--prompt-from", "prompt.txt"], "14 characters"),
        (["eval.prompt_from=prompt.txt"], "14 characters"),
    ):
        assert main([*asked, *SIZES, *more]) == 0
        printed = capsys.readouterr()
        assert said in printed.out and "another prompt" not in printed.err
        lengths.append([line for line in printed.out.splitlines() if " tokens" in line])
    # the look at the data counts the tokens of what the model is asked, not of its template
    assert lengths[0] and lengths[0] == lengths[1] == lengths[2]
    assert main([*asked, *SIZES, "template=full"]) == 0
    printed = capsys.readouterr()
    assert "run/exported was trained with another prompt" in printed.err
    assert lengths[0] != [line for line in printed.out.splitlines() if " tokens" in line]


def test_a_training_in_other_words_than_those_of_its_model_warns(desk, capsys):
    plain = ["data.train=pairs.jsonl", *SIZES, "judge=none"]
    asked = ["rl", "model.path=run/exported", "--workdir", "more", "--dry-run", *plain]
    for more in (["template=brief"], ["template=full"]):
        assert main([*asked, *more]) == 0
        assert "was trained with a prompt of its own, and" in capsys.readouterr().err
    assert main([*asked, "template=brief", "prompt_from=prompt.txt"]) == 0
    assert "was trained with" not in capsys.readouterr().err
    assert main(["scalar-rm", *asked[1:], "prompt_from=prompt.txt"]) == 2
    assert "has no effect on a scalar model" in capsys.readouterr().err
    assert main(["quickstart", "prompt_from=prompt.txt", "--workdir", "q"]) == 2
    assert "prompt_from=prompt.txt: a quickstart asks in the words" in capsys.readouterr().err


@pytest.mark.parametrize(
    "evaluator",
    [
        "{question} {first}",
        "{question} {first} {second} {second}",
        "{question} {first} {second} {other}",
        "{question} {first.__class__} {second}",
        "{question} {first:>999999999} {second}",
        "{question} {first!r} {second}",
        "{question} {first} {second} {",
        "{question} {first} {second} {images} {images}",
        7,
    ],
)
def test_a_prompt_from_elsewhere_is_no_program(evaluator, desk, tmp_path):
    shutil.copy(desk / "run" / "exported" / FILE, tmp_path)
    stored = json.loads((tmp_path / FILE).read_text())
    Path(tmp_path / FILE).write_text(json.dumps(stored | {"evaluator": evaluator}))
    with pytest.raises(InputError, match="evaluator"):
        ModelSettings.load(str(tmp_path))
