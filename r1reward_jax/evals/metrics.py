"""What verdicts earn, in both orders and under the conventions of `results`."""

from collections.abc import Callable, Sequence

import numpy as np

from r1reward_jax.evals import voting
from r1reward_jax.evals.results import (
    AccPlus,
    BothOrders,
    ByConvention,
    Convention,
    Decision,
    Released,
    Score,
    Share,
)
from r1reward_jax.evals.stats import clustered, numbered
from r1reward_jax.evals.types import Judgement, PairJudgement
from r1reward_jax.prompts import well_formed
from r1reward_jax.types import InputError, Verdict

Positions = tuple[Verdict | None, Verdict | None]
"""Verdicts on a pair in both orders, as positions."""

_MISSING: dict[Convention, tuple[float, float]]
_MISSING = {"left_out": (0, 0), "coin": (0.5, 1), "wrong": (0, 1)}
"""Points, and weight, of a judgement without verdict."""
CONVENTIONS: tuple[Convention, Convention] = ("wrong", "left_out")
"""How `accuracy` and `readable` count such a judgement, whatever the benchmark does."""


def score(points: Sequence[tuple[float, float]], clusters: np.ndarray) -> Score:
    """Return the score of (points, weight) per item, with the interval of `stats.clustered`."""
    right, of = np.asarray(points, np.float64).reshape(-1, 2).T
    total, count = float(right.sum()), int(of.sum())
    if not count:
        return Score(None, None, None, 0, 0)
    low, high = clustered(right, of, clusters)
    # without half points JSON has a whole number
    return Score(total / count, low, high, int(total) if total.is_integer() else total, count)


def share(holds: Sequence[bool | None], clusters: np.ndarray) -> Share:
    """Return the share of the items that have a property; None is left out."""
    s = score([(0, 0) if h is None else (float(h), 1) for h in holds], clusters)
    return Share(s.value, s.low, s.high, int(s.right), s.of)


def points(
    verdict: Verdict | None, label: Verdict | None, convention: Convention
) -> tuple[float, float]:
    """Return what a verdict earns, and what it counts."""
    return _MISSING[convention] if verdict is None else (float(verdict == label), 1)


def judgements_of(pairs: Sequence[PairJudgement]) -> list[Judgement]:
    """Return the judgements of all pairs, both orders of a pair side by side."""
    return [judgement for pair in pairs for judgement in pair.orders]


def clusters_of(pairs: Sequence[PairJudgement], each: int = 1) -> np.ndarray:
    """Return the cluster of each item, its unit, where a pair has so many items."""
    return numbered([pair.unit for pair in pairs for _ in range(each)])


# --------------------------------------------------------------- decisions


def decide(pairs: Sequence[PairJudgement], votes: int, convention: Convention) -> Decision:
    """Return the decision of the greedy verdicts (0 votes), or of the majority of the first votes.

    Args:
      pairs: what was judged.
      votes: their number.
      convention: the benchmark's; of votes, "left_out" counts officially, which needs all of them
        or at least what is `undecided` to be none.
    """
    verdicts = [_positions(pair, lambda j: voting.verdict_at(j, votes)) for pair in pairs]
    official = None if convention == "none" else verdicts
    if votes:
        half = lambda j: voting.absolute_majority(j.votes[:votes], votes)  # noqa: E731
        voted = [_positions(pair, half) for pair in pairs]
        official = voted if convention == "left_out" else None
    return _decision(
        pairs, verdicts, official, convention, lambda j: j.votes[:votes] if votes else ()
    )


def undecided(pairs: Sequence[PairJudgement], votes: int) -> int:
    """Return how many judgements were stopped before more than half of all votes, or no such
    majority any more, were certain."""
    stopped = [j for j in judgements_of(pairs) if j.stopped]
    return sum(not voting.is_settled(j.votes[:votes], votes) for j in stopped)


def decide_weighted(pairs: Sequence[PairJudgement]) -> Decision | None:
    """Return the decision of all votes by probability, which no benchmark has; None if no vote has
    a probability."""
    if not _weighable(pairs):
        return None
    by_weight = lambda j: voting.weighted(j.votes, j.vote_probabilities)  # noqa: E731
    verdicts = [_positions(pair, by_weight) for pair in pairs]
    return _decision(pairs, verdicts, None, "none", lambda j: j.votes)


def _positions(pair: PairJudgement, verdict: Callable[[Judgement], Verdict | None]) -> Positions:
    stored, swapped = pair.orders
    return verdict(stored), verdict(swapped)


def _weighable(pairs: Sequence[PairJudgement]) -> bool:
    return any(p is not None for j in judgements_of(pairs) for p in j.vote_probabilities)


def _decision(
    pairs: Sequence[PairJudgement],
    verdicts: Sequence[Positions],
    official: Sequence[Positions] | None,
    convention: Convention,
    votes: Callable[[Judgement], Sequence[Verdict | None]],
) -> Decision:
    """
    Args:
      pairs: what was judged.
      verdicts: on each pair, in each order.
      official: those by the benchmark's own rule; None without one.
      convention: the benchmark's.
      votes: what a judgement's verdict is made of; empty for a greedy one.
    """
    labels = _labels(pairs)
    one, two = clusters_of(pairs), clusters_of(pairs, 2)

    def scores(given: Sequence[Positions], rule: Convention) -> tuple[Score, Score, Score]:
        stored, swapped = (
            [points(v[i], label[i], rule) for v, label in zip(given, labels)] for i in (0, 1)
        )
        both = [p for each in zip(stored, swapped) for p in each]
        return score(both, two), score(stored, one), score(swapped, one)

    judgements, given = judgements_of(pairs), [v for both in verdicts for v in both]
    tied = [v is None and any(votes(j)) for j, v in zip(judgements, given)]
    missing = [v is None and not tie for v, tie in zip(given, tied)]
    return Decision(
        *scores(verdicts, "wrong"),
        scores(verdicts, "left_out")[0],
        *((None, None, None) if official is None else scores(official, convention)),
        strict=score([(float(v == label), 1) for v, label in zip(verdicts, labels)], one),
        flip_rate=share([None if None in v else v[0] == v[1] for v in verdicts], one),
        says_1=share([None if v is None else v == 1 for v in given], two),
        unparsable=share(missing, two),
        ties=share(tied, two),
    )


def _labels(pairs: Sequence[PairJudgement]) -> list[Positions]:
    return [(pair.orders[0].label, pair.orders[1].label) for pair in pairs]


def as_released(pairs: Sequence[PairJudgement]) -> Released:
    """Return the scores of the greedy texts as the authors' release reads and counts them."""
    judgements = judgements_of(pairs)
    first = [float(j.released == 1) for j in judgements if j.label == 1]
    both = [float(j.released == j.label) for j in judgements]
    return Released(
        score([(right, 1) for right in first], clusters_of(pairs)),
        score([(right, 1) for right in both], clusters_of(pairs, 2)),
    )


def decide_both_orders(pairs: Sequence[PairJudgement]) -> BothOrders:
    """Return the scores of one verdict per pair, from the votes of both orders together."""
    verdicts = [voting.both_orders(*pair.orders) for pair in pairs]
    labels: list[Verdict | None] = [pair.orders[0].label for pair in pairs]
    clusters = clusters_of(pairs)

    def scores(which: int) -> ByConvention[Score]:
        accuracy, readable = (
            score([points(v[which], label, rule) for v, label in zip(verdicts, labels)], clusters)
            for rule in CONVENTIONS
        )
        return ByConvention(accuracy, readable)

    return BothOrders(scores(0), scores(1) if _weighable(pairs) else None)


def acc_plus(pairs: Sequence[PairJudgement], votes: int) -> AccPlus:
    """Return the scores of units whose pairs are all right: in each order, and both orders as two
    trials."""
    right: dict[str, list[bool]] = {}
    for pair in pairs:
        both = right.setdefault(pair.unit, [True, True])
        for i, judgement in enumerate(pair.orders):
            both[i] &= voting.verdict_at(judgement, votes) == judgement.label
    stored, swapped = ([(float(both[i]), 1.0) for both in right.values()] for i in (0, 1))
    index = np.arange(len(right))
    return AccPlus(
        score(stored, index),
        score(swapped, index),
        score(stored + swapped, np.concatenate([index, index])),
    )


# ---------------------------------------------------- while a model is trained


def shown(pairs: Sequence[PairJudgement]) -> list[PairJudgement]:
    """Return the pairs that were shown to the model in both orders, which are those that count.

    Raises:
      InputError: there are none.
    """
    found = [pair for pair in pairs if not pair.skipped]
    if not found:
        why = f"; {pairs[0].id}: {pairs[0].skipped}" if pairs else ""
        raise InputError(f"none of {len(pairs):,} records could be shown to the model{why}")
    return found


def accuracy(pairs: Sequence[PairJudgement]) -> float:
    """Return the share of greedy verdicts, over both orders, that are right; none is wrong. Here
    and below only pairs that were shown count."""
    return _mean([j.position == j.label for j in judgements_of(shown(pairs))])


def sample_accuracy(pairs: Sequence[PairJudgement]) -> float:
    """Return the share of single votes, over both orders, that are right."""
    return _mean([vote == j.label for j in judgements_of(shown(pairs)) for vote in j.votes])


def vote_accuracy(pairs: Sequence[PairJudgement]) -> float:
    """Return the share of judgements whose majority of all votes is right; ties are wrong."""
    return _mean([voting.majority(j.votes) == j.label for j in judgements_of(shown(pairs))])


def vote_share(pairs: Sequence[PairJudgement], holds: Callable[[str], bool]) -> float:
    """Return the share of the votes' texts that have a property."""
    return _mean([holds(c.text) for j in judgements_of(pairs) for c in j.completions[1:]])


def mean_vote_tokens(pairs: Sequence[PairJudgement]) -> float:
    """Return the mean length of the votes' completions."""
    return _mean([tokens for j in judgements_of(pairs) for tokens in j.vote_tokens])


def describe(pairs: Sequence[PairJudgement]) -> dict[str, float]:
    """Return accuracy and position bias of greedy verdicts, each as one number; format and length
    where there are texts. Pairs that could not be shown count in `skipped` alone. Flips are among
    pairs with a verdict in both orders, verdicts of 1 among those that can be read; 0 where there
    are none.

    Raises:
      InputError: no pair could be shown.
    """
    asked = shown(pairs)
    judgements, greedy = judgements_of(asked), decide(asked, 0, "none")
    numbers = {
        "accuracy": greedy.accuracy.value,
        "strict_accuracy": greedy.strict.value,
        "first_order_accuracy": greedy.accuracy_stored.value,
        "second_order_accuracy": greedy.accuracy_swapped.value,
        "flip_rate": greedy.flip_rate.value,
        "verdict_1_share": greedy.says_1.value,
        "unparsable_share": _mean([j.position is None for j in judgements]),
        "skipped": len(pairs) - len(asked),
    }
    if texts := [j for j in judgements if j.completions]:
        numbers["format_share"] = _mean([well_formed(j.text) for j in texts])
        numbers["truncated_share"] = _mean([j.truncated for j in texts])
        numbers["mean_response_tokens"] = _mean([j.tokens for j in texts])
    return {name: value or 0.0 for name, value in numbers.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
