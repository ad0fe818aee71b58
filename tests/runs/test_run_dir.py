"""A run directory belongs to one configuration and one process."""

import json
import time

import pytest

from r1reward_jax import config as configs
from r1reward_jax.runs import stages
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.runs.run_dir import claim_data, note_opening, run_folder
from r1reward_jax.runs.stages import Stage, Stages
from r1reward_jax.types import InputError


def claim(folder, config, verb="sft", data_hash="a", results=True):
    config.workdir = str(folder)
    with run_folder(str(folder), config.to_dict(), verb=verb):
        claim_data(str(folder), data_hash)
        if results:
            MetricsLog(f"{folder}/metrics.jsonl").write("sft", 1, {"loss/total": 1.0})


def test_another_run_in_the_same_directory_is_refused(tmp_path, capsys):
    config = configs.load("quickstart")
    claim(tmp_path, config)
    claim(tmp_path, config)  # the same run resumes
    assert "resuming the run of" in capsys.readouterr().out
    with pytest.raises(InputError, match="data_hash: a -> b"):
        claim(tmp_path, config, data_hash="b")
    with pytest.raises(InputError, match="verb: sft -> rl"):
        claim(tmp_path, config, verb="train")
    configs.override(config, ["sft.lr=0.5"])
    with pytest.raises(InputError, match="sft.lr: 0.002 -> 0.5"):
        claim(tmp_path, config)
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["data_hash"] == "a" and run["config"]["sft"]["lr"] == 0.002
    assert len(run["resumed"]) == 2 and run["resumed"][0]["versions"]


def test_a_run_that_came_to_nothing_may_begin_anew(tmp_path, capsys):
    config = configs.load("quickstart")
    claim(tmp_path, config, results=False)
    (tmp_path / "skipped_sft.jsonl").write_text("of another config")
    (tmp_path / "run.json.part").write_text("{")
    configs.override(config, ["rl.lr=0.5"])
    claim(tmp_path, config, data_hash="b", results=False)
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["config"]["rl"]["lr"] == 0.5 and run["data_hash"] == "b" and run["resumed"] == []
    assert not (tmp_path / "skipped_sft.jsonl").exists()
    assert "resuming" not in capsys.readouterr().out


def test_what_a_kill_left_of_the_first_writes_is_no_obstacle(tmp_path):
    (tmp_path / "run.json.part").write_text("{")
    claim(tmp_path, configs.load("quickstart"))
    assert json.loads((tmp_path / "run.json").read_text())["data_hash"] == "a"


def test_a_folder_may_move_and_be_spelled_otherwise(tmp_path, monkeypatch):
    config = configs.load("quickstart")
    config.judge.path = f"{tmp_path}/here/judge"
    claim(tmp_path / "here", config, verb="rl")
    (tmp_path / "here").rename(tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    for spelled in (tmp_path / "there", "there", "there/", f"{tmp_path}/there/"):
        config.judge.path = f"{str(spelled).rstrip('/')}/judge"
        claim(spelled, config, verb="rl")
    config.judge.path = "elsewhere/judge"
    with pytest.raises(InputError, match="judge.path: ./judge -> elsewhere/judge"):
        claim("there", config, verb="rl")


def test_a_long_list_of_differences_is_cut_and_counted(tmp_path):
    config = configs.load("quickstart")
    claim(tmp_path, config, verb="quickstart")
    configs.override(config, [f"tiny.{n}=8" for n in ("heads", "kv_heads", "layers", "mlp")])
    configs.override(config, [f"sft.{n}=8" for n in ("steps", "batch")])
    configs.override(config, ["rl.iterations=8", "rl.lr=8", "rl.sigmas=8", "seed=8"])
    with pytest.raises(InputError, match="; and 2 more"):
        claim(tmp_path, config, verb="quickstart")


def test_a_changed_commit_is_said(tmp_path, capsys):
    config = configs.load("quickstart")
    claim(tmp_path, config)
    run = json.loads((tmp_path / "run.json").read_text()) | {"commit": "older"}
    (tmp_path / "run.json").write_text(json.dumps(run))
    claim(tmp_path, config)
    assert "commit: older -> " in capsys.readouterr().out


def test_a_folder_is_held_by_one_run_at_a_time(tmp_path):
    config = configs.load("quickstart")
    refused = pytest.raises(InputError, match="in use by another process")
    with run_folder(str(tmp_path), config.to_dict(), verb="sft"), refused:
        claim(tmp_path, config)
    claim(tmp_path, config)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", "mine", r"other files \(notes.txt\)"),
        ("run.json", "{", "not written by a run"),
        ("run.json", '{"other": 1}', "not written by a run"),
    ],
)
def test_folders_of_others_are_left_alone(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        claim(tmp_path, configs.load("quickstart"))
    assert [p.name for p in tmp_path.iterdir() if p.name != ".lock"] == [name]
    assert (tmp_path / name).read_text() == content


def test_finished_stages_are_not_repeated(tmp_path):
    def fail():
        raise AssertionError

    first = Stages(str(tmp_path))
    assert first.once("a", lambda: time.sleep(0.05) or {"x": 1}) == {"x": 1}
    again = Stages(str(tmp_path))
    assert again.once("a", fail) == {"x": 1} and again.seconds == first.seconds >= 0.05
    assert again.once("b", lambda: {"y": 2}) == {"y": 2}
    assert Stages(str(tmp_path)).found() == {"x": 1, "y": 2}
    assert Stages(str(tmp_path)).seconds > first.seconds
    (tmp_path / "stages.json").write_text("{")
    with pytest.raises(InputError, match="delete it"):
        Stages(str(tmp_path))


def test_a_runs_config_can_be_used_again(tmp_path, capsys):
    config = configs.load("quickstart")
    configs.override(config, ["rl.lr=0.5", "buckets.tokens=(64, 96)"])
    claim(tmp_path, config)
    assert configs.load(str(tmp_path / "config.json")).to_dict() == config.to_dict()
    old = config.to_dict()
    del old["rl"]["sigmas"]
    (tmp_path / "config.json").write_text(json.dumps(old))
    assert configs.load(str(tmp_path / "config.json")).rl.sigmas == config.rl.sigmas
    assert "lacks rl.sigmas" in capsys.readouterr().err
    (tmp_path / "config.json").write_text("[1")
    with pytest.raises(InputError, match="not a config"):
        configs.load(str(tmp_path / "config.json"))


def test_a_resumed_phase_forgets_what_it_writes_again(tmp_path):
    log = MetricsLog(str(tmp_path / "metrics.jsonl"))
    for phase, step in [("sft", 1), ("sft", 2), ("rl", 1), ("rl", 2)]:
        log.write(phase, step, {"loss/total": 1.0})
    with open(log.path, "a") as file:
        file.write('{"phase": "rl", "st')  # killed while writing
    log.begin("rl", 1)
    rows = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(r["phase"], r["step"]) for r in rows] == [("sft", 1), ("sft", 2), ("rl", 1)]


def test_a_point_before_the_first_update_is_no_result(tmp_path):
    """Another learning rate may begin anew; the point, measured with whatever came before, goes."""
    config = {"seed": 0, "workdir": str(tmp_path / "run"), "wandb": "", "lr": 1.0}
    path = tmp_path / "run" / "metrics.jsonl"
    with run_folder(config["workdir"], config, verb="rl"):
        MetricsLog(str(path)).write("rl", 0, {"eval/accuracy": 0.5})
    with run_folder(config["workdir"], config | {"lr": 2.0}, verb="rl"):
        assert not path.exists()
        with MetricsLog(str(path)) as log:
            for step in (0, 1):
                log.write("rl", step, {"eval/accuracy": 0.5})
    with (
        pytest.raises(InputError, match="holds another run"),
        run_folder(config["workdir"], config | {"lr": 3.0}, verb="rl"),
    ):
        pass
    note_opening(config["workdir"], "rl", {"records": "8"})
    assert json.loads((tmp_path / "run" / "run.json").read_text())["opening"] == {
        "rl": {"records": "8"}
    }


def test_a_stage_that_is_repeated_measures_its_start_anew(tmp_path):
    stage = Stage("rl", ("rl.*",), phases=("rl",), keeps=True)
    with MetricsLog(str(tmp_path / "metrics.jsonl")) as log:
        log.write("cold_start", 0, {"eval/accuracy": 0.5})
        log.write("rl", 0, {"eval/accuracy": 0.5})
        assert not stages.has_updates(tmp_path, stage)
        assert stages.set_aside(tmp_path, [stage]) == []
        assert log.has("cold_start", 0) and not log.has("rl", 0)
        log.write("rl", 1, {"reward/total": 0.5})
        assert stages.has_updates(tmp_path, stage)
