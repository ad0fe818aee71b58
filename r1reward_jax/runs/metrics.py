"""Where a run's numbers go: a jsonl line per step, and a running table to watch. The first of
several processes writes.

`metrics.jsonl` has the metrics, `timeline.jsonl` the phases of a step with their beginnings and
ends.
"""

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
from etils import epath

from r1reward_jax.console import say
from r1reward_jax.files import write_whole
from r1reward_jax.runs.writers import Board

METRICS = {
    "loss/total": "the objective that is minimised",
    "loss/entropy": "mean entropy of the completion tokens, nats",
    "loss/grad_norm": "global gradient norm before the clip",
    "loss/skipped": "1 if the gradient was not finite and the update was skipped",
    "loss/sampler_gap_max": "largest |trainer - sampler log-prob| of the first update's tokens, "
    "and of all others where rl.old_logp is trainer",
    "loss/kl_old": "KL (k3) from the policy before the rollout's updates, nats per token",
    "loss/kl_reference": "KL (k1 or k3) of that policy from the reference, nats per token",
    "loss/clip_frac": "share of tokens whose surrogate is clipped",
    "loss/pre_clip_frac": "share of tokens whose log-ratio is outside the Pre-CLIP bounds",
    "loss/log_ratio_max": "largest log-ratio of a completion token",
    "loss/log_ratio_min": "smallest log-ratio of a completion token",
    "advantage/filtered_frac": "share of tokens whose advantage the filter dropped",
    "advantage/mean": "mean return of the completion tokens",
    "advantage/std": "population deviation of the returns",
    "advantage/abs_max": "largest |standardised advantage| before the filter",
    "advantage/kept_mean": "mean of the advantages that are trained on",
    "advantage/kept_std": "population deviation of the advantages that are trained on",
    "advantage/kept_abs_max": "largest |advantage| that is trained on",
    "scalar/accuracy": "share of pairs whose preferred response has the higher score",
    "scalar/margin": "mean score of the preferred response minus that of the other",
    "reward/total": "mean combined reward",
    "reward/format": "share of well-formed completions",
    "reward/result": "share of right verdicts",
    "reward/consistency": "mean consistency of completions with a right verdict",
    "reward/swap": "share of completions whose verdict follows the swapped responses",
    "reward/repetition": "mean share of repeated word n-grams",
    "reward/overlong": "mean cost of length, 0 to 1",
    "rollout/tokens": "mean completion length",
    "rollout/verdict_1_share": "share of completions that say 1",
    "rollout/unparsable": "share of completions without a verdict",
    "rollout/truncated": "share of completions cut at the length limit",
    "rollout/self_corrected": "share of analyses that revise an earlier statement, by their words",
    "rollout/padding_share": "share of completion positions behind the end of a completion",
    "eval/accuracy": "share of right greedy verdicts on eval.records held-out records, both orders",
    "eval/strict_accuracy": "share of those records that are judged right in both orders",
    "eval/flip_rate": "share of those records in which both orders name the same position",
    "eval/verdict_1_share": "share of those verdicts that name the first response",
    "eval/unparsable_share": "share of those completions without a verdict",
    "judge/agreement": "share of the judge's answers that say: supports",
    "judge/calls": "pairs given to the judge",
    "judge/no_verdict": "pairs to which the judge gave no answer; their consistency is 0",
    "time/rollout_s": "seconds of sampling",
    "time/host_s": "seconds of prompts, text, parsing and rewards; part of them while the devices "
    "sample",
    "time/judge_s": "seconds of waiting for the judge behind the sampling",
    "time/logprobs_s": "seconds of batches, log-probs and advantages",
    "time/update_s": "seconds of updates",
    "time/step_s": "seconds of a step",
    "time/rollout_tokens_per_s": "completion tokens per second of sampling",
    "time/tokens_per_s": "completion tokens per second of a whole iteration",
}
"""Every metric name and what it means."""


class MetricsLog:
    """Appends to `metrics.jsonl` and to boards, and prints one row per report."""

    def __init__(self, path: str, boards: Sequence[Board] = ()):
        """
        Args:
          path: of `metrics.jsonl`.
          boards: get every metric, too.
        """
        self.path = epath.Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.timeline = self.path.with_name("timeline.jsonl")
        self.boards = boards if jax.process_index() == 0 else ()
        self._columns: tuple[str, ...] = ()
        self._began, self._first = time.perf_counter(), 0

    def begin(self, phase: str, step: int) -> None:
        """A phase begins, or a resumed run goes on with it behind `step`: what was written about
        later steps is forgotten, they come again."""
        for path in () if jax.process_index() else (self.path, self.timeline):
            _rewind(path, phase, step)
        for board in self.boards:
            board.begin(phase, step)
        self._began, self._first = time.perf_counter(), step

    def write(self, phase: str, step: int, values: Mapping[str, Any]) -> None:
        """One line. Raises KeyError for a name that is not in METRICS."""
        numbers = {name: float(value) for name, value in values.items()}
        for name in numbers:
            METRICS[name]
        # json has no word for what is not finite
        row = {name: x if math.isfinite(x) else str(x) for name, x in numbers.items()}
        _append(self.path, phase, step, row)
        for board in self.boards:
            board.write(phase, step, numbers)

    def write_timeline(self, phase: str, step: int, spans: Sequence[Sequence[Any]]) -> None:
        """One line of `timeline.jsonl`.

        Args:
          phase: of the run.
          step: of the phase.
          spans: name, begin and end in seconds since the step began.
        """
        _append(self.timeline, phase, step, {"spans": spans})

    def show(
        self, phase: str, step: int, of: int, values: Mapping[str, Any], columns: Iterable[str]
    ) -> None:
        """One row of the running table, with the time that is left of the phase; a header whenever
        the columns change."""
        columns = tuple(columns)
        if columns != self._columns:
            self._columns = columns
            names = "".join(f"{c.split('/')[1]:>14}" for c in columns)
            say(f"{'phase':>12}{'step':>12}{names}{'left':>9}")
        cells = "".join(f"{float(values[c]):14.4f}" for c in columns)
        done = max(1, step - self._first)
        left = (time.perf_counter() - self._began) / done * (of - step)
        say(f"{phase:>12}{f'{step}/{of}':>12}{cells}{_clock(left):>9}")

    def close(self) -> None:
        """Nothing comes any more."""
        for board in self.boards:
            board.close()

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def _clock(seconds: float) -> str:
    """12.3 hours as 12:18:00, a minute as 1:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _rewind(path: epath.Path, phase: str, step: int) -> None:
    """Leave out a phase's lines behind `step`, and half a line at the end."""
    rows = path.read_text().splitlines(keepends=True) if path.exists() else []
    kept = [row for row in rows if row.endswith("\n") and not _is_later(row, phase, step)]
    if len(kept) < len(rows):
        write_whole(path, "".join(kept))


def _append(path: epath.Path, phase: str, step: int, values: Mapping[str, Any]) -> None:
    if jax.process_index():
        return
    row = {"phase": phase, "step": step, "at": round(time.time(), 3), **values}
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")


def _is_later(line: str, phase: str, step: int) -> bool:
    """Whether a line is about a later step of the phase; what is no line of ours goes, too."""
    try:
        row = json.loads(line)
        return row["phase"] == phase and row["step"] > step
    except (ValueError, LookupError, TypeError):
        return True
