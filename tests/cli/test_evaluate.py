"""`r1reward evaluate`: killed and resumed, in two formats, with mistakes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from r1reward_jax.cli.main import main
from r1reward_jax.data.preferences import write_records
from r1reward_jax.inference.settings import ModelSettings, write_settings
from tests.speed import FAST
from tests.train.test_step import one_device

ROOT = Path(__file__).parent.parent.parent
SMALL = [
    *("eval.samples=3", "rollout.slots=2", "rollout.prefill_batch=2", "rollout.compact=1"),
    *("buckets.tokens=(128,)", "buckets.images=(1,)", "buckets.patches=(36,)"),
]


@pytest.fixture(scope="module")
def desk(checkpoint, world, tmp_path_factory):
    """A model that says how it is asked, and nine records in three groups."""
    folder, records = tmp_path_factory.mktemp("verb"), world[1]["heldout"][:9]
    model = folder / "model"
    model.mkdir()
    for file in Path(checkpoint).iterdir():
        (model / file.name).symlink_to(file)
    write_settings(str(model), ModelSettings("brief", 28224, 12, "max"), like=checkpoint)
    write_records(f"{folder}/pairs.jsonl", records)
    with pytest.MonkeyPatch.context() as patch:
        one_device(patch)
        patch.chdir(folder)
        yield folder


def evaluate(*more):
    """The verb with a workdir of its own choice."""
    return ["evaluate", "--model", "model", "--benchmark", "pairs.jsonl", *SMALL, *more]


@pytest.fixture(scope="module")
def whole(desk):
    assert main(evaluate()) == 0
    return desk / "runs" / "evaluate" / "model-pairs"


def kill(count: int, delay: float, arguments) -> bool:
    """Whether a process with the verb is killed, at its `count`-th judgement; it may end before."""
    place = ["judgement", str(count), str(delay)]
    command = [sys.executable, "-m", "tests.resume.worker", *place, *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": FAST}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def test_killed_while_it_judges(desk, whole):
    """What is in the file stays, a torn line goes, every row is there once; same numbers."""
    arguments = evaluate("--workdir", "killed")
    assert kill(13, 0.0, arguments)
    path = desk / "killed" / "judgements.jsonl"
    left = path.read_text()
    assert 12 <= len(left.splitlines()) < 18
    path.write_text(left[:-20])
    assert main(arguments) == 0
    for name in ("judgements.jsonl", "evaluation.json"):
        assert (desk / "killed" / name).read_bytes() == (whole / name).read_bytes(), name
    (began,) = parts = json.loads((desk / "killed" / "run.json").read_text())["judged"]
    assert 11 <= int(began) < 18  # the part that was killed could not say how long it took
    assert parts[began]["count"] == 18 - int(began) and parts[began]["seconds"] > 0
    before = path.stat().st_mtime_ns
    assert main(arguments) == 0 and path.stat().st_mtime_ns == before  # nothing left to judge


@pytest.mark.slow
def test_killed_again_and_again(desk, whole):
    """Twelve kills at random judgements and moments; a run that has ended is begun anew."""
    rng, kills, runs = random.Random(0), 0, 0
    while kills < 12:
        workdir = desk / f"again{runs}"
        arguments = evaluate("--workdir", workdir.name)
        for _ in range(rng.randint(1, 4)):
            there = workdir / "judgements.jsonl"
            left = 18 - (len(there.read_text().splitlines()) if there.exists() else 0)
            if left <= 0:
                break
            count, delay = rng.randint(1, left), rng.uniform(0, 0.05)
            killed = kill(count, delay, arguments)
            kills += killed
            print(f"run {runs}: judgement {count} of {left}, {delay:.3f} s later: {killed}")
        assert main(arguments) == 0
        for name in ("judgements.jsonl", "evaluation.json"):
            assert (workdir / name).read_bytes() == (whole / name).read_bytes(), name
        runs += 1
    print(f"{kills} kills in {runs} runs; every row is there once, all bytes are the same")


def test_the_model_says_how_it_is_asked(desk, whole):
    config = json.loads((whole / "config.json").read_text())
    assert config["template"] == "brief" and config["model"]["max_pixels"] == 28224
    assert config["rollout"]["max_new_tokens"] == 12 and config["eval"]["samples"] == 3
    assert config["model"]["compute_dtype"] == "float32"  # on a CPU
    rows = [json.loads(x) for x in (whole / "judgements.jsonl").read_text().splitlines()]
    assert len(rows) == 18 and all(len(r["votes"]) == 3 and len(r["texts"]) == 1 for r in rows)
    assert {r["group"] for r in rows} == {"color", "count"}
    found = json.loads((whole / "evaluation.json").read_text())
    assert found["overall"]["pairs"] == 9 and set(found["groups"]) == {"color", "count"}
    (part,) = json.loads((whole / "run.json").read_text())["judged"].values()
    assert part["count"] == 18 and part["seconds"] > 0
    # a random model writes no verdict
    greedy = found["overall"]["greedy"]
    assert greedy["accuracy"]["value"] == 0 and greedy["readable"]["of"] == 0


def test_its_own_prompt_and_format(desk, capsys):
    """The command line has the last word; the format decides what is a verdict."""
    (desk / "prompt.txt").write_text("{question} {first} {second} {images}")
    more = ["--prompt-from", "prompt.txt", "--response-format", "(?s:.)*?([12])"]
    assert main(evaluate(*more, "--workdir", "own", "rollout.max_new_tokens=24")) == 0
    rows = [json.loads(x) for x in (desk / "own" / "judgements.jsonl").read_text().splitlines()]
    for row in rows:
        digits = [c for c in row["texts"][0] if c in "12"]
        assert row["verdicts"] == ([int(digits[0])] if digits else [None])
        assert (row["probabilities"] == [None]) == (not digits)
    assert any(v for r in rows for v in r["votes"])
    assert "0 characters behind the second response; nothing there" in capsys.readouterr().out
    assert main(evaluate("--workdir", "own")) == 2
    assert "prompt_from" in capsys.readouterr().err
    (desk / "prompt.txt").write_text("{question} {first} {second} {images} So?")
    assert main(evaluate(*more, "--workdir", "own", "rollout.max_new_tokens=24")) == 2
    assert "prompt_hash" in capsys.readouterr().err


def test_another_model_prompt_or_data_under_the_same_names(desk, whole, capsys):
    """A finished and a half finished evaluation; what was counted before does not stay."""
    shutil.copytree(whole, desk / "half")
    lines = (whole / "judgements.jsonl").read_text().splitlines(keepends=True)
    (desk / "half" / "judgements.jsonl").write_text("".join(lines[:5]))
    name = "chat_template.jinja" if (desk / "model/chat_template.jinja").exists() else "config.json"
    file = desk / "model" / name
    old = file.read_bytes()
    file.unlink()
    file.write_bytes(old + b"\n")
    for workdir in ("half", str(whole)):
        assert main(evaluate("--workdir", workdir)) == 2
        assert "model_hash" in capsys.readouterr().err
    file.write_bytes(old)
    (desk / "half" / "judgements.jsonl").unlink()
    assert main(evaluate("--workdir", "half", "eval.samples=0")) == 0
    found = json.loads((desk / "half" / "evaluation.json").read_text())["overall"]
    assert found["pairs"] == 9 and found["votes"] == {} and found["greedy"]["accuracy"]["of"] == 18


def test_unreadable_images_are_told_before_the_model_is_loaded(desk, world, capsys):
    records = [replace(r, images=(f"{desk}/broken.png",)) for r in world[1]["heldout"][:7]]
    (desk / "broken.png").write_bytes(b"none")
    write_records(f"{desk}/broken.jsonl", records)
    assert main(evaluate("--benchmark", "broken.jsonl")) == 2
    error = capsys.readouterr().err
    assert "(row 1)" in error and "(row 5)" in error and "and 2 more" in error


def test_missing_images_are_counted_apart(desk, world, capsys):
    """Records without their pictures are left out of all numbers, and told; where none has its
    picture, the folder is what is wrong."""
    records = list(world[1]["heldout"][:4])
    folder = desk / "lost"
    folder.mkdir()
    write_records(f"{folder}/pairs.jsonl", records)
    rows = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    named = lambda row, name: json.loads(json.dumps(row).replace(row["image"], name))  # noqa: E731
    rows[1] = named(rows[1], "gone.png")  # a picture of this name beside the command is not meant
    shutil.copy(records[0].images[0], desk / "gone.png")
    (folder / "some.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    arguments = evaluate("--benchmark", "lost/some.jsonl", "--workdir", "some", "eval.samples=0")
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "1 images or videos are missing" in said.out and "Looked in lost" in said.out
    assert "1 of 4 records cannot be shown" in said.err and "gone.png: not found" in said.err
    found = json.loads((desk / "some" / "evaluation.json").read_text())
    assert found["overall"]["pairs"] == 3 and found["skipped"]["records"] == 1
    (gone,) = found["skipped"]["rows"]
    assert gone["row"] == 1 and "lost/gone.png: not found" in gone["reason"]
    # the picture is found: what was left out for its sake is not taken over
    shutil.copy(desk / "gone.png", folder / "gone.png")
    assert main(arguments) == 2 and "left_out_hash" in capsys.readouterr().err
    rows = [named(row, f"none{i}.png") for i, row in enumerate(rows)]
    (folder / "all.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert main(evaluate("--benchmark", "lost/all.jsonl", "--workdir", "none")) == 2
    said = capsys.readouterr().err
    assert "4 images or videos are missing" in said and "Looked in lost" in said
    assert not (desk / "none").exists()


def test_votes_that_end_early(desk, whole):
    """Three samples at a time without being asked; nothing to stop in a model without verdicts."""
    assert main(evaluate("--workdir", "stopped", "eval.stop=exact")) == 0
    assert (
        json.loads((desk / "stopped" / "config.json").read_text())["rollout"]["parallel_samples"]
        == 3
    )
    assert (desk / "stopped" / "judgements.jsonl").read_text() == (
        whole / "judgements.jsonl"
    ).read_text()


def test_the_config_file_counts_more_than_the_model_and_the_machine(desk, monkeypatch):
    """Where it sets a value; and the command line more than the file."""
    from r1reward_jax import evaluation

    asked = []
    monkeypatch.setattr(evaluation, "run", lambda config, limit: asked.append(config))
    text = (
        "from r1reward_jax.configs import eval\n\n\ndef get_config():\n    c = eval.get_config()\n"
    )
    text += "    c.model.compute_dtype = 'bfloat16'\n    c.rollout.max_new_tokens = 77\n"
    text += "    c.template = 'full'\n    return c\n"
    (desk / "mine.py").write_text(text)
    (desk / "mine.yaml").write_text("template: full\nrollout: {max_new_tokens: 77}\n")
    assert main(evaluate()) == main(evaluate("--config", "mine.py")) == 0
    assert main(evaluate("--config", "mine.yaml", "--rollout.max_new_tokens=5")) == 0
    found = [
        (c.model.compute_dtype, c.template, c.model.max_pixels, c.rollout.max_new_tokens)
        for c in asked
    ]
    assert found == [
        ("float32", "brief", 28224, 12),
        ("bfloat16", "full", 28224, 77),
        ("float32", "full", 28224, 5),
    ]


def test_the_first_records_only(desk, capsys):
    assert main(evaluate("--limit", "2")) == 0
    assert "the first 2 of 9 records (--limit)" in capsys.readouterr().out
    folder = desk / "runs" / "evaluate" / "model-pairs-first2"
    found = json.loads((folder / "evaluation.json").read_text())
    assert found["overall"]["pairs"] == 2
    assert any("the first 2 of 9 records" in note for note in found["notes"])
    assert main(evaluate("--limit", "0")) == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--benchmark", "nothing.jsonl"], "nothing.jsonl"),
        (["--response-format", "maybe"], "response format 'maybe'"),
        (["--prompt-from", "nothing.txt"], "nothing.txt"),
        (["eval.stop=soon"], "eval.stop=soon: expected one of"),
        (["--model", "nowhere"], "nowhere"),
        (["eval.temperature=-1.0"], "eval.temperature"),
        (["eval.stop=exact", "eval.samples=0"], "no votes to stop"),
    ],
)
def test_mistakes(desk, capsys, more, said):
    assert main([*evaluate("--workdir", "mistake"), *more]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
