"""Rewards of a batch of completions, on the host: text rewards first, then the judge."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from r1reward_jax.prompts import parse_analysis, parse_verdict
from r1reward_jax.rl.rewards import (
    RewardWeights,
    combine,
    consistency_reward,
    format_reward,
    overlong,
    repetition,
    result_reward,
    swap_consistency,
)
from r1reward_jax.types import Completion, InputError, Judge, RewardBreakdown, Verdict


@dataclass(frozen=True)
class Scoring:
    """Settings of the rewards; names as in configs/default.py."""

    weights: RewardWeights
    consistency_mode: Literal["binary", "signed"]
    repetition_n: int
    """Words of the n-grams whose repetition counts."""
    length_start: int
    """Tokens from which on length costs."""
    length_limit: int
    """Tokens at which it costs all."""


def score(
    completions: Sequence[Completion],
    preferred: Sequence[Verdict | None],
    judge: Judge | None,
    settings: Scoring,
    *,
    swapped: Sequence[int] | None = None,
) -> tuple[list[RewardBreakdown], dict[str, float]]:
    """The reward of each completion, in order, and the judge's metrics.

    The judge is asked only where the result is 1: consistency is multiplied by the result, so
    elsewhere the reward is the same without it.

    Args:
      completions: one per row.
      preferred: the label of each row.
      judge: None leaves consistency at 0.
      settings: weights and limits.
      swapped: for each row, the row of the same record in the other order; None where the rows
        are not such pairs, and then nothing is earned for swap-consistency.
    """
    if None in preferred:
        raise InputError(f"row {preferred.index(None)} has no label; rewards need one")
    results = [result_reward(c.text, p) for c, p in zip(completions, preferred, strict=True) if p]
    asked = [i for i, result in enumerate(results) if result and judge is not None]
    pairs = [_judge_pair(completions[i]) for i in asked]
    given = judge.score(pairs) if judge and pairs else []
    answers = {
        i: p if p is not None and math.isfinite(p) else None
        for i, p in zip(asked, given, strict=bool(judge))
    }
    verdicts: list[Verdict | None] = [parse_verdict(c.text) for c in completions]
    s = settings
    rewards = [
        combine(
            s.weights,
            format=format_reward(completion.text),
            result=results[i],
            consistency=consistency_reward(answers[i], s.consistency_mode) if i in answers else 0.0,
            swap=swap_consistency(verdicts[i], verdicts[swapped[i]]) if swapped else 0.0,
            repetition=repetition(completion.text, n=s.repetition_n),
            overlong=overlong(
                len(completion.token_ids), start=s.length_start, limit=s.length_limit
            ),
        )
        for i, completion in enumerate(completions)
    ]
    silent = sum(answer is None for answer in answers.values())
    agreed = sum(answer is not None and answer >= 0.5 for answer in answers.values())
    return rewards, {
        "judge/calls": len(asked),
        "judge/no_verdict": silent,
        "judge/agreement": agreed / max(1, len(answers) - silent),
    }


def _judge_pair(completion: Completion) -> tuple[str, Verdict]:
    verdict = parse_verdict(completion.text)
    assert verdict is not None  # its result is 1
    return parse_analysis(completion.text), verdict
