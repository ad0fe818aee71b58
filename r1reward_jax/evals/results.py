"""The numbers of an evaluation, as types; `to_json` gives what evaluation.json holds.

Accuracy is given under up to three conventions, side by side, each with its denominator:

    accuracy   an unparsable verdict or a tie is wrong
    readable   it leaves the denominator; of votes, the majority of those that can be read counts
    official   as the benchmark's own script has it; None for what that script does not define

What is official depends on the benchmark (`Convention`):

    left_out   VL-RewardBench (cal.py): no verdict leaves the denominator; a verdict of k votes
               needs more than half of all k, unreadable ones included; also the mean over groups
    coin       Multimodal RewardBench (2_get_accuracy.py): no verdict is a random choice, whose mean
               is half a point; one verdict per pair, so votes have no official number
    wrong      MM-RLHF-RewardBench (get_acc.py): no verdict is wrong; no votes either
    none       a file of one's own: nothing is official

A record that cannot be shown to the model is in none of them: `Skipped` counts it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, Literal, TypeVar

T = TypeVar("T")

SCHEMA = 2
"""Version of the JSON; `evals.upgrade` reads earlier ones."""

Convention = Literal["left_out", "coin", "wrong", "none"]


class Result:
    """A part of the numbers. In JSON it is an object with the fields in their order."""

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON has it: keys are strings, tuples are lists."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}  # pyright: ignore[reportArgumentType] (subclasses are dataclasses)
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
class PassAtK(Score):
    """pass@k: the share of judgements with a right verdict among their first k votes."""

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
    """The same number under the three conventions."""

    accuracy: T
    readable: T
    official: T | None = None


@dataclass(frozen=True)
class ByVotes(Result, Generic[T]):
    """The same number for the greedy verdicts and for the majority of the first K votes."""

    greedy: T
    votes: Mapping[int, T]


@dataclass(frozen=True)
class Decision(Result):
    """How good the verdicts of one kind are, and how they lean."""

    accuracy: Score
    """Over both orders, as `readable` and `official`."""
    accuracy_stored: Score
    accuracy_swapped: Score
    readable: Score
    official: Score | None
    official_stored: Score | None
    official_swapped: Score | None
    strict: Score
    """Pairs that are right in both orders."""
    flip_rate: Share
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
    """Units whose pairs are all right (Acc+; unparsable is wrong). Units of which a pair could not
    be shown are left out."""

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
    """Verdicts, by the majority of readable votes, that would have been others."""
    accuracy: Score
    readable: Score


@dataclass(frozen=True)
class Released(Result):
    """Greedy texts read as the code of R1-Reward's authors reads them (`responses.RELEASED`), where
    anything else than the right verdict is wrong."""

    preferred_first: Score
    """In the only order that the release asks in: the preferred response stands first."""
    both_orders: Score


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
    """Pairs that were judged."""
    expected: int | None
    """Pairs that the benchmark has; None if that is not known."""
    stopped: int
    """Judgements that got fewer votes, because the outcome was clear."""
    skipped: Share
    """Pairs that could not be shown to the model, of all pairs; no other number counts them."""
    format: Share | None
    """Greedy completions in the format of training; None without texts, as `truncated`."""
    truncated: Share | None
    """Greedy completions that ran into the length limit."""
    unparsable_votes: Share
    """Of the votes."""
    greedy: Decision
    released: Released | None
    """None for other formats than <answer> blocks, and without texts."""
    votes: Mapping[int, Decision]
    """By the majority of the first K votes."""
    weighted: Decision | None
    """Of all votes by probability; this and the next three are empty where sampling was stopped
    early, or without votes."""
    both_orders: BothOrders | None
    pass_at_k: Mapping[int, PassAtK]
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
class Skipped(Result):
    """Records that could not be shown to the model, and why."""

    records: int
    of: int
    """Records of the file, or of its part that was to be judged."""
    reasons: Mapping[str, int]
    """Reason -> records."""
    rows: tuple[Mapping[str, Any], ...]
    """Row (from 0), id and reason of each."""


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
    subgroups: Mapping[str, Slice]
    """By "group/subgroup", such as reasoning/math."""
    macro: ByVotes[ByConvention[Mean]] | None
    """Means over the groups, each counting the same; None with fewer than two."""
    notes: tuple[str, ...]
    """What a reader of the numbers must know."""
    skipped: Skipped
    settings: Mapping[str, Any]
    """How the model was asked and read, and what was read (`evals.settings`)."""
    calibration: Calibration
