"""The table of metrics, how several values become one, and a metric that is not in the table."""

import json
import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1reward_jax import console
from r1reward_jax.runs.metrics import (
    METRICS,
    OLD_NAMES,
    Metric,
    MetricsLog,
    current_name,
    meaning,
    reduce_metric,
)

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
