"""Rewards of a batch of completions, on the host: text rewards first, then the judge."""

from collections.abc import Sequence
from typing import Literal

from r1reward_jax.prompts import parse_analysis, parse_verdict
from r1reward_jax.rl.rewards import combine, consistency_reward, format_reward, result_reward
from r1reward_jax.types import Completion, InputError, Judge, RewardBreakdown, Verdict


def score(
    completions: Sequence[Completion],
    preferred: Sequence[Verdict | None],
    judge: Judge | None,
    *,
    format_weight: float,
    consistency_weight: float,
    consistency_mode: Literal["binary", "signed"],
) -> tuple[list[RewardBreakdown], dict[str, float]]:
    """The reward of each completion, in order, and the judge's metrics.

    The judge is asked only where the result is 1: consistency is multiplied by the result, so
    elsewhere the reward is the same without it.

    Args:
      completions: one per row.
      preferred: the label of each row.
      judge: None leaves consistency at 0.
      format_weight: see `rl.rewards.combine`.
      consistency_weight: see `rl.rewards.combine`.
      consistency_mode: see `rl.rewards.consistency_reward`.
    """
    if None in preferred:
        raise InputError(f"row {preferred.index(None)} has no label; rewards need one")
    results = [result_reward(c.text, p) for c, p in zip(completions, preferred, strict=True) if p]
    asked = [i for i, result in enumerate(results) if result and judge is not None]
    pairs = [_judge_pair(completions[i]) for i in asked]
    answers = dict(zip(asked, judge.score(pairs), strict=True)) if judge and pairs else {}
    rewards = [
        combine(
            format=format_reward(completion.text),
            result=results[i],
            consistency=consistency_reward(answers[i], consistency_mode) if i in answers else 0.0,
            format_weight=format_weight,
            consistency_weight=consistency_weight,
        )
        for i, completion in enumerate(completions)
    ]
    silent = sum(answer is None for answer in answers.values())
    return rewards, {"judge/calls": len(asked), "judge/no_verdict": silent}


def _judge_pair(completion: Completion) -> tuple[str, Verdict]:
    verdict = parse_verdict(completion.text)
    assert verdict is not None  # its result is 1
    return parse_analysis(completion.text), verdict
