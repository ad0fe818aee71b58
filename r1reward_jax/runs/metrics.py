"""The table of metrics, and where a run's numbers go: a jsonl line per step, and a running table to
watch. The first of several processes writes.

`metrics.jsonl` has the metrics, `timeline.jsonl` the phases of a step with their beginnings and
ends. The report reads the table without JAX, so JAX is imported where it is used.
"""

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from etils import epath

from r1reward_jax.console import warn
from r1reward_jax.files import GrowingFile, write_whole
from r1reward_jax.runs.table import RunningTable
from r1reward_jax.runs.writers import Writer


class Metric(NamedTuple):
    """What a metric means, its unit, and how several of its values become one."""

    meaning: str
    unit: str = "frac"
    """`frac` is a fraction between 0 and 1; `score` has no unit."""
    reduction: Literal["mean", "max", "min", "sum", "last"] = "mean"


METRICS = {
    "loss/total": Metric("the objective that is minimised", "score"),
    "loss/entropy": Metric("mean entropy of the completion tokens", "nats"),
    "loss/grad_norm": Metric("global gradient norm before the clip", "score"),
    "loss/skipped": Metric("1 if the gradient was not finite and the update was skipped"),
    "loss/sampler_gap_max": Metric(
        "largest |trainer - sampler log-prob| of the first update's tokens, and of all others "
        "where rl.old_logp is trainer",
        *("nats", "max"),
    ),
    "loss/kl_old": Metric("KL (k3) from the policy before the rollout's updates", "nats per token"),
    "loss/kl_reference": Metric(
        "KL (k1 or k3) of that policy from the reference", "nats per token"
    ),
    "loss/clip_frac": Metric("fraction of tokens whose surrogate is clipped"),
    "loss/pre_clip_frac": Metric(
        "fraction of tokens whose log-ratio is outside the Pre-CLIP bounds"
    ),
    "loss/log_ratio_max": Metric("largest log-ratio of a completion token", "nats", "max"),
    "loss/log_ratio_min": Metric("smallest log-ratio of a completion token", "nats", "min"),
    "advantage/filtered_frac": Metric("fraction of tokens whose advantage the filter dropped"),
    "advantage/mean": Metric("mean return of the completion tokens", "score"),
    "advantage/std": Metric("population deviation of the returns", "score"),
    "advantage/abs_max": Metric(
        "largest |standardised advantage| before the filter", "score", "max"
    ),
    "advantage/kept_mean": Metric("mean of the advantages that are trained on", "score"),
    "advantage/kept_std": Metric(
        "population deviation of the advantages that are trained on", "score"
    ),
    "advantage/kept_abs_max": Metric("largest |advantage| that is trained on", "score", "max"),
    "scalar/accuracy": Metric("fraction of pairs whose preferred response has the higher score"),
    "scalar/margin": Metric(
        "mean score of the preferred response minus that of the other", "score"
    ),
    "reward/total": Metric("mean combined reward", "score"),
    "reward/format": Metric("fraction of well-formed completions"),
    "reward/result": Metric("fraction of right verdicts"),
    "reward/consistency": Metric("mean consistency of completions with a right verdict", "score"),
    "reward/swap": Metric("fraction of completions whose verdict follows the swapped responses"),
    "reward/repetition": Metric("mean fraction of repeated word n-grams"),
    "reward/overlong": Metric("mean cost of length, 0 to 1"),
    "rollout/tokens_mean": Metric("mean completion length", "tokens"),
    "rollout/verdict_1_frac": Metric("fraction of completions that say 1"),
    "rollout/unparsable_frac": Metric("fraction of completions without a verdict"),
    "rollout/truncated_frac": Metric("fraction of completions truncated at the length limit"),
    "rollout/self_corrected_frac": Metric(
        "fraction of analyses that revise an earlier statement, by their words"
    ),
    "rollout/padding_frac": Metric(
        "fraction of completion positions behind the end of a completion"
    ),
    "eval/accuracy": Metric(
        "fraction of right greedy verdicts on eval.records held-out records, both orders",
        reduction="last",
    ),
    "eval/accuracy_low": Metric(
        "lower end of the 95 % Wilson interval of eval/accuracy, at its number of independent "
        "records",
        reduction="last",
    ),
    "eval/accuracy_high": Metric("upper end of that interval", reduction="last"),
    "eval/judgements_count": Metric(
        "verdicts that eval/accuracy is a fraction of: two of each record", "count", "last"
    ),
    "eval/strict_accuracy": Metric(
        "fraction of those records that are judged right in both orders", reduction="last"
    ),
    "eval/flip_frac": Metric(
        "fraction of those records in which both orders name the same position", reduction="last"
    ),
    "eval/verdict_1_frac": Metric(
        "fraction of those verdicts that name the first response", reduction="last"
    ),
    "eval/unparsable_frac": Metric(
        "fraction of those completions without a verdict", reduction="last"
    ),
    "judge/agreement_frac": Metric("fraction of the judge's answers that say: supports"),
    "judge/calls_count": Metric("pairs given to the judge", "count", "sum"),
    "judge/no_verdict_count": Metric(
        "pairs to which the judge gave no answer; their consistency is 0", "count", "sum"
    ),
    "judge/constant": Metric("1 if at least 8 pairs were judged, and all of them alike"),
    "judge/no_verdict_unclear_count": Metric(
        "answers in which neither word has enough probability (judge.min_mass), or is written",
        *("count", "sum"),
    ),
    "judge/no_verdict_too_long_count": Metric(
        "pairs that are longer than judge.max_tokens", "count", "sum"
    ),
    "judge/no_verdict_failed_count": Metric(
        "pairs that the judge's server has not answered, or that gave no number", "count", "sum"
    ),
    "judge/retries_count": Metric("further attempts of requests to the judge", "count", "sum"),
    "judge/tokens_count": Metric(
        "tokens that the judge's server has written, as far as it says", "count", "sum"
    ),
    "time/rollout_s": Metric("time of sampling", "s"),
    "time/host_s": Metric(
        "time of prompts, text, parsing and rewards; part of it while the devices sample", "s"
    ),
    "time/judge_s": Metric("time of waiting for the judge behind the sampling", "s"),
    "time/logprobs_s": Metric("time of batches, log-probs and advantages", "s"),
    "time/update_s": Metric("time of updates", "s"),
    "time/step_s": Metric(
        "time of a step, compilation included; of supervised training the mean since the last line",
        "s",
    ),
    "time/compile_s": Metric("time of compilation since the last line", "s", "sum"),
    "time/rollout_tokens_per_s": Metric("completion tokens over the time of sampling", "tokens/s"),
    "time/tokens_per_s": Metric("completion tokens over the time of an iteration", "tokens/s"),
    "time/trained_tokens_per_s": Metric(
        "tokens of prompts and completions, without padding, over the time of the steps",
        "tokens/s",
    ),
    "optimizer/lr": Metric("learning rate of the last update that was applied", "score", "last"),
    "memory/device_gib": Metric(
        "memory in use at the end of a step, of the fullest device here; not on CPU",
        *("GiB", "last"),
    ),
    "memory/device_peak_gib": Metric(
        "most memory in use so far, of the fullest device here; not on CPU", "GiB", "last"
    ),
    "memory/host_gib": Metric(
        "resident memory of the process at the end of a step; Linux only", "GiB", "last"
    ),
}
"""Every metric that a run writes. A new metric wants a line here; one without a line is logged,
averaged where it has several values, and warned of once."""

OLD_NAMES = {
    "rollout/tokens": "rollout/tokens_mean",
    "rollout/verdict_1_share": "rollout/verdict_1_frac",
    "rollout/unparsable": "rollout/unparsable_frac",
    "rollout/truncated": "rollout/truncated_frac",
    "rollout/self_corrected": "rollout/self_corrected_frac",
    "rollout/padding_share": "rollout/padding_frac",
    "eval/flip_rate": "eval/flip_frac",
    "eval/verdict_1_share": "eval/verdict_1_frac",
    "eval/unparsable_share": "eval/unparsable_frac",
    "judge/agreement": "judge/agreement_frac",
    "judge/calls": "judge/calls_count",
    "judge/no_verdict": "judge/no_verdict_count",
}
"""Names in the `metrics.jsonl` of earlier runs, and what they are called now."""


def current_name(name: str) -> str:
    """Return today's name of a metric that an older run may have written under another one."""
    return OLD_NAMES.get(name, name)


def meaning(name: str) -> str:
    """Return what a metric means; empty for one that is not in the table."""
    return METRICS[name].meaning if name in METRICS else ""


def reduce_metric(name: str, values: Any, weights: Any = None) -> Any:
    """Return the one value of a metric that stands for several.

    A NaN among the values is never lost: it shows that something went wrong. (Python's own `max`
    and `min` drop it.)

    Args:
      name: of the metric; one that is not in METRICS is averaged.
      values: an array with one axis, of numpy or of JAX, also under jit.
      weights: of the same shape; only a mean uses them. None: all the same.
    """
    reduction = METRICS[name].reduction if name in METRICS else "mean"
    if reduction == "last":
        return values[-1]
    if reduction != "mean" or weights is None:
        return getattr(values, reduction)()
    # micro-batches may all be without a completion token: 0 then, not 0 / 0
    return (values * weights).sum() / weights.sum().clip(min=1)


class MetricsLog:
    """Append to `metrics.jsonl` and to writers, and print one row per report."""

    def __init__(self, path: str, writers: Sequence[Writer] = ()):
        """
        Args:
          path: of `metrics.jsonl`.
          writers: get every metric, too.
        """
        from r1reward_jax.runs.profiling import compile_seconds

        self.path = epath.Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._metrics = GrowingFile(self.path)
        self._timeline = GrowingFile(self.path.with_name("timeline.jsonl"))
        self.writers = writers if _writes() else ()
        self._unknown: set[str] = set()
        self._table = RunningTable(compile_seconds)

    def begin(self, phase: str, step: int) -> None:
        """Begin a phase, or resume it behind `step`: what was written about later steps is dropped,
        as they are done again."""
        for file in (self._metrics, self._timeline) if _writes() else ():
            file.close()
            _rewind(file.path, phase, step)
        # behind -1: a point before the first update of a start with another config is hidden, too
        behind = step if step or self.has(phase, 0) else -1
        for writer in self.writers:
            writer.begin(phase, behind)
        self._table.begin(step)

    def has(self, phase: str, step: int) -> bool:
        """Say whether an earlier start wrote a line about a step that `begin` has kept; the same in
        all processes."""
        import jax

        lines = _lines(self.path) if _writes() else []
        found = any((p, s) == (phase, step) for _, p, s in lines)
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            found = bool(multihost_utils.broadcast_one_to_all(np.asarray(found)))
        return found

    def write(self, phase: str, step: int, values: Mapping[str, Any]) -> None:
        """Write one line. A name that is not in METRICS is written as well, with one warning."""
        numbers = {name: float(value) for name, value in values.items()}
        for name in numbers.keys() - METRICS.keys() - self._unknown:
            self._unknown.add(name)
            if _writes():
                warn(f"metric {name} is not in the table: add a line to METRICS in runs/metrics.py")
        # json has no word for what is not finite
        row = {name: x if math.isfinite(x) else str(x) for name, x in numbers.items()}
        _append(self._metrics, phase, step, row)
        for writer in self.writers:
            writer.write(phase, step, numbers)

    def write_timeline(self, phase: str, step: int, spans: Sequence[Sequence[Any]]) -> None:
        """Write one line of `timeline.jsonl`.

        Args:
          phase: of the run.
          step: of the phase.
          spans: name, begin and end in seconds since the step began.
        """
        _append(self._timeline, phase, step, {"spans": spans})

    def show(
        self, phase: str, step: int, of: int, values: Mapping[str, Any], columns: Iterable[str]
    ) -> None:
        """Print one row of the running table (`runs.table`)."""
        self._table.row(phase, step, of, values, columns)

    def close(self) -> None:
        """Write what is not written yet, and close the writers."""
        for file in (self._metrics, self._timeline):
            file.close()
        for writer in self.writers:
            writer.close()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def has_steps(folder: epath.Path, phases: Sequence[str] = ()) -> bool:
    """Return whether a run's folder has metrics of an update, those of some phases or of any: a
    line beyond the point that training starts from."""
    wanted = lambda phase: not phases or phase in phases  # noqa: E731
    return any(step != 0 and wanted(phase) for _, phase, step in _lines(folder / "metrics.jsonl"))


def forget_starts(folder: epath.Path, phases: Sequence[str]) -> None:
    """Drop the points before the first update of some phases, which are to start from others."""
    path = folder / "metrics.jsonl"
    kept = [line for line, phase, step in _lines(path) if phase not in phases or step != 0]
    if path.exists():
        write_whole(path, "".join(kept))


def _lines(path: epath.Path) -> list[tuple[str, Any, Any]]:
    """Return the lines of a file with their phases and steps; None for those of a malformed
    line."""
    found = []
    for line in path.read_text().splitlines(keepends=True) if path.exists() else ():
        try:
            row = json.loads(line)
            found.append((line, row["phase"], int(row["step"])))
        except (ValueError, LookupError, TypeError):
            found.append((line, None, None))
    return found


def _writes() -> bool:
    """Return whether this process is the one that writes."""
    import jax

    return jax.process_index() == 0


def _rewind(path: epath.Path, phase: str, step: int) -> None:
    """Drop a phase's lines behind `step`, and half a line at the end."""
    rows = _lines(path)
    kept = [
        line
        for line, about, at in rows
        if line.endswith("\n") and about is not None and not (about == phase and at > step)
    ]
    if len(kept) < len(rows):
        write_whole(path, "".join(kept))


def _append(file: GrowingFile, phase: str, step: int, values: Mapping[str, Any]) -> None:
    if _writes():
        row = {"phase": phase, "step": step, "at": round(time.time(), 3), **values}
        file.append(json.dumps(row) + "\n")
