"""`--dry-run`: everything is checked and counted, nothing is claimed or loaded."""

import pytest

from r1reward_jax.annotate.simulated import SimulatedTeacher
from r1reward_jax.annotate.teacher import annotate
from r1reward_jax.cli.main import main
from r1reward_jax.data.preferences import write_annotations, write_records
from tests.cli.test_main import SMALL
from tests.train.test_step import one_device


@pytest.fixture
def desk(world, checkpoint, tmp_path, monkeypatch):
    folder, records = world
    teacher = SimulatedTeacher(0, (0.1, 0.5, 0.5), 0.1)
    annotated = annotate(teacher, records["sft"][:6], max_attempts=3)
    write_annotations(f"{tmp_path}/sft.jsonl", annotated)
    write_records(f"{tmp_path}/rl.jsonl", records["rl"][:10])
    (tmp_path / "model").symlink_to(checkpoint)
    monkeypatch.chdir(tmp_path)
    one_device(monkeypatch)
    return tmp_path


@pytest.mark.parametrize("verb", ["sft", "rl", "scalar-rm", "evaluate", "quickstart"])
def test_dry_runs(verb, desk, capsys, monkeypatch):
    from r1reward_jax import build

    monkeypatch.setattr(build, "load_policy", lambda *_: pytest.fail("weights are loaded"))
    data = {"sft": ["data.train=sft.jsonl"], "evaluate": ["--benchmark", "rl.jsonl"]}
    data |= {"rl": ["data.train=rl.jsonl"], "scalar-rm": ["data.train=rl.jsonl"], "quickstart": []}
    before = sorted(p.name for p in desk.iterdir())
    more = ["model.path=model"] if verb != "quickstart" else []
    assert main([verb, *SMALL, *more, *data[verb], "--dry-run", "--workdir", "run"]) == 0
    out = capsys.readouterr().out
    assert "no folder was claimed" in out and "parameters: " in out and "mesh {'data': 1" in out
    assert sorted(p.name for p in desk.iterdir()) == before
    count = {"sft": "6 records", "quickstart": "made on the spot"}.get(verb, "10 records")
    assert count in out
    assert "no mistake found; not looked at: " in out and "what the workdir holds" in out
    assert ("tokens of a completion: " in out) == (verb in ("sft", "scalar-rm"))
    assert ("images decoded" in out) == (verb != "quickstart")
    assert ("records are too long for a batch" in out) == (verb == "scalar-rm")
    assert ("AdamW" in out) == (verb != "evaluate")
    assert ("KV caches" in out) == (verb in ("rl", "evaluate", "quickstart"))
