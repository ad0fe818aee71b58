"""The numbers of an evaluation, as types; `to_json` gives what evaluation.json holds.

Accuracy is given under two conventions, side by side. `release`: an unparsable verdict or a tie is
wrong, as in the code that the paper released. `official`: as the benchmark has it, by `convention`:

    left_out   such a judgement leaves the denominator (VL-RewardBench)
    coin       it earns half a point, the mean of a random choice (Multimodal RewardBench)
    wrong      the same as release (MM-RLHF-RewardBench)

A prompt that was too long to be asked is treated the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")

SCHEMA = 1
"""Version of the JSON; a reader refuses any other."""

Convention = Literal["left_out", "coin", "wrong"]


class Result:
    """A part of the numbers. In JSON it is an object with the fields in their order."""

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON has it: keys are strings, tuples are lists."""
        named = {f.metadata.get("json", f.name): getattr(self, f.name) for f in fields(self)}  # pyright: ignore[reportArgumentType] (subclasses are dataclasses)
        return {name: _plain(value) for name, value in named.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Result):
        return value.to_json()
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


# --------------------------------------------------------------- estimates


@dataclass(frozen=True)
class Estimate(Result):
    """A number with its 95 % interval; None where there is nothing to estimate it from."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Score(Estimate):
    """An accuracy: points over the judgements that count."""

    right: float
    """Points; a whole number unless there are half points."""
    of: int


@dataclass(frozen=True)
class AnyCorrect(Score):
    """The share of judgements with a right verdict among their first K votes."""

    chance: float
    """Chance level: the score of a coin per vote."""


@dataclass(frozen=True)
class Share(Estimate):
    """The share of items that have a property."""

    count: int
    of: int


@dataclass(frozen=True)
class Mean(Estimate):
    """A mean over items."""

    of: int


@dataclass(frozen=True)
class Saving(Result):
    """A part of a whole, such as the votes that a stopping rule would have saved."""

    value: float | None
    count: int
    of: int


# --------------------------------------------------------------- decisions


@dataclass(frozen=True)
class ByConvention(Result, Generic[T]):
    """The same number under both conventions."""

    release: T
    official: T


@dataclass(frozen=True)
class ByVotes(Result, Generic[T]):
    """The same number for the greedy verdicts and for the majority of the first K votes."""

    greedy: T
    votes: Mapping[int, T]


@dataclass(frozen=True)
class Decision(Result):
    """How good the verdicts of one kind are, and how they lean."""

    release: Score
    """Over both orders, as `official`."""
    release_stored: Score
    release_swapped: Score
    official: Score
    official_stored: Score
    official_swapped: Score
    strict: Score
    """Pairs that are right in both orders."""
    flips: Share
    """Pairs, both with a verdict, in which both orders name one position."""
    says_1: Share
    """Verdicts that name the response shown first."""
    unparsable: Share
    """Judgements, of those asked, without any readable verdict."""
    ties: Share
    """Judgements with as many votes for 1 as for 2."""


@dataclass(frozen=True)
class BothOrders(Result):
    """One verdict per pair, from the votes of both orders together."""

    votes: ByConvention[Score]
    weighted: ByConvention[Score] | None
    """By probability; None if no vote has one."""


@dataclass(frozen=True)
class AccPlus(Result):
    """Units whose pairs are all right (Acc+; unparsable is wrong)."""

    stored: Score
    swapped: Score
    mean: Score
    """Both orders, as two trials of a unit."""


@dataclass(frozen=True)
class Stopping(Result):
    """What a rule that ends a vote early would have saved and changed, by replay; savings and
    changes are those of prompts that were asked."""

    votes_saved: Saving
    tokens_saved: Saving
    changed: Share
    """Verdicts that would have been others."""
    release: Score
    official: Score


# ------------------------------------------------------------------ slices


@dataclass(frozen=True)
class Lengths(Result):
    """Mean tokens of a completion; None without completions."""

    greedy: Mean | None
    votes: Mean | None


@dataclass(frozen=True)
class Tokens(Result):
    """Tokens in all, those of samples that were stopped included."""

    prompt: int
    greedy: int
    votes: int


@dataclass(frozen=True)
class Slice(Result):
    """The numbers of some pairs: of a group, or of all."""

    pairs: int
    expected: int | None
    """Pairs that the benchmark has; None if that is not known."""
    stopped: int
    """Judgements that got fewer votes, because the outcome was clear."""
    skipped: Share
    """Prompts that were too long to be asked."""
    format: Share | None
    """Greedy completions in the format of training; None without texts, as `truncated`."""
    truncated: Share | None = field(metadata={"json": "cut"})
    """Greedy completions that ran into the length limit."""
    unparsable_votes: Share
    """Of the votes, of prompts that were asked."""
    greedy: Decision
    votes: Mapping[int, Decision]
    """By the majority of the first K votes."""
    weighted: Decision | None
    """Of all votes by probability; this and the next three are empty where sampling was stopped
    early, or without votes."""
    both_orders: BothOrders | None
    any_correct: Mapping[int, AnyCorrect]
    length: Lengths
    tokens: Tokens
    stopping: Mapping[str, Stopping] | None
    """By the names of `voting.RULES`."""
    units: ByVotes[AccPlus] | None
    """None where the benchmark does not count units."""


# ------------------------------------------------------------- calibration


@dataclass(frozen=True)
class Bin(Result):
    """Items whose confidence lies between `low` and `high`; the means are None without items."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Figures(Result):
    """The calibration of a set of probabilities; all but the counts is None without items."""

    items: int
    missing: int
    """Items without a probability, which are left out."""
    accuracy: float | None = None
    confidence: float | None = None
    """Mean of max(p, 1 - p)."""
    ece: Estimate | None = None
    """Expected calibration error; that of a finite sample is too high, and that of a bootstrap's
    draw a little more so."""
    brier: Estimate | None = None
    """Mean squared error of the probability."""
    aurc: float | None = None
    """Area under error against coverage."""
    bins: tuple[Bin, ...] | None = None
    """Ten of equal width."""
    curve: tuple[tuple[float, float], ...] | None = None
    """(coverage, accuracy) of the most confident items, by hundredths."""


@dataclass(frozen=True)
class Source(Result):
    """The calibration of the probabilities from one source."""

    stored: Figures
    swapped: Figures
    single: Figures
    """Both orders, as separate items."""
    averaged: Figures
    """The mean over both orders."""


@dataclass(frozen=True)
class Calibration(Result):
    """The calibration of all sources that the judgements have."""

    sources: Mapping[str, Source]
    notes: tuple[str, ...]


# ----------------------------------------------------------------- summary


@dataclass(frozen=True)
class Summary(Result):
    """All numbers of an evaluation."""

    benchmark: str
    model: str
    """Its folder."""
    schema: int
    convention: Convention
    sizes: tuple[int, ...]
    """The numbers of votes K that are reported."""
    overall: Slice
    groups: Mapping[str, Slice]
    macro: ByVotes[ByConvention[Mean]] | None
    """Means over the groups, each counting the same; None with fewer than two."""
    notes: tuple[str, ...]
    """What a reader of the numbers must know."""
    calibration: Calibration
