"""What TensorBoard shows of a run that was interrupted, and what Weights & Biases is told."""

import sys
import types

import pytest

from r1reward_jax import config as configs
from r1reward_jax import console
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.runs.run_dir import run_folder
from r1reward_jax.runs.writers import make_writers
from r1reward_jax.types import InputError


def log_of(folder):
    return MetricsLog(f"{folder}/metrics.jsonl", make_writers(str(folder), "", {}, "now"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_each_step_once(tmp_path):
    from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

    with log_of(tmp_path) as log:
        log.begin("sft", 0)
        log.write("sft", 1, {"loss/total": 7.0})
        log.begin("rl", 0)
        log.write("rl", 0, {"eval/accuracy": 0.5})
        for step in (1, 2, 3):
            log.write("rl", step, {"reward/total": step / 4, "loss/total": float("nan")})
    with log_of(tmp_path) as log:  # killed behind step 3, saved behind step 1
        log.begin("sft", 1)
        log.begin("rl", 1)
        for step in (2, 3, 4):
            log.write("rl", step, {"reward/total": step / 2})
    runs = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "tensorboard")).Reload()
    shown = lambda run, tag: [(e.step, e.value) for e in runs.Scalars(run, tag)]  # noqa: E731
    assert sorted(runs.Runs()) == ["rl", "sft"]
    assert shown("sft", "loss/total") == [(1, 7.0)]
    assert shown("rl", "eval/accuracy") == [(0, 0.5)]
    assert shown("rl", "reward/total") == [(1, 0.25), (2, 1.0), (3, 1.5), (4, 2.0)]


@pytest.fixture
def wandb(monkeypatch, tmp_path):
    """A stand-in that keeps what it is told."""
    told = []

    class Run:
        def define_metric(self, name, **kinds):
            told.append(("define", name, kinds))

        def log(self, values):
            told.append(("log", values))

        def finish(self):
            told.append(("finish",))

    def init(**arguments):
        told.append(("init", arguments))
        return Run()

    module = types.ModuleType("wandb")
    module.init, module.__spec__ = init, types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return told


def writers(tmp_path, project="mine", began="now"):
    return make_writers(str(tmp_path / "run"), project, {"seed": 1}, began)


def test_weights_and_biases_gets_the_metrics(wandb, tmp_path, capsys):
    with MetricsLog(str(tmp_path / "run" / "metrics.jsonl"), writers(tmp_path)) as log:
        log.begin("rl", 0)
        log.write("rl", 3, {"reward/total": 0.5})
    (_, arguments), *told = wandb
    assert arguments["project"] == "mine" and arguments["config"] == {"seed": 1}
    assert arguments["mode"] == "offline" and "note: wandb: no key" in capsys.readouterr().err
    assert ("log", {"rl/reward/total": 0.5, "rl/step": 3}) in told and told[-1] == ("finish",)
    assert ("define", "rl/*", {"step_metric": "rl/step"}) in told


def test_a_start_continues_its_own_run_only(wandb, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    for began in ("now", "now", "later"):
        writers(tmp_path, began=began)
    first, second, other = (arguments for _, arguments in wandb)
    assert first["id"] == second["id"] != other["id"]
    assert first["resume"] == "allow" and first["mode"] is None


def test_weights_and_biases_can_be_turned_off(wandb, tmp_path, monkeypatch):
    assert len(writers(tmp_path, project="")) == 1
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert len(writers(tmp_path)) == 1 and wandb == []


def test_weights_and_biases_is_only_used_where_it_is_asked_for(wandb, tmp_path):
    """An installed library once sent every run's metrics away."""
    assert configs.load("default").wandb == ""
    assert len(writers(tmp_path, project="")) == 1 and wandb == []


def test_what_is_asked_for_and_not_installed_ends_the_run_before_it_starts(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setitem(sys.modules, "wandb", None)
    config = {"wandb": "mine", "seed": 0, "workdir": str(tmp_path / "run")}
    with pytest.raises(InputError, match="wandb=mine: .* not installed; `pip install wandb`"):
        writers(tmp_path)
    with (
        pytest.raises(InputError, match="not installed"),
        run_folder(config["workdir"], config, verb="rl"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    with run_folder(config["workdir"], config, verb="evaluate"):  # which has no metrics
        pass


def test_a_run_continues_without_a_writer_that_fails(wandb, tmp_path, monkeypatch, capsys):
    """No network, a wrong key, another version, a full disk."""
    monkeypatch.setattr(console, "_level", console.QUIET)  # which hides no warning

    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    with MetricsLog(str(tmp_path / "run" / "metrics.jsonl"), writers(tmp_path)) as log:
        log.begin("rl", 0)
        writer = log.writers[0]._writer._writer
        monkeypatch.setattr(writer, "write_event", refuse)
        monkeypatch.setattr(log.writers[1]._writer._run, "log", refuse, raising=False)
        for step in (1, 2):
            log.write("rl", step, {"reward/total": 0.5})
    writer.close()
    said = capsys.readouterr().err
    for name in ("tensorboard", "wandb"):
        assert said.count(f"warning: {name}: [Errno 28]") == 1
    assert len(log.path.read_text().splitlines()) == 2
    monkeypatch.setattr(sys.modules["wandb"], "init", refuse)
    writers(tmp_path)
    said = capsys.readouterr().err
    assert "warning: wandb: [Errno 28] No space left on device; the run continues" in said
