"""What an iteration's judgements tell about the judge: metrics, and a warning of answers that never
differ."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax

from r1reward_jax.console import warn
from r1reward_jax.judge.words import UNCLEAR

LEAST = 8
"""Answers of an iteration from which on it is odd that all of them are the same."""


class JudgeWatch:
    """Look at the answers of one iteration after the other."""

    def __init__(self, judge: Any):
        """
        Args:
          judge: a `types.Judge`; what it counts itself is reported where it counts, else 0.
        """
        self._judge = judge
        self._before, self._tokens = self._counts()
        self._seen: set[str] = set()
        """Answers of earlier iterations."""
        self._warned: set[str] = set()

    def look(self, iteration: int, probabilities: Mapping[int, float | None]) -> dict[str, float]:
        """Return the metrics of an iteration; warn where all answers are the same.

        Args:
          iteration: from 1.
          probabilities: P(supports) of each pair that the judge was asked about, None for none.
        """
        now, tokens = self._counts()
        failed, self._before = now - self._before, now
        written, self._tokens = tokens - self._tokens, tokens
        answers = [_answer(p) for p in probabilities.values()]
        constant = len(answers) >= LEAST and len(set(answers)) == 1
        if constant:
            self._warn(iteration, answers)
        self._seen.update(answers)
        unclear, long = failed[UNCLEAR], failed["too long"]
        asked = {kind: n for kind, n in failed.items() if kind != "retried"}
        return {
            "judge/constant": float(constant),
            "judge/no_verdict_unclear_count": float(unclear),
            "judge/no_verdict_too_long_count": float(long),
            "judge/no_verdict_failed_count": float(sum(asked.values()) - unclear - long),
            "judge/retries_count": float(failed["retried"]),
            "judge/tokens_count": float(written),
        }

    def _warn(self, iteration: int, answers: list[str]) -> None:
        answer = answers[0]
        # a judge that has said No before may find a whole iteration of good analyses
        known = answer == "yes" and "no" in self._seen
        if known or answer in self._warned or jax.process_index():
            return
        self._warned.add(answer)
        what = {
            "yes": "all support their verdict; a judge that always says so rewards nothing",
            "no": "none supports its verdict; none earned consistency",
            "none": "there is no verdict on any; none earned consistency",
        }[answer]
        warn(f"judge: of {len(answers)} analyses of iteration {iteration} {what}")

    def _counts(self) -> tuple[Counter[str], int]:
        """Return what the judge has counted so far."""
        failures = getattr(self._judge, "failures", None)
        return Counter(failures or {}), int(getattr(self._judge, "tokens", 0))


def _answer(probability: float | None) -> str:
    return "none" if probability is None else "yes" if probability >= 0.5 else "no"
