"""Rewards of a completion (paper, section 3.3): format, result, consistency and their sum.

    total = result * (1 + 0.5 * consistency) + 0.5 * format

Consistency multiplies the result, so a wrong but consistent completion gains nothing from it.
Differs from the release: a completion that cannot be parsed scores 0 for its result (there an
exception scores 1), and the verdict is compared as a label (there by a maths checker that takes
"1 or 2" for 1).
"""

from typing import Literal

from r1reward_jax.prompts import parse_verdict, well_formed
from r1reward_jax.types import RewardBreakdown, Verdict


def format_reward(text: str) -> float:
    """1 if the text is exactly one `<think>…</think><answer>…</answer>`, else 0."""
    return float(well_formed(text))


def result_reward(text: str, preferred: Verdict) -> float:
    """1 if the verdict names the preferred response; 0 if not, or if there is no verdict."""
    return float(parse_verdict(text) == preferred)


def consistency_reward(probability: float | None, mode: Literal["binary", "signed"]) -> float:
    """What a judge's probability that the analysis supports the verdict is worth.

    Args:
      probability: of "supports", in [0, 1]; None if the judge gave no verdict.
      mode: "binary" as in the paper (1 or 0) or "signed" as in the release (1, -1; 0 for none).
    """
    if probability is None:
        return 0.0
    return 1.0 if probability >= 0.5 else (0.0 if mode == "binary" else -1.0)


def combine(
    *,
    format: float,
    result: float,
    consistency: float,
    format_weight: float,
    consistency_weight: float,
) -> RewardBreakdown:
    """The paper's final reward, with its weights (both 0.5 there) as arguments.

    The maximum is 1 + consistency_weight + format_weight.
    """
    total = result * (1.0 + consistency_weight * consistency) + format_weight * format
    return RewardBreakdown(format, result, consistency, total)
