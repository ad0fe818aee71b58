"""Compute the metrics of an RL iteration and write the file with its completions."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import jax
import numpy as np
from etils import epath

from r1reward_jax.evals.journal import record_row
from r1reward_jax.files import write_whole
from r1reward_jax.prompts import parse_analysis, parse_verdict
from r1reward_jax.rl.rewards import self_corrects
from r1reward_jax.rollout.engine import Rollout
from r1reward_jax.runs.metrics import MetricsLog, reduce_metric
from r1reward_jax.runs.profiling import Timeline, compile_seconds
from r1reward_jax.train.batches import flat
from r1reward_jax.types import (
    PreferenceRecord,
    RewardBreakdown,
)


def join(several: list[dict[str, Any]]) -> dict[str, float]:
    """Reduce the metrics of an iteration's updates to one value each, as their table says."""
    return {
        name: float(reduce_metric(name, np.asarray([m[name] for m in several])))
        for name in several[0]
    }


def rollout_metrics(rollout: Rollout, rewards: list[RewardBreakdown]) -> dict[str, float]:
    completions = flat(rollout)
    verdicts = [parse_verdict(c.text) for c in completions]
    right = [r.consistency for r in rewards if r.result]
    count, tokens = len(completions), sum(len(c.token_ids) for c in completions)
    return {
        "reward/total": sum(r.total for r in rewards) / count,
        "reward/format": sum(r.format for r in rewards) / count,
        "reward/result": sum(r.result for r in rewards) / count,
        "reward/consistency": sum(right) / max(1, len(right)),
        "reward/swap": sum(r.swap for r in rewards) / count,
        "reward/repetition": sum(r.repetition for r in rewards) / count,
        "reward/overlong": sum(r.overlong for r in rewards) / count,
        "rollout/tokens_mean": tokens / count,
        "rollout/verdict_1_frac": verdicts.count(1) / count,
        "rollout/unparsable_frac": verdicts.count(None) / count,
        "rollout/truncated_frac": rollout.finish_reasons["length"] / count,
        "rollout/self_corrected_frac": sum(
            self_corrects(parse_analysis(c.text)) for c in completions
        )
        / count,
        "rollout/padding_frac": 1 - tokens / rollout.batch.tokens.size,
    }


def times(line: Timeline, tokens: int) -> dict[str, float]:
    """Return the seconds of each phase of a step that ends now, those of compilation in it, and
    completion tokens per second."""
    phases = ("rollout", "host", "judge", "logprobs", "update")
    step = time.perf_counter() - line.began
    return {f"time/{name}_s": line.seconds(name) for name in phases} | {
        "time/rollout_tokens_per_s": tokens / line.seconds("rollout"),
        "time/tokens_per_s": tokens / step,
        "time/step_s": step,
        "time/compile_s": compile_seconds() - line.compiled,
    }


def write_rollouts(
    log: MetricsLog,
    iteration: int,
    chosen: Sequence[PreferenceRecord],
    rollout: Rollout,
    rewards: Sequence[RewardBreakdown],
    answers: Mapping[int, float | None],
) -> None:
    """Write one line per completion of this iteration, in the order of its rows.

    Args:
      log: of the run.
      iteration: from 1.
      chosen: the record of each completion.
      rollout: what was sampled.
      rewards: of each completion.
      answers: the judge's P(supports), by row; null in the file where it gave none or was not
        asked (the result is 0).
    """
    if jax.process_index():
        return
    folder = epath.Path(log.path).parent / "rollouts"
    folder.mkdir(parents=True, exist_ok=True)
    rows = zip(chosen, flat(rollout), rewards, strict=True)
    lines = [
        json.dumps(
            record_row(record)
            | {
                "text": completion.text,
                "finish_reason": completion.finish_reason,
                "reward": asdict(reward),
                "judge": answers.get(i),
            }
        )
        for i, (record, completion, reward) in enumerate(rows)
    ]
    write_whole(folder / f"{iteration:05d}.jsonl", "\n".join(lines) + "\n")
