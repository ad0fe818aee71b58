"""What an RL iteration leaves behind: its metrics and a file with its completions."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
from etils import epath

from r1reward_jax.prompts import parse_verdict
from r1reward_jax.rollout.engine import Rollout
from r1reward_jax.train.batches import make_train_batch
from r1reward_jax.train.metrics import MetricsLog
from r1reward_jax.types import Processor, RewardBreakdown, TrainBatch


def rollout_batch(rollout: Rollout, processor: Processor, capacity: int) -> TrainBatch:
    """The first sample of each prompt as a train batch, with the sampler's log-probs."""
    completions = [row[0].token_ids for row in rollout.completions]
    logp = np.asarray(rollout.batch.logp[:, 0])
    return make_train_batch(
        rollout.prompts, completions, processor, capacity=capacity, old_logp=logp
    )


def join(several: list[dict[str, Any]]) -> dict[str, float]:
    """Metrics of an iteration's updates: extremes stay extremes, the rest is averaged."""
    reduce = {"max": max, "min": min}
    return {
        name: float(reduce.get(name[-3:], lambda v: sum(v) / len(v))([m[name] for m in several]))
        for name in several[0]
    }


def rollout_metrics(rollout: Rollout, rewards: list[RewardBreakdown]) -> dict[str, float]:
    completions = [row[0] for row in rollout.completions]
    verdicts = [parse_verdict(c.text) for c in completions]
    right = [r.consistency for r in rewards if r.result]
    count = len(completions)
    return {
        "reward/total": sum(r.total for r in rewards) / count,
        "reward/format": sum(r.format for r in rewards) / count,
        "reward/result": sum(r.result for r in rewards) / count,
        "reward/consistency": sum(right) / max(1, len(right)),
        "rollout/tokens": sum(len(c.token_ids) for c in completions) / count,
        "rollout/verdict_1_share": verdicts.count(1) / count,
        "rollout/unparsable": verdicts.count(None) / count,
        "rollout/truncated": sum(c.finish_reason == "length" for c in completions) / count,
    }


def times(clock: list[float]) -> dict[str, float]:
    rollout, scored, updated = (b - a for a, b in zip(clock, clock[1:]))
    return {
        "time/rollout_s": rollout,
        "time/score_s": scored,
        "time/update_s": updated,
        "time/step_s": clock[-1] - clock[0],
    }


def write_rollouts(log: MetricsLog, iteration: int, chosen, rollout: Rollout, rewards) -> None:
    """One line per completion of this iteration, in the order of its rows."""
    folder = epath.Path(log.path).parent / "rollouts"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps(
            {
                "id": record.id,
                "responses": record.responses,
                "preferred": record.preferred,
                "text": row[0].text,
                "finish_reason": row[0].finish_reason,
                "reward": asdict(reward),
            }
        )
        for record, row, reward in zip(chosen, rollout.completions, rewards, strict=True)
    ]
    (folder / f"{iteration:05d}.jsonl").write_text("\n".join(lines) + "\n")
