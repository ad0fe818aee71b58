"""Asks the judge about completions while others are still being written."""

import math
from collections.abc import Callable, Sequence

from r1reward_jax.judge.cached import CachedJudge
from r1reward_jax.prompts import parse_analysis, parse_verdict
from r1reward_jax.rl.rewards import (
    result_reward,
)
from r1reward_jax.types import Completion, InputError, Judge, Verdict


class PendingJudgements:
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
