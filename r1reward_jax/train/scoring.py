"""Rewards of a batch of completions, on the host. The judge is asked while others are written."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from r1reward_jax.judge.cached import CachedJudge
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


class Judging:
    """Asks a judge about completions as they come in.

    Only where the result is 1: consistency is multiplied by the result, so elsewhere the reward is
    the same without it.
    """

    def __init__(self, judge: Judge | None, preferred: Sequence[Verdict | None], samples: int):
        """
        Args:
          judge: None leaves consistency at 0.
          preferred: the label of each prompt.
          samples: completions of each prompt.

        Raises:
          InputError: a prompt has no label.
        """
        if None in preferred:
            raise InputError(f"prompt {preferred.index(None)} has no label; rewards need one")
        self.judge = CachedJudge(judge) if judge else None
        self.preferred, self.samples = preferred, samples
        self._started: list[tuple[list[int], Callable[[], Sequence[float | None]]]] = []

    def add(self, place: int, completions: Sequence[Completion]) -> None:
        """Hand over the completions of a prompt; returns at once."""
        right = [i for i, c in enumerate(completions) if self._is_right(place, c)]
        if self.judge and right:
            wait = self.judge.start([_judge_pair(completions[i]) for i in right])
            self._started.append(([place * self.samples + i for i in right], wait))

    def answers(self) -> dict[int, float | None]:
        """Wait for them: P(supports), or None for no verdict, by row (those of a prompt side by
        side)."""
        found = {}
        for rows, wait in self._started:
            found |= dict(zip(rows, wait(), strict=True))
        return {i: p if p is not None and math.isfinite(p) else None for i, p in found.items()}

    def _is_right(self, place: int, completion: Completion) -> bool:
        label = self.preferred[place]
        return label is not None and result_reward(completion.text, label) == 1


def _judge_pair(completion: Completion) -> tuple[str, Verdict]:
    verdict = parse_verdict(completion.text)
    assert verdict is not None  # its result is 1
    return parse_analysis(completion.text), verdict


def score(
    completions: Sequence[Completion],
    preferred: Sequence[Verdict | None],
    answers: Mapping[int, float | None],
    settings: Scoring,
    *,
    swapped: Sequence[int] | None = None,
) -> tuple[list[RewardBreakdown], dict[str, float]]:
    """The reward of each completion, in order, and the judge's metrics.

    Args:
      completions: one per row.
      preferred: the label of each row.
      answers: of the judge, by row, as `Judging` gives them.
      settings: weights and limits.
      swapped: for each row, the row of the same record in the other order; None where the rows
        are not such pairs, and then nothing is earned for swap-consistency.
    """
    verdicts: list[Verdict | None] = [parse_verdict(c.text) for c in completions]
    s = settings
    rewards = [
        combine(
            s.weights,
            format=format_reward(completion.text),
            result=float(verdicts[i] == preferred[i] is not None),
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
        "judge/calls": len(answers),
        "judge/no_verdict": silent,
        "judge/agreement": agreed / max(1, len(answers) - silent),
    }
