"""Judgements of completions that are asked for while other completions are still being written."""

import math
from collections.abc import Callable, Sequence

from r1reward_jax.judge.cached import CachedJudge
from r1reward_jax.prompts import parse_analysis, parse_verdict
from r1reward_jax.rl.rewards import result_reward
from r1reward_jax.types import Completion, InputError, Judge, Verdict


class PendingJudgements:
    """Asks a judge about completions as they come in, and collects its probabilities at the end.

    The judge is asked only where the result is 1: consistency is multiplied by the result, so
    elsewhere the reward is the same without it.
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
        """Hand over the completions of a prompt; return at once.

        Args:
          place: of the prompt in the batch.
          completions: all samples of it.
        """
        if self.judge is None:
            return
        pairs = {
            place * self.samples + i: pair
            for i, completion in enumerate(completions)
            if (pair := pair_to_judge(completion, self.preferred[place]))
        }
        if pairs:
            self._started.append((list(pairs), self.judge.start(list(pairs.values()))))

    def probabilities(self) -> dict[int, float | None]:
        """Wait for the judge and return P(supports) of each row that it was asked about, None where
        it gave no number. The samples of a prompt are rows side by side."""
        judged = {}
        for rows, wait in self._started:
            judged |= dict(zip(rows, wait(), strict=True))
        # a NaN or an infinity is no probability: the reward must not become one
        return {i: p if p is not None and math.isfinite(p) else None for i, p in judged.items()}


def pair_to_judge(completion: Completion, label: Verdict | None) -> tuple[str, Verdict] | None:
    """Return the (analysis, verdict) of a completion whose verdict is the label, otherwise None."""
    verdict = parse_verdict(completion.text)
    if verdict is None or label is None or result_reward(completion.text, label) != 1:
        return None
    return parse_analysis(completion.text), verdict
