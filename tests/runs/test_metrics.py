"""The table of metrics, how several values become one, and a metric that is not in the table."""

import json
import math
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1reward_jax import console
from r1reward_jax.runs import profiling
from r1reward_jax.runs import table as table_module
from r1reward_jax.runs.metrics import (
    METRICS,
    OLD_NAMES,
    Metric,
    MetricsLog,
    current_name,
    meaning,
    reduce_metric,
)
from r1reward_jax.runs.table import RunningTable
from r1reward_jax.train.start_point import measure_start

NAN = float("nan")


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
@pytest.mark.parametrize(
    ("name", "values", "weights", "expected"),
    [
        ("loss/entropy", [1.0, 3.0], None, 2.0),
        ("loss/entropy", [1.0, 3.0], [3.0, 1.0], 1.5),
        ("loss/entropy", [1.0, 3.0], [0.0, 0.0], 0.0),
        ("loss/log_ratio_max", [1.0, 3.0, -5.0], [9.0, 0.0, 0.0], 3.0),
        ("loss/log_ratio_min", [1.0, 3.0, -5.0], None, -5.0),
        ("judge/calls_count", [4.0, 3.0], None, 7.0),
        ("eval/accuracy", [0.5, 0.75], None, 0.75),
        ("loss/of_my_own_max", [1.0, 3.0], None, 2.0),  # the table decides, not the name
        ("loss/log_ratio_max", [1.0, NAN, 2.0], None, NAN),
        ("loss/log_ratio_min", [NAN, 1.0, 2.0], None, NAN),
        ("loss/entropy", [1.0, NAN], None, NAN),
    ],
)
def test_several_values_become_one(kind, name, values, weights, expected):
    values = kind(np.float32(values))
    weights = weights if weights is None else kind(np.float32(weights))
    eager = float(reduce_metric(name, values, weights))
    jitted = float(jax.jit(lambda v, w: reduce_metric(name, v, w))(values, weights))
    assert eager == jitted == expected or all(map(math.isnan, (eager, jitted, expected)))


def test_names_say_what_they_are():
    endings = {"_frac": "frac", "_count": "count", "_s": ("s", "tokens/s")}
    for name, metric in METRICS.items():
        assert isinstance(metric, Metric) and metric.meaning and metric.unit
        assert not name.endswith(("_share", "_rate", "_ratio"))
        for ending, unit in endings.items():
            assert not name.endswith(ending) or metric.unit in unit
        for extreme in ("max", "min"):
            assert name.endswith(f"_{extreme}") == (metric.reduction == extreme)
    assert all(old not in METRICS and new in METRICS for old, new in OLD_NAMES.items())
    assert current_name("rollout/tokens") == "rollout/tokens_mean"
    assert current_name("loss/total") == "loss/total" and current_name("mine") == "mine"
    assert meaning("mine") == "" and "minimised" in meaning("loss/total")


def test_a_metric_that_is_not_in_the_table_is_logged_with_one_warning(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(console, "_level", console.QUIET)  # which hides no warning
    log = MetricsLog(str(tmp_path / "metrics.jsonl"))
    for step in (1, 2):
        log.write("rl", step, {"loss/my_metric": 0.5 * step, "loss/total": 1.0})
    said = capsys.readouterr().err
    assert said.startswith("warning: metric loss/my_metric is not in the table")
    assert (
        said.count("add a line to METRICS in runs/metrics.py") == said.count("loss/my_metric") == 1
    )
    rows = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [row["loss/my_metric"] for row in rows] == [0.5, 1.0]


def test_the_table_is_read_without_jax():
    code = "import sys, r1reward_jax.runs.metrics; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_table_leaves_blank_what_was_not_measured(capsys):
    table, columns = RunningTable(lambda: 0.0), ("loss/total", "eval/accuracy", "time/step_s")
    table.row("sft", 0, 4, {"eval/accuracy": 0.5}, columns)
    table.row("sft", 1, 4, {"loss/total": 3.0, "time/step_s": 1.0}, columns)
    table.row("sft", 4, 4, dict.fromkeys(columns, 0.25), columns)
    head, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert head == ["phase", "step", "loss", "held-out", "acc", "step_s", "left"]
    assert rows[0] == ["sft", "0/4", "0.5000"]  # nothing is known of the time that is left
    assert rows[1] == ["sft", "1/4", "3.0000", "1.0000"]
    assert rows[2] == ["sft", "4/4", "0.2500", "0.2500", "0.2500", "0:00"]


def test_the_time_left_is_that_of_steady_steps(monkeypatch, capsys):
    """The held-out records before took 50 seconds and the first step 100, of which something
    compiled; of the next 30 seconds, two steps, compilation took 10."""
    now, compiled = [0.0], [0.0]
    monkeypatch.setattr(table_module.time, "perf_counter", lambda: now[0])
    table, left = RunningTable(lambda: compiled[0]), []

    def row(step, at, compiling):
        now[0], compiled[0] = at, compiling
        table.row("rl", step, 9, {"reward/total": 1.0} if step else {}, ("reward/total",))
        left.append(capsys.readouterr().out.split()[-1])

    for step, at, compiling in ((0, 50.0, 40.0), (1, 150.0, 130.0), (3, 180.0, 140.0)):
        row(step, at, compiling)
    assert left == ["0/9", "1.0000", "1:00"]
    table.begin(4)  # resumed
    for step, at in ((5, 200.0), (7, 210.0), (9, 220.0)):
        row(step, at, 140.0)
    assert left[3:] == ["1.0000", "0:10", "0:00"]


def test_compilation_counts_once(monkeypatch):
    """A trace within a trace, and threads that overlap."""
    now, found = [0.0], profiling._Compilation()
    monkeypatch.setattr(profiling.time, "perf_counter", lambda: now[0])
    for end, seconds in ((2.0, 1.0), (4.0, 1.0), (5.0, 4.5), (5.5, 1.0), (9.0, 1.0)):
        now[0] = end
        found.add("/jax/core/compile/backend_compile_duration", seconds)
    found.add("/jax/checkpoint/write/duration", 100.0)
    assert found.seconds == 5.0 + 1.0


def test_what_is_compiled_is_noticed():
    before = profiling.compile_seconds()
    jax.jit(lambda x: x * 2.5 + 1)(jnp.ones(3)).block_until_ready()
    after = profiling.compile_seconds()
    assert after > before


def test_memory_says_what_the_devices_tell(monkeypatch):
    def device(**stats):
        return SimpleNamespace(memory_stats=lambda: stats or None)

    devices = [device(bytes_in_use=2**30, peak_bytes_in_use=3 * 2**30)]
    devices += [device(bytes_in_use=2**31, peak_bytes_in_use=2**31)]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    found = profiling.memory()
    assert (found["memory/device_gib"], found["memory/device_peak_gib"]) == (2.0, 3.0)
    monkeypatch.setattr(jax, "local_devices", lambda: [device()])  # a CPU
    assert profiling.memory().keys() <= {"memory/host_gib"}


def test_the_first_point_is_measured_once(tmp_path):
    """Also by a start behind one that was killed before its first checkpoint."""
    measured = []

    def evaluate(params):
        measured.append(params)
        return {"eval/accuracy": 0.5}

    for start in range(2):
        with MetricsLog(str(tmp_path / "metrics.jsonl")) as log:
            log.begin("rl", 0)
            settings = {"log": log, "phase": "rl", "steps": 2, "columns": ("eval/accuracy",)}
            measure_start(evaluate, start, **settings)
            log.write("rl", 1, {"reward/total": 1.0})
    assert measured == [0]
    rows = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1] and rows[0]["eval/accuracy"] == 0.5
