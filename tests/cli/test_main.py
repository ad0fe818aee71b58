"""The verbs on a tiny model and a small world, and what they say to mistakes."""

import pytest

from r1reward_jax import config as configs
from r1reward_jax.annotate.simulated import SimulatedTeacher
from r1reward_jax.annotate.teacher import annotate
from r1reward_jax.cli.main import main
from r1reward_jax.data.preferences import write_annotations, write_records
from r1reward_jax.runs.run_dir import run_folder
from r1reward_jax.train import supervised
from tests.train.test_step import one_device

SMALL = [
    "--config",
    "quickstart",
    "buckets.tokens=(128,)",
    "sft.steps=3",
    "sft.batch=8",
    "sft.max_completion_tokens=96",
    "rl.iterations=2",
    "rl.rollout_batch=16",
    "rl.train_batch=8",
    "rollout.slots=16",
    "rollout.max_new_tokens=8",
    "judge.batch=16",
    "judge.max_tokens=128",
    "eval.samples=2",
]


@pytest.fixture(scope="module")
def files(world):
    folder, splits = world
    teacher = SimulatedTeacher(0, (0.1, 0.5, 0.5), 0.1)
    # without those that the teacher got wrong, of which a run would warn
    annotated = [a for a in annotate(teacher, splits["sft"], max_attempts=3) if a.matched]
    write_annotations(f"{folder}/sft.jsonl", annotated)
    write_records(f"{folder}/rl.jsonl", splits["rl"])
    write_records(f"{folder}/heldout.jsonl", splits["heldout"][:8])
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sft", "workdir=x"], "model.path="),
        (["sft", "--config", "nothing"], "known:"),
        (["sft", "--config", "nothing.json"], "not found"),
        (["sft", "rl.lrr=1"], "did you mean 'rl.lr'"),
        (["sft", "sft.steps=many"], "expected int"),
        (["sft", "sft.steps"], "section.field=value"),
        (["sft", "--config", "a.b"], "known:"),
        (["sft", "sft.batch=0"], "sft.batch=0: expected at least 1"),
        (["rl", "rl.temperature=-1.0", "mesh.data=0"], "mesh.data=0"),
        (["rl", "rl.temperature=-1.0"], "rl.temperature=-1.0: expected at least 0.001"),
        (["sft", "template=foo", "model.compute_dtype=int8"], "full, brief"),
        (["quickstart", "world.skills=()"], "world.skills is empty"),
        (["quickstart", "workdir="], "workdir="),
        (["sft", "seed=1", "--config", "nothing", "sft.steps=2"], "known:"),
        (["rl", "workdir=w", "model.path=m", "data.train=nothing.jsonl"], "not found"),
        (["sft", "--config", "ablations"], "known: ablations.no_consistency"),
        (["sft", "sft.lr=1e999"], "finite"),
        (["convert", "nowhere", "out", "--like", "x"], "not found"),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("r1reward ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe{}", "UTF-8"),
        (b"", "no rows"),
        (b'{"message": 3}', "bad.jsonl:1"),
        (None, "bad.jsonl"),
    ],
)
def test_bad_data_files(content, message, checkpoint, tmp_path, capsys):
    path = tmp_path / "bad.jsonl"
    path.mkdir() if content is None else path.write_bytes(content)
    arguments = [*SMALL, f"workdir={tmp_path}/run", f"model.path={checkpoint}"]
    assert main(["sft", *arguments, f"data.train={path}"]) == 2
    error = capsys.readouterr().err
    assert message in error.splitlines()[0]  # further lines list the layouts that are read


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def get_config(:", "get_config"),
        ("x = 1", "get_config"),
        ("import nothing_here", "nothing"),
    ],
)
def test_bad_config_files(content, message, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(content)
    assert main(["sft", "--config", str(tmp_path / "mine.py")]) == 2
    assert message in capsys.readouterr().err


def test_bad_model_folders(files, tmp_path, capsys):
    for text, message in [("{", "config.json"), ('{"model_type": "qwen2_5_vl"}', "vision_config")]:
        (tmp_path / "config.json").write_text(text)
        arguments = ["sft", f"workdir={tmp_path}", f"model.path={tmp_path}"]
        assert main([*arguments, f"data.train={files}/sft.jsonl"]) == 2
        assert message in capsys.readouterr().err


def test_a_refused_quickstart_leaves_the_old_run_alone(tmp_path, capsys):
    config = configs.load("quickstart")
    config.workdir = str(tmp_path)
    config.judge.path = f"{tmp_path}/judge"
    with run_folder(str(tmp_path), config.to_dict(), verb="sft"):
        (tmp_path / "stages.json").write_text("{}")
    assert main(["quickstart", "--workdir", str(tmp_path), "--seed", "1"]) == 2
    assert "holds another run (verb: sft -> quickstart)" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".lock",
        "config.json",
        "run.json",
        "stages.json",
    ]


def test_other_model_types_are_refused(files, tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    arguments = ["sft", f"workdir={tmp_path}", f"model.path={tmp_path}"]
    assert main([*arguments, f"data.train={files}/sft.jsonl"]) == 2
    assert "llama" in capsys.readouterr().err


def test_an_interrupted_run_says_how_to_go_on(files, checkpoint, tmp_path, monkeypatch, capsys):
    """That it does is shown by tests/resume."""
    one_device(monkeypatch)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(supervised, "cold_start", interrupt)
    call = ["sft", *SMALL, f"workdir={tmp_path}/run", f"model.path={checkpoint}"]
    assert main([*call, f"data.train={files}/sft.jsonl"]) == 130
    assert capsys.readouterr().err == (
        "r1reward sft: interrupted; the same command resumes from the last checkpoint\n"
    )
    assert (tmp_path / "run" / "report.html").exists()
