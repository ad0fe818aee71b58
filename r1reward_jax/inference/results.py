"""What a comparison of responses says: opinions, comparisons, rankings, and how they read."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from r1reward_jax.types import Verdict

Order = tuple[Verdict, Verdict]
"""Which response is shown first and which second, a (1) and b (2)."""
NAMES = {1: "a", 2: "b"}
"""What a text calls the two responses."""
ORDERS: tuple[Order, Order] = ((1, 2), (2, 1))
"""In which they are shown."""


@dataclass(frozen=True)
class Opinion:
    """What a reasoning model says when it sees the two responses, a (1) and b (2), in one order."""

    shown: Order
    """The order: (1, 2) where a is shown first."""
    text: str
    """All that the model wrote."""
    analysis: str
    """The part of it that argues."""
    position: Verdict | None
    """The verdict as written: the place, in this order, of the better response."""
    verdict: Verdict | None
    """The better response: 1 for a, 2 for b. None if the text has no verdict."""
    probability: float | None
    """That a is better, behind this analysis; None without a verdict."""
    finish_reason: Literal["eos", "length", "stopped"]
    """Whether the model ended its text, or ran into the limit."""

    def __str__(self) -> str:
        first = NAMES[self.shown[0]]
        if self.verdict is None or self.probability is None:
            cut = ", cut off at the limit" if self.finish_reason == "length" else ""
            head, body = f"no verdict{cut}", self.text
        else:
            said = f"verdict {self.position}, which is {_named(self.verdict, self.probability)}"
            head, body = said, self.analysis
        return f"{first} shown first: {head}\n{textwrap.indent(body.strip(), '    ')}".rstrip()


@dataclass(frozen=True)
class Comparison:
    """Which of two responses, a (1) and b (2), is better."""

    preferred: Verdict | None
    """The response with more than half the probability; None at one half, and without verdict."""
    probability: float | None
    """That a is better: the mean over the orders with a verdict; None if there is none."""
    agree: bool
    """Whether both orders name the same response."""
    orders: tuple[Opinion, ...] = field(repr=False, default=())
    """With a shown first, with b shown first; empty from a scalar model, which sees no order."""
    scores: tuple[float, float] | None = None
    """Of a and b, from a scalar model."""

    def __str__(self) -> str:
        if self.probability is None:
            return "\n".join(["no verdict", *map(str, self.orders)])
        said = "undecided: both have probability 0.500"
        if self.preferred:
            said = f"better is {_named(self.preferred, self.probability)}"
        if self.scores is not None:
            return f"{said}; scores {self.scores[0]:.4g} and {self.scores[1]:.4g}"
        missing = any(o.verdict is None for o in self.orders)
        how = "one order has no verdict" if missing else "the orders disagree"
        said += f"; {'both orders agree' if self.agree else how}"
        return "\n".join([said, *map(str, self.orders)])


@dataclass(frozen=True)
class Ranking:
    """Responses to a question, by their places in what was given (0 is the first)."""

    order: tuple[int, ...]
    """Best first."""
    best: int
    judgements: int
    """Responses compared, counted once per order: two for each comparison."""
    comparisons: Mapping[tuple[int, int], Comparison] = field(repr=False)
    """All that were made; a of (i, j) is response i."""
    chances: tuple[float, ...] | None = None
    """Of each response, the mean probability that it is better than another; from a round robin."""

    def __str__(self) -> str:
        said = f"best is response {self.best} of {len(self.order)}; order {self.order}"
        return f"{said}, from {self.judgements} judgements"


def _named(verdict: Verdict, probability: float) -> str:
    """A response and its own probability, for the reader.

    Args:
      verdict: which one.
      probability: that a is better.
    """
    return f"{NAMES[verdict]}, probability {probability if verdict == 1 else 1 - probability:.3f}"
