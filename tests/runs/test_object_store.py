"""A run's folder in an object store: objects appear whole, and none can be appended to."""

import builtins
import json
import time

import pytest
from etils import epath
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem

from r1reward_jax import config as configs
from r1reward_jax import places
from r1reward_jax.files import GrowingFile, write_whole
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.runs.run_dir import run_folder
from r1reward_jax.runs.stages import Stages
from r1reward_jax.runs.writers import make_writers


class Bucket(MemoryFileSystem):
    """A store in memory that refuses what real ones refuse."""

    protocol = "gs"
    store: dict = {}
    pseudo_dirs = [""]
    writes = 0
    broken = False

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("gs://"))

    def _open(self, path, mode="rb", **options):
        if "a" in mode or "+" in mode:
            raise NotImplementedError("objects cannot be appended to")
        if "w" in mode:
            if Bucket.broken:
                raise OSError("the network is away")
            Bucket.writes += 1
        return super()._open(path, mode, **options)


@pytest.fixture
def bucket(monkeypatch):
    """The address of an empty bucket; Python's own `open` knows nothing of it."""
    monkeypatch.setitem(places.PACKAGES, "gs", ("fsspec",))
    monkeypatch.setattr(type(backend.fsspec_backend), "fs", lambda *_: Bucket())
    real = builtins.open

    def opened(file, *args, **kwargs):
        assert not str(file).startswith(("gs:", "/gs/")), f"{file} opened as a local file"
        return real(file, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", opened)
    Bucket.store.clear()
    Bucket.writes, Bucket.broken = 0, False
    yield "gs://bucket/run"
    Bucket.store.clear()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_curves_in_an_object_store(bucket, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with MetricsLog(f"{bucket}/metrics.jsonl", make_writers(bucket, "", {}, "now")) as log:
        log.begin("rl", 0)
        for step in (1, 2, 3):
            log.write("rl", step, {"loss/total": step})
    (file,) = epath.Path(f"{bucket}/tensorboard/rl").iterdir()
    (tmp_path / file.name).write_bytes(file.read_bytes())
    shown = EventAccumulator(str(tmp_path)).Reload().Scalars("loss/total")
    assert [(event.step, event.value) for event in shown] == [(1, 1), (2, 2), (3, 3)]


def lines(address):
    return [json.loads(x) for x in epath.Path(address).read_text().splitlines()]


def test_a_runs_files_in_an_object_store(bucket):
    """The first metric ended a run in a bucket once."""
    config = configs.load("quickstart")
    config.workdir = bucket
    with (
        run_folder(bucket, config.to_dict(), verb="rl"),
        MetricsLog(f"{bucket}/metrics.jsonl") as log,
    ):
        log.begin("rl", 0)
        for step in (1, 2, 3):
            log.write("rl", step, {"loss/total": step})
            log.write_timeline("rl", step, [("update", 0.0, 1.0)])
        Stages(bucket).once("a", lambda: {"x": 1})
    assert [row["step"] for row in lines(f"{bucket}/metrics.jsonl")] == [1, 2, 3]
    assert [row["step"] for row in lines(f"{bucket}/timeline.jsonl")] == [1, 2, 3]
    assert Stages(bucket).found() == {"x": 1}
    config.data.threads = 7
    with (
        run_folder(bucket, config.to_dict(), verb="rl"),
        MetricsLog(f"{bucket}/metrics.jsonl") as log,
    ):
        log.begin("rl", 1)
        log.write("rl", 2, {"loss/total": 9.0})
    assert [row["loss/total"] for row in lines(f"{bucket}/metrics.jsonl")] == [1, 9]
    run = json.loads(epath.Path(f"{bucket}/run.json").read_text())
    assert run["resumed"][0]["changed"][0]["knob"] == "data.threads"


def test_a_line_waits_some_seconds_at_most(bucket):
    file = GrowingFile(f"{bucket}/lines", every_s=0.3)
    for text in "abcd":
        file.append(f"{text}\n")
    assert Bucket.writes == 1 and file.path.read_text() == "a\n"
    time.sleep(1.0)  # no line follows, and nobody closes it
    assert Bucket.writes == 2 and file.path.read_text() == "a\nb\nc\nd\n"
    file.append("e\n")
    file.append("f\n")
    file.close()
    file.close()
    assert file.path.read_text() == "a\nb\nc\nd\ne\nf\n"
    write_whole(file.path, "of another\n")
    file.append("g\n")
    file.close()
    assert file.path.read_text() == "of another\ng\n"


def test_an_error_of_the_thread_is_raised_and_no_line_is_lost(bucket):
    file = GrowingFile(f"{bucket}/lines", every_s=0.2)
    file.append("a\n")
    Bucket.broken = True
    file.append("b\n")
    time.sleep(0.8)
    with pytest.raises(OSError, match="network is away"):
        file.append("c\n")
    Bucket.broken = False
    file.close()
    assert file.path.read_text() == "a\nb\nc\n"
