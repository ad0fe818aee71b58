"""The reward of a sample as a sum whose terms add up to its total.

    total = result * (1 + w_consistency * consistency) + w_format * format
            + w_swap * swap - w_repetition * repetition - w_length * overlong

The weights are those of the run's config; terms that weigh nothing there are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from r1reward_jax.report.read import finite
from r1reward_jax.report.scale import short

PARTS = ("total", "format", "result", "consistency")
"""Parts of a reward that are shown even where they are 0."""
_WEIGHTED = {
    "format": ("format_weight", 1),
    "swap": ("swap_weight", 1),
    "repetition": ("repetition_weight", -1),
    "overlong": ("length_weight", -1),
}
"""Part -> its weight in the config, and whether it is added or taken off."""


@dataclass(frozen=True)
class Term:
    """A part of a reward."""

    name: str
    points: float
    """What it adds to the total."""
    how: str = ""
    """The product that gives the points, as text; empty where it is the part itself."""

    @property
    def sign(self) -> str:
        """The sign in front of the points."""
        return "−" if self.points < 0 else "+"

    @property
    def size(self) -> str:
        """The points without their sign."""
        return short(abs(self.points))


@dataclass(frozen=True)
class Reward:
    """A reward as it is shown."""

    terms: Sequence[Term]
    """Empty where the weights are not known: the parts do not add up then."""
    total: str
    note: str
    """What does not fit; empty if the terms add up."""
    parts: Sequence[tuple[str, float]]
    """The parts before their weights."""


def reward_of(parts: Mapping[str, float], weights: Mapping[str, Any]) -> Reward | None:
    """Return the reward of a sample; None if it has none.

    Args:
      parts: as a line of rollouts or judgements has them.
      weights: the section `rl` of the run's config; empty if it is not known.
    """
    if not parts:
        return None
    names = [name for name in PARTS if name in parts]
    listed = [*names, *(n for n, value in parts.items() if n not in PARTS and value)]
    plain = [(name, parts[name]) for name in listed]
    total = parts.get("total")
    terms = _terms(parts, weights)
    if terms is None or total is None:
        return Reward((), "" if total is None else short(total), "", plain)
    found = sum(term.points for term in terms)
    note = ""
    if abs(found - total) > 1e-4 * max(1.0, abs(total)):
        note = f"the weights of the run's config give {short(found)}"
    return Reward(terms, short(total), note, plain)


def _terms(parts: Mapping[str, float], weights: Mapping[str, Any]) -> list[Term] | None:
    result, consistency = parts.get("result"), parts.get("consistency", 0.0)
    weight = finite(weights.get("consistency_weight"))
    if result is None or weight is None or finite(weights.get("format_weight")) is None:
        return None
    terms = [Term("result", result)]
    if weight:
        how = f"{short(weight)} × {short(consistency)} × result {short(result)}"
        terms.append(Term("consistency", weight * consistency * result, how))
    for name, (field, sign) in _WEIGHTED.items():
        weight = finite(weights.get(field))
        if weight:
            value = parts.get(name, 0.0)
            terms.append(Term(name, sign * weight * value, f"{short(weight)} × {short(value)}"))
    return terms
