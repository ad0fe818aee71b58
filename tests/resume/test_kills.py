"""A run that is killed at any moment ends, after the same command again, like one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import orbax.checkpoint as ocp
import pytest

from r1reward_jax.train.checkpoint import digest
from tests.speed import FAST

ROOT = Path(__file__).parent.parent.parent
SMALL = [
    *("quickstart", "workdir=run", "wandb="),
    *("sft.steps=12", "tiny_judge.steps=6", "rl.iterations=4", "rl.rollout_batch=32"),
    *("rl.train_batch=16", "rollout.slots=32", "rollout.prefill_batch=16", "judge.batch=16"),
    *("world.sft_records=120", "world.rl_records=120", "world.heldout_records=8"),
    *("tiny.hidden_size=64", "tiny.layers=2", "tiny.mlp=128", "eval.samples=1", "eval.records=4"),
    *("rollout.compact=1", "rollout.unroll=False", "buckets.tokens=(64,)"),
    *("checkpoint.updates=3", "checkpoint.iterations=1"),
]
SECONDS = {  # how long a place lasts, roughly; and how often the run comes there
    "claim": (0.01, 1),
    "making": (0.3, 1),
    "base_models": (0.3, 2),
    "supervised": (0.05, 18),
    "rollout": (0.4, 9),
    "judge": (0.05, 4),
    "update": (0.3, 4),
    "save": (0.15, 10),
    "export": (0.1, 2),
    "report": (0.0, 1),
}


def start(folder: Path, place: str = "never", count: int = 0, delay: float = 0.0):
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "tests.resume.worker", place, str(count), str(delay), *SMALL]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": FAST}
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def finished(folder: Path):
    done = start(folder)
    assert done.returncode == 0, done.stderr
    assert "damaged" not in done.stdout
    return done


def killed(folder: Path, place: str, count: int, delay: float) -> bool:
    """Whether the run was killed; it may have ended first."""
    done = start(folder, place, count, delay)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    assert "damaged" not in done.stdout
    return done.returncode != 0


def readable(folder: Path) -> int:
    """Checkpoints under their number, all of which can be read and hold what was saved."""
    count = 0
    for phase in (folder / "run" / "checkpoints").glob("*"):
        with ocp.CheckpointManager(phase) as manager:
            for step in manager.all_steps():
                items = {"state": ocp.args.StandardRestore(), "digest": ocp.args.JsonRestore()}
                found = manager.restore(step, args=ocp.args.Composite(**items))
                numbers = digest(found["state"]).values()  # under other names, for want of types
                assert sorted(numbers) == sorted(found["digest"].values()), (phase, step)
                count += 1
    return count


def kept(folder: Path) -> dict:
    """Everything that a run leaves behind, without times and memory."""
    run = folder / "run"
    files = [*run.glob("rollouts/*"), *run.glob("data/*.jsonl"), *run.glob("*/*.safetensors")]
    files += [run / "judgements.jsonl", run / "config.json"]
    found = {str(f.relative_to(run)): f.read_bytes() for f in files}
    for path in run.glob("checkpoints/*/*/digest/metadata"):
        found[str(path.relative_to(run))] = path.read_text()
    rows = [json.loads(x) for x in (run / "metrics.jsonl").read_text().splitlines()]
    timed = lambda name: name == "at" or name.startswith(("time/", "memory/"))  # noqa: E731
    found["metrics"] = [{k: v for k, v in row.items() if not timed(k)} for row in rows]
    found["summary"] = json.loads((run / "summary.json").read_text()) | {"seconds": 0}
    return found


def same(ours: dict, theirs: dict) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name] == theirs[name], name


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    finished(folder)
    found = kept(folder)
    assert len(found["metrics"]) == 12 + 6 + 5 and "exported/model.safetensors" in found
    assert {f"checkpoints/rl/{step}/digest/metadata" for step in (6, 8)} <= found.keys()
    return found


def test_killed_in_a_save_and_in_a_rollout(uninterrupted, tmp_path):
    assert killed(tmp_path, "save", 6, 0.01)
    assert readable(tmp_path) > 0
    assert killed(tmp_path, "rollout", 5, 0.2)
    assert readable(tmp_path) > 0
    finished(tmp_path)
    same(kept(tmp_path), uninterrupted)
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert len(run["resumed"]) == 2 and run["data_hash"]


@pytest.mark.slow
def test_twenty_random_kills(uninterrupted, tmp_path):
    rng, kills, checked, chain = random.Random(0), 0, 0, 0
    places = [place for place in SECONDS for _ in range(3)]
    rng.shuffle(places)
    while kills < 20:
        folder, chain = tmp_path / str(chain), chain + 1
        for struck in range(4):
            place = places.pop() if places else rng.choice(list(SECONDS))
            lasts, times = SECONDS[place]
            # a resumed run comes to fewer places
            count, delay = rng.randint(1, max(1, times // (struck + 1))), rng.uniform(0, lasts)
            hit = killed(folder, place, count, delay)
            kills, checked = kills + hit, checked + readable(folder)
            end = "killed" if hit else "ended first"
            print(f"run {chain}: {place}, time {count}, {delay:.3f} s later: {end}")
            if not hit:
                break
        finished(folder)
        same(kept(folder), uninterrupted)
    print(f"{kills} kills in {chain} runs; {checked} checkpoints read back; all ends are the same")
