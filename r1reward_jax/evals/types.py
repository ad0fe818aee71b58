"""What a model says about a pair of responses: in one order, and in both.

The types stand here and not in the package's `types`, because only evaluations and `RewardModel`
make and read them, and because `prompts`, which imports `types`, finds the analysis in their texts.
"""

import textwrap
from dataclasses import dataclass, field
from typing import Any, Literal

from r1reward_jax.prompts import parse_analysis
from r1reward_jax.types import Completion, Verdict, other

Order = tuple[Verdict, Verdict]
"""Which response is shown first and which second, a (1) and b (2)."""
ORDERS: tuple[Order, Order] = ((1, 2), (2, 1))
"""As stored, and swapped."""
NAMES = {1: "a", 2: "b"}
"""What a text calls the two responses."""


@dataclass(frozen=True)
class Judgement:
    """What a model says when it sees two responses, a (1) and b (2), in one order.

    Fields count positions: 1 is the response that is shown first. The properties `verdict` and
    `probability` are about the responses themselves, in whichever order they are shown.
    """

    label: Verdict | None
    """Position of the response that people prefer; None if that is not known."""
    position: Verdict | None
    """The greedy verdict as written: the position of the better response. None if it cannot be
    read."""
    first_probability: float | None = None
    """Probability that position 1 is the better one, by the answer token behind the greedy analysis
    or by scores; None without a verdict."""
    votes: tuple[Verdict | None, ...] = ()
    """Positions that the samples name, in the order in which they are drawn; None where one cannot
    be read."""
    vote_probabilities: tuple[float | None, ...] = ()
    """Probability of position 1, one for each vote."""
    tokens: int = 0
    """Length of the greedy completion."""
    vote_tokens: tuple[int, ...] = ()
    """Lengths of the samples' completions."""
    prompt_tokens: int = 0
    well_formed: bool = False
    """Whether the greedy completion has the format of training."""
    truncated: bool = False
    """Whether the greedy completion ran into the length limit."""
    skipped: bool = False
    """Whether the record could not be shown to the model; no number counts it."""
    reason: str = ""
    """Why it could not."""
    stopped: bool = False
    """Whether sampling ended before all votes were in, because the outcome was clear."""
    stopped_tokens: int = 0
    """Tokens of samples that were begun, and not ended for that."""
    shown: Order = ORDERS[0]
    """The order: (1, 2) where a is shown first."""
    scores: tuple[float, float] | None = None
    """Scores of the two responses as shown, from a scalar reward model."""
    released: Verdict | None = None
    """The greedy position as the authors' release reads the text; None if it has none, or if that
    was not asked for."""
    completions: tuple[Completion, ...] = field(default=(), compare=False, repr=False)
    """What was written, the greedy completion first; empty for a scalar model, a skipped prompt,
    and a judgement that is read from a file."""

    @property
    def verdict(self) -> Verdict | None:
        """The better response: 1 for a, 2 for b. None if the text has no verdict."""
        if self.position is None or self.shown == ORDERS[0]:
            return self.position
        return other(self.position)

    @property
    def probability(self) -> float | None:
        """Probability that a is better, behind this analysis; None without a verdict."""
        p = self.first_probability
        return p if p is None or self.shown == ORDERS[0] else 1 - p

    @property
    def text(self) -> str:
        """All that the model wrote, greedily."""
        return self.completions[0].text if self.completions else ""

    @property
    def analysis(self) -> str:
        """The part of the text that argues."""
        return parse_analysis(self.text)

    @property
    def finish_reason(self) -> Literal["eos", "length", "stopped"]:
        """Say whether the model ended its text, or ran into the limit."""
        return self.completions[0].finish_reason if self.completions else "eos"

    def to_json(self) -> dict[str, Any]:
        """Return what `RewardModel` tells a user of one order."""
        names = ("shown", "text", "analysis", "position", "verdict", "probability", "finish_reason")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        first = NAMES[self.shown[0]]
        if self.verdict is None or self.probability is None:
            truncated = ", truncated at the limit" if self.truncated else ""
            head, body = f"no verdict{truncated}", self.text
        else:
            better = _named(self.verdict, self.probability)
            head, body = f"verdict {self.position}, which is {better}", self.analysis
        return f"{first} shown first: {head}\n{textwrap.indent(body.strip(), '    ')}".rstrip()


@dataclass(frozen=True)
class PairJudgement:
    """What a model says about two responses, a (1) and b (2), in both orders."""

    row: int = 0
    """Position in the benchmark, from 0."""
    id: str = ""
    """The record's."""
    group: str = ""
    """Of the benchmark; empty if it has none."""
    unit: str = ""
    """What pairs that belong together share (the id of MM-RLHF); else the row's number."""
    orders: tuple[Judgement, ...] = field(repr=False, default=())
    """As stored (a shown first), and swapped (b shown first); empty from a `RewardModel` that is a
    scalar one, which sees no order."""
    scores: tuple[float, float] | None = None
    """Scores of a and b, from a scalar model."""
    subgroup: str = ""
    """Part of the group; empty if that is not divided."""

    @property
    def skipped(self) -> str:
        """The reason why the pair could not be shown in an order; empty if it was shown in both."""
        return next((o.reason or "no reason is known" for o in self.orders if o.skipped), "")

    @property
    def probability(self) -> float | None:
        """Probability that a is better: of a scalar model that of Bradley and Terry, else the mean
        over the orders with a verdict; None if there is none."""
        if self.scores is not None:
            return bradley_terry(*self.scores)
        known = [o.probability for o in self.orders if o.probability is not None]
        return sum(known) / len(known) if known else None

    @property
    def preferred(self) -> Verdict | None:
        """The response with more than half the probability; None at one half, and without any."""
        p = self.probability
        return None if p is None or p == 0.5 else 1 if p > 0.5 else 2

    @property
    def agree(self) -> bool:
        """Say whether both orders name the same response; of a scalar model, whether it names
        one."""
        if self.scores is not None:
            return self.preferred is not None
        named = {o.verdict for o in self.orders}
        return len(named) == 1 and None not in named

    def to_json(self) -> dict[str, Any]:
        """Return what `RewardModel` tells a user of a comparison."""
        found = {name: getattr(self, name) for name in ("preferred", "probability", "agree")}
        return found | {"orders": [o.to_json() for o in self.orders], "scores": self.scores}

    def __str__(self) -> str:
        if self.probability is None:
            return "\n".join(["no verdict", *map(str, self.orders)])
        head = "undecided: both have probability 0.500"
        if self.preferred:
            head = f"better is {_named(self.preferred, self.probability)}"
        if self.scores is not None:
            return f"{head}; scores {self.scores[0]:.4g} and {self.scores[1]:.4g}"
        missing = any(o.verdict is None for o in self.orders)
        how = "one order has no verdict" if missing else "the orders disagree"
        head += f"; {'both orders agree' if self.agree else how}"
        return "\n".join([head, *map(str, self.orders)])


def bradley_terry(first: float, second: float) -> float:
    """Return the probability that the first of two responses is better, sigmoid(r_1 - r_2)."""
    from scipy.special import expit  # a fifth of a second that readers of files need not wait

    return float(expit(first - second))


def _named(verdict: Verdict, probability: float) -> str:
    """Return a response and its own probability, for the reader.

    Args:
      verdict: which one.
      probability: that a is better.
    """
    return f"{NAMES[verdict]}, probability {probability if verdict == 1 else 1 - probability:.3f}"
