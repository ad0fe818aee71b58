"""What goes wrong at users' desks: each ends in one line that says what, where and what to do, and
exit code 2, or is counted and skipped."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from r1reward_jax import build
from r1reward_jax.annotate.simulated import SimulatedTeacher
from r1reward_jax.annotate.teacher import annotate
from r1reward_jax.cli.main import main
from r1reward_jax.data.preferences import write_annotations, write_records
from tests.cli.test_main import SMALL
from tests.speed import FAST
from tests.train.test_step import one_device

ROOT = Path(__file__).parent.parent


@pytest.fixture
def desk(world, checkpoint, tmp_path, monkeypatch):
    """A folder with a model and data of its own, which a test may damage."""
    one_device(monkeypatch)
    folder, splits = world
    shutil.copytree(f"{folder}/images", tmp_path / "images")
    teacher = SimulatedTeacher(0, (0.1, 0.5, 0.5), 0.1)
    # without those that the teacher got wrong, of which a run would warn
    annotated = [a for a in annotate(teacher, splits["sft"][:24], max_attempts=3) if a.matched][:16]
    # written beside the world's images: the paths in the files are relative
    for name, write, items in [
        ("sft", write_annotations, annotated),
        ("rl", write_records, splits["rl"][:16]),
        ("heldout", write_records, splits["heldout"][:4]),
    ]:
        write(f"{folder}/bad_{name}.jsonl", items)
        shutil.move(f"{folder}/bad_{name}.jsonl", tmp_path / f"{name}.jsonl")
    shutil.copytree(checkpoint, tmp_path / "model")
    return tmp_path


def arguments(desk, verb, *more):
    data = {
        "evaluate": f"eval.benchmark={desk}/heldout.jsonl",
        "rl": f"data.train={desk}/rl.jsonl",
    }
    data |= {"scalar-rm": data["rl"], "sft": f"data.train={desk}/sft.jsonl"}
    place = [f"workdir={desk}/run", f"model.path={desk}/model", data[verb]]
    return [verb, *SMALL, *place, "scalar.max_response_tokens=16", "scalar.steps=1", *more]


def refused(capsys, arguments, *messages):
    """The verb ends with code 2 and one line, which has all of the messages."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"r1reward {arguments[0]}: ") and error.count("\n") == 1, error
    for message in messages:
        assert message in error, error


def rows_of(desk, name):
    return [json.loads(line) for line in (desk / f"{name}.jsonl").read_text().splitlines()]


def first_image(desk, name):
    row = rows_of(desk, name)[0]
    return desk / row["image"], row["id"]


# ---------------------------------------------------------------------- images

IMAGES = {
    "missing": (lambda path: path.unlink(), "not found"),
    "empty": (lambda path: path.write_bytes(b""), "not an image"),
    "corrupt": (lambda path: path.write_bytes(b"GIF? no"), "not an image"),
    "header": (lambda path: path.write_bytes(path.read_bytes()[:20]), "expected a readable"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-60]), "truncated"),
}


@pytest.mark.parametrize(
    ("damage", "verb"),
    [
        *(("missing", verb) for verb in ("rl", "scalar-rm")),
        *((damage, "sft") for damage in IMAGES),
    ],
)
def test_images(damage, verb, desk, capsys, monkeypatch):
    # said before there are weights, and so before the first update
    monkeypatch.setattr(build, "load_policy", lambda *_: pytest.fail("weights are loaded"))
    name = "sft" if verb == "sft" else "rl"
    change, message = IMAGES[damage]
    path, record = first_image(desk, name)
    change(path)
    more = [f"{verb[:6]}.batch=16"] if verb in ("sft", "scalar-rm") else ["rl.iterations=1"]
    said = [f"record {record}", str(path), message]
    if damage == "missing":  # the reader lists all of them, before the model is loaded
        said = [f"id {record}", str(path.relative_to(desk)), "1 images or videos are missing"]
    refused(capsys, arguments(desk, verb, *more), *said)


@pytest.mark.parametrize(
    ("damage", "reason"), [("truncated", "truncated"), ("missing", "not found")]
)
def test_a_picture_that_cannot_be_shown_is_left_out_of_an_evaluation(damage, reason, desk, capsys):
    """The header of the truncated one is sound, so it is found while records are judged."""
    path, record = first_image(desk, "heldout")
    IMAGES[damage][0](path)
    assert main(arguments(desk, "evaluate")) == 0
    found = json.loads((desk / "run" / "evaluation.json").read_text())
    (gone,) = found["skipped"]["rows"]
    assert gone["id"] == record and reason in gone["reason"] and found["skipped"]["of"] == 4
    assert found["overall"]["greedy"]["accuracy"]["of"] == 6
    said = capsys.readouterr().err
    assert "1 of 4 records could not be shown" in said or "1 of 4 records cannot be shown" in said


def test_several_unreadable_images_are_named_together(desk, capsys):
    paths = sorted({row["image"] for row in rows_of(desk, "sft")})
    for path in paths[:7]:
        (desk / path).write_bytes(b"")
    refused(capsys, arguments(desk, "sft"), *paths[:5], "and 2 more")


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_images_to_score(damage, desk, capsys):
    path, _ = first_image(desk, "sft")
    IMAGES[damage][0](path)
    texts = ["--question", "Which?", "--a", "one", "--b", "two", "--image", str(path)]
    refused(capsys, ["compare", "--model", f"{desk}/model", *texts], str(path), IMAGES[damage][1])


# ------------------------------------------------------------------------ data


def with_message(row, old, new):
    row["message"] = row["message"].replace(old, new)


DATA = {
    "not json": (lambda row: "{nothing", "bad.jsonl:3", "one row on each line"),
    "not a row": (lambda row: "3", "bad.jsonl:3", "expected an object of named fields"),
    "no message": (lambda row: row.pop("message"), "bad.jsonl:3", "message"),
    "label": (lambda row: row.update(answer=["<answer>3</answer>"]), "bad.jsonl:3", "neither"),
    "two labels": (lambda row: row.update(answer="<answer>1 2</answer>"), "bad.jsonl:3", "neither"),
    "no section": (
        lambda row: with_message(row, "[Response 2]:", ""),
        "bad.jsonl:3",
        "[Response 2]",
    ),
    "image": (lambda row: with_message(row, "images/", "data:x,!"), "bad.jsonl:3", "base64"),
}


@pytest.mark.parametrize("damage", DATA)
def test_lines(damage, desk, capsys):
    change, *messages = DATA[damage]
    rows = rows_of(desk, "rl")
    line = change(rows[2])
    lines = [json.dumps(row) for row in rows]
    if isinstance(line, str) and damage.startswith("not"):
        lines[2] = line
    (desk / "bad.jsonl").write_text("\n".join(lines))
    refused(capsys, [*arguments(desk, "rl"), f"data.train={desk}/bad.jsonl"], *messages)
    assert not (desk / "run").exists()


def test_an_empty_response(desk, capsys):
    rows = rows_of(desk, "rl")
    content = json.loads(rows[2]["message"])
    head, tail = content[0]["content"][0]["text"].split("[Response 2]:\n")
    content[0]["content"][0]["text"] = f"{head}[Response 2]:\n\n{tail.split(chr(10), 1)[1]}"
    rows[2]["message"] = json.dumps(content)
    (desk / "bad.jsonl").write_text("\n".join(map(json.dumps, rows)))
    call = [*arguments(desk, "rl"), f"data.train={desk}/bad.jsonl"]
    refused(capsys, call, "bad.jsonl:3", "response is empty")


# ---------------------------------------------------------------------- config


@pytest.mark.parametrize(
    ("more", "messages"),
    [
        (["sft.stepz=3"], ["'sft.stepz'", "did you mean 'sft.steps'"]),
        (["optimiser.b1=0.5"], ["did you mean 'optimizer.b1'"]),
        (["sft.steps=three"], ["sft.steps=three: expected int"]),
        (["sft.lr=fast"], ["sft.lr=fast: expected float"]),
        (["step.remat=1"], ["step.remat=1: expected bool"]),
        (["buckets.tokens=64"], ["buckets.tokens=64: expected tuple"]),
    ],
)
def test_configs(more, messages, desk, capsys):
    refused(capsys, arguments(desk, "sft", *more), *messages)


@pytest.mark.parametrize(
    ("line", "messages"),
    [
        ("c.sft.stepz = 3", ["mine.py", "'sft.stepz'", "did you mean 'sft.steps'"]),
        ("c.sft.steps = 'three'", ["mine.py", "'steps'", "<class 'int'>"]),
        ("c.model = 3", ["mine.py", "'model'"]),
        ("c.judge.mesh.date = 1", ["mine.py", "did you mean 'judge.mesh.data'"]),
    ],
)
def test_config_files(line, messages, desk, capsys):
    text = "from r1reward_jax.configs import default\n\n\ndef get_config():\n"
    text += f"    c = default.get_config()\n    {line}\n    return c\n"
    (desk / "mine.py").write_text(text)
    call = ["sft", "--config", f"{desk}/mine.py", f"workdir={desk}/run"]
    refused(capsys, call, *messages)


# ----------------------------------------------------------------- checkpoints


def other_type(model):
    config = json.loads((model / "config.json").read_text()) | {"model_type": "llama"}
    (model / "config.json").write_text(json.dumps(config))


def without_a_tensor(model):
    tensors = load_file(model / "model.safetensors")
    tensors.pop("model.layers.1.mlp.up_proj.weight")
    save_file(tensors, model / "model.safetensors", {"format": "pt"})


def other_shape(model):
    tensors = load_file(model / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"][:-1].copy()
    save_file(tensors, model / "model.safetensors", {"format": "pt"})


MODELS = {
    "other type": (other_type, "model_type 'llama' is not supported"),
    "missing tensor": (without_a_tensor, "missing model.layers.1.mlp.up_proj.weight"),
    "other shape": (other_shape, "model.norm.weight is (63,), expected (64,)"),
    "truncated": (lambda m: os.truncate(m / "model.safetensors", 5000), "is it complete?"),
    "empty": (lambda m: os.truncate(m / "model.safetensors", 0), "is it complete?"),
    "no weights": (lambda m: (m / "model.safetensors").unlink(), "no *.safetensors"),
    "no tokenizer": (lambda m: (m / "tokenizer.json").unlink(), "tokenizer.json: not found"),
    "tokenizer": (lambda m: (m / "tokenizer.json").write_text("{"), "tokenizer cannot be read"),
    "images": (lambda m: (m / "preprocessor_config.json").write_text("{"), "not JSON"),
    "no config": (lambda m: (m / "config.json").unlink(), "model: holds no config.json"),
}


@pytest.mark.parametrize("damage", MODELS)
def test_models(damage, desk, capsys):
    change, message = MODELS[damage]
    verb = "sft" if list(MODELS).index(damage) % 2 else "compare"  # they load alike
    change(desk / "model")
    texts = ["--question", "Which?", "--a", "one", "--b", "two"]
    call = ["compare", "--model", f"{desk}/model", *texts]
    refused(capsys, arguments(desk, "sft") if verb == "sft" else call, f"{desk}/model", message)


OUTPUTS = {"hidden states": (3e38, 1.0), "logits": (3e37, 1e3)}
"""Factors of the last norm and of the embedding, which is the head as well: weights stay finite."""


@pytest.mark.parametrize("where", OUTPUTS)
def test_a_model_that_overflows_judges_nothing(where, desk, capsys):
    tensors = load_file(desk / "model" / "model.safetensors")
    norm, head = OUTPUTS[where]
    tensors["model.norm.weight"] = np.full(64, norm, np.float32)
    tensors["model.embed_tokens.weight"] *= np.float32(head)
    save_file(tensors, desk / "model" / "model.safetensors", {"format": "pt"})
    model, texts = ["--model", f"{desk}/model"], ["--question", "Which?", "--a", "x", "--b", "y"]
    short = ["--max-new-tokens", "4"] if where == "logits" else []
    refused(capsys, ["compare", *model, *texts, *short], "the model's outputs are not finite")


# ------------------------------------------------------------------------ disk


def test_places_that_cannot_be_written(desk, capsys):
    (desk / "file").write_text("")
    for place in (f"{desk}/file/run", "/proc/run"):
        refused(capsys, arguments(desk, "sft", f"workdir={place}"), place, "choose another workdir")


FULL = """
mount -t tmpfs -o size=4500k tmpfs "$1"
shift
"$@"
echo "first exit $?"
mount -o remount,size=64m "$DISK"
"$@"
echo "second exit $?"
cp -r "$DISK/run" "$KEPT"
"""


def test_a_full_disk_loses_nothing(desk):
    """On a small disk of its own: the run ends in one line, and goes on from its checkpoint once
    there is room."""
    apart = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("no disk of its own can be had here")
    (desk / "disk").mkdir()
    call = arguments(desk, "sft", "sft.steps=6", "checkpoint.updates=2", "checkpoint.keep=3")
    command = [*apart, "bash", "-c", FULL, "bash", f"{desk}/disk", sys.executable, "-m"]
    command += ["r1reward_jax.cli.main", *call, f"workdir={desk}/disk/run"]
    more = {"DISK": f"{desk}/disk", "KEPT": f"{desk}/kept", "PYTHONPATH": str(ROOT)}
    environment = os.environ | more | {"XLA_FLAGS": FAST}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    first, second = done.stdout.split("first exit ")
    problems = [line for line in done.stderr.splitlines() if line.startswith("r1reward")]
    assert len(problems) == 1 and "No space left on device; make room" in problems[0], done.stderr
    assert "resumes from the last checkpoint" in problems[0] and "Traceback" not in done.stderr
    assert second.startswith("2") and "second exit 0" in second
    assert " 1/6 " in first and " 1/6 " not in second and " 6/6 " in second  # from a checkpoint
    rows = (desk / "kept" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert (desk / "kept" / "exported" / "model.safetensors").stat().st_size > 1000


# --------------------------------------------------------------------- lengths


def longer(desk, name, place, text):
    rows = rows_of(desk, name)
    with_message(rows[place], "[Response 1]:", f"{text} [Response 1]:")
    rows[place]["question"] += f" {text}"
    (desk / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return rows[place]["id"]


def skipped(desk, phase):
    lines = (desk / "run" / f"skipped_{phase}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("verb", ["rl"])
def test_long_prompts_are_counted_and_skipped(verb, desk, capsys):
    name = "sft" if verb == "sft" else "rl"
    record = longer(desk, name, 3, "word " * 200)
    assert main(arguments(desk, verb, "sft.steps=1", "rl.iterations=1")) == 0
    assert "1 of 16 records do not fit and are skipped" in capsys.readouterr().err
    (row,) = skipped(desk, verb)
    assert row["place"] == 3 and row["name"] == f"record {record}"
    assert "the largest of buckets.tokens is 128" in row["reason"]


def test_large_images_are_skipped_not_cut(desk, capsys):
    path, record = first_image(desk, "rl")
    Image.new("RGB", (600, 600)).save(path)
    more = ["rl.iterations=1", "model.max_pixels=1000000"]
    assert main(arguments(desk, "rl", *more)) == 0
    (row,) = skipped(desk, "rl")
    assert row["name"] == f"record {record}" and "tokens, the largest of" in row["reason"]


def test_long_prompts_are_left_out_of_an_evaluation(desk, capsys):
    longer(desk, "heldout", 1, "word " * 200)
    assert main(arguments(desk, "evaluate")) == 0
    whole = json.loads((desk / "run" / "evaluation.json").read_text())
    found = whole["overall"]
    assert found["skipped"]["count"] == 1 and found["pairs"] == 3
    assert found["greedy"]["accuracy"]["of"] == found["votes"]["1"]["accuracy"]["of"] == 6
    (reason,) = whole["skipped"]["reasons"]
    assert "tokens, the largest of buckets.tokens is 128" in reason
    text = (desk / "run" / "judgements.jsonl").read_text()
    rows = [json.loads(x) for x in text.splitlines()]
    assert [row["verdicts"] for row in rows[2:4]] == [[None], [None]] and len(rows) == 8


@pytest.mark.parametrize("verb", ["sft", "rl", "scalar-rm"])
def test_nothing_is_left(verb, desk, capsys):
    message = "no records to train on; the first of 16: "
    refused(capsys, arguments(desk, verb, "buckets.tokens=(8,)"), message, "buckets.tokens is 8")


# ------------------------------------------------------------------------ mesh


@pytest.mark.parametrize(
    ("verb", "more", "messages"),
    [
        ("sft", ["sft.batch=12"], ["sft.batch=12: expected multiples of 8"]),
        ("rl", ["rl.train_batch=4"], ["rl.train_batch=4: expected multiples of 8"]),
        ("scalar-rm", ["scalar.batch=6"], ["scalar.batch=6: expected multiples of 8"]),
        ("sft", ["mesh.fsdp=3"], ["needs 3 devices, there are 8"]),
        (
            "sft",
            ["mesh.fsdp=1", "mesh.tensor=8"],
            ["mesh.tensor=8", "divisor of the model's 4 attention heads"],
        ),
    ],
)
def test_meshes(verb, more, messages, desk, capsys, monkeypatch):
    monkeypatch.undo()  # all eight devices
    refused(capsys, arguments(desk, verb, *more), *messages)


# ----------------------------------------------------------------------- debug


def test_debug_shows_the_traceback(desk):
    with pytest.raises(ValueError, match="did you mean"):
        main(["--debug", *arguments(desk, "sft", "sft.stepz=3")])
