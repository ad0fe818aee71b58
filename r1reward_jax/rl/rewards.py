"""Rewards of a completion (paper, section 4.3): format, result, consistency and their sum.

    total = result * (1 + 0.5 * consistency) + 0.5 * format

Consistency multiplies the result, so a wrong but consistent completion gains nothing from it.
Three more terms, which are not the paper's and weigh 0 unless asked for: swap-consistency,
repetition and length.

Differs from the authors' released code: a completion that cannot be parsed scores 0 for its result
(there an exception of the parser scores 1), and the verdict is compared as a label (there by a
maths checker that takes "1 or 2" for 1).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from r1reward_jax.prompts import parse_verdict, well_formed
from r1reward_jax.types import Completion, RewardBreakdown, Verdict, other

# A line break begins a sentence itself, so white space before a word need not reach over it: a text
# of many line breaks is gone through once.
_REVISION = re.compile(
    r"(?:^|[.!?;\n—][^\S\n]*)(?:but |no, )?(?:wait|hold on|hmm|correction|actually)\s*[,.:!…—-]"
    r"|\b(?:on second thought|on closer inspection|looking again"
    r"|let me (?:re-?(?:check|consider|examine|think|count|evaluate|assess|visit|read)"
    r"|double-check)"
    r"|i (?:was (?:wrong|mistaken)|made an? (?:error|mistake)|mis(?:read|counted|saw|took)))\b",
    re.IGNORECASE,
)
_LET_ME = re.compile(r"\blet me (?:check|look|count|think)\b", re.IGNORECASE)
_AGAIN = re.compile(r" again\b", re.IGNORECASE)


@dataclass(frozen=True)
class RewardWeights:
    """Hold what each part of a reward weighs; the result weighs 1."""

    format: float
    """0.5 in the paper."""
    consistency: float
    """0.5 in the paper; times the result."""
    swap: float
    repetition: float
    length: float


def format_reward(text: str) -> float:
    """Return 1 if the text is exactly one `<think>…</think><answer>…</answer>`, else 0."""
    return float(well_formed(text))


def result_reward(text: str, preferred: Verdict) -> float:
    """Return 1 if the verdict names the preferred response; 0 if it does not, or if there is no
    verdict."""
    return float(parse_verdict(text) == preferred)


def consistency_reward(probability: float | None, mode: Literal["binary", "signed"]) -> float:
    """Return what a judge's probability that the analysis supports the verdict is worth.

    Args:
      probability: of "supports", in [0, 1]; None if the judge gave no verdict.
      mode: "binary" as in the paper (1 or 0) or "signed" as in the release (1, -1; 0 for none).
    """
    if probability is None:
        return 0.0
    return 1.0 if probability >= 0.5 else (0.0 if mode == "binary" else -1.0)


def swap_consistency(verdict: Verdict | None, swapped: Verdict | None) -> float:
    """Return 1 if the verdict follows the response when the two change places, else 0.

    Args:
      verdict: on the responses in one order.
      swapped: on the same responses in the other order; None, no verdict, is never consistent.
    """
    return float(verdict is not None and swapped is not None and swapped == other(verdict))


def repetition(text: str, *, n: int) -> float:
    """Return the fraction of word n-grams that already occurred, in [0, 1); 0 for short
    texts."""
    words = text.split()
    grams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    total = sum(grams.values())
    return (total - len(grams)) / total if total else 0.0


def overlong(tokens: int, *, start: int, limit: int) -> float:
    """Return 0 up to `start` tokens, then a cost that rises linearly to 1 at `limit` (DAPO, arXiv
    2503.14476, equation 13, with the opposite sign).

    Args:
      tokens: length of the completion.
      start: tokens that cost nothing; below limit.
      limit: tokens from which on the cost is 1.
    """
    return min(max((tokens - start) / (limit - start), 0.0), 1.0)


def self_corrects(analysis: str) -> bool:
    """Say whether an analysis revises an earlier statement of its own, by its wording (English); a
    metric only.

    The paper reports such turns as emerging behaviour; this marks them, it does not judge them.
    """
    return _REVISION.search(analysis) is not None or _looks_again(analysis)


def _looks_again(text: str) -> bool:
    """Return whether "let me check" is followed by "again" in the same sentence."""
    for sentence in text.split("."):
        first = _LET_ME.search(sentence)
        if first and _AGAIN.search(sentence, first.end()):
            return True
    return False


def combine(
    weights: RewardWeights,
    *,
    format: float,
    result: float,
    consistency: float,
    swap: float,
    repetition: float,
    overlong: float,
) -> RewardBreakdown:
    """Combine the parts into the paper's final reward, and the further terms by their weights.

    The maximum is 1 + the weights of consistency, format and swap.

    Args:
      weights: of each part.
      format: 0 or 1.
      result: 0 or 1.
      consistency: 0 or 1; -1 to 1 if signed.
      swap: 0 or 1.
      repetition: 0 to 1, taken off.
      overlong: 0 to 1, taken off.
    """
    w = weights
    total = result * (1.0 + w.consistency * consistency) + w.format * format
    total += w.swap * swap - w.repetition * repetition - w.length * overlong
    return RewardBreakdown(format, result, consistency, total, swap, repetition, overlong)


@dataclass(frozen=True)
class RewardConfig:
    """Hold the settings of the rewards; names as in configs/default.py."""

    weights: RewardWeights
    consistency_mode: Literal["binary", "signed"]
    repetition_n: int
    """Words of the n-grams whose repetition counts."""
    length_start: int
    """Tokens from which on length costs."""
    length_limit: int
    """Tokens at which it costs all."""


def score_completions(
    completions: Sequence[Completion],
    preferred: Sequence[Verdict | None],
    judge_probs: Mapping[int, float | None],
    settings: RewardConfig,
    *,
    swapped: Sequence[int] | None = None,
) -> tuple[list[RewardBreakdown], dict[str, float]]:
    """Return the reward of each completion, in order, and the judge's metrics.

    Args:
      completions: one per row.
      preferred: the label of each row; a row without label has no result.
      judge_probs: P(supports) of the judge, by row; None where it gave no verdict. Rows that are
        not there were not judged: their verdict is wrong, and consistency is multiplied by 0.
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
            result=result_reward(completion.text, label) if label else 0.0,
            consistency=consistency_reward(judge_probs[i], s.consistency_mode)
            if i in judge_probs
            else 0.0,
            swap=swap_consistency(verdicts[i], verdicts[swapped[i]]) if swapped else 0.0,
            repetition=repetition(completion.text, n=s.repetition_n),
            overlong=overlong(
                len(completion.token_ids), start=s.length_start, limit=s.length_limit
            ),
        )
        for i, (completion, label) in enumerate(zip(completions, preferred, strict=True))
    ]
    silent = sum(p is None for p in judge_probs.values())
    agreed = sum(p is not None and p >= 0.5 for p in judge_probs.values())
    return rewards, {
        "judge/calls_count": float(len(judge_probs)),
        "judge/no_verdict_count": float(silent),
        "judge/agreement_frac": agreed / max(1, len(judge_probs) - silent),
    }
