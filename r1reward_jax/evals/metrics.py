"""Scores: what verdicts earn, in both orders and under both conventions of `metrics`."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from r1reward_jax.evals import voting
from r1reward_jax.evals.stats import clustered, numbered
from r1reward_jax.evals.types import Judged, Shown
from r1reward_jax.types import Verdict

Convention = Literal["left_out", "coin", "wrong"]
Pair = tuple[Verdict | None, Verdict | None]
"""Verdicts in both orders, as positions."""

_MISSING: dict[str, tuple[float, float]] = {"left_out": (0, 0), "coin": (0.5, 1), "wrong": (0, 1)}
"""Points, and weight, of a judgement without verdict."""


def score(points: Sequence[tuple[float, float]], clusters: np.ndarray) -> dict[str, Any]:
    """A score of (points, weight) per item; clusters as in `intervals`."""
    right, of = np.asarray(points, np.float64).reshape(-1, 2).T
    total, count = float(right.sum()), int(of.sum())
    if not count:
        return {"value": None, "low": None, "high": None, "right": 0, "of": 0}
    low, high = clustered(right, of, clusters)
    exact = int(total) if total.is_integer() else total
    return {"value": total / count, "low": low, "high": high, "right": exact, "of": count}


def share(holds: Sequence[bool | None], clusters: np.ndarray) -> dict[str, Any]:
    """Share of the items that have a property; None is left out."""
    found = score([(0, 0) if h is None else (float(h), 1) for h in holds], clusters)
    return {("count" if key == "right" else key): value for key, value in found.items()}


def points(
    verdict: Verdict | None, preferred: Verdict, convention: Convention
) -> tuple[float, float]:
    """What a verdict earns, and what it counts."""
    return _MISSING[convention] if verdict is None else (float(verdict == preferred), 1)


def both_conventions(official: Convention) -> list[tuple[str, Convention]]:
    """Under which names scores are given, and what each makes of a missing verdict."""
    return [("release", "wrong"), ("official", official)]


def _labels(judged: Sequence[Judged]) -> list[tuple[Verdict, Verdict]]:
    return [(j.orders[0].preferred, j.orders[1].preferred) for j in judged]


def shown_of(judged: Sequence[Judged]) -> list[Shown]:
    return [s for j in judged for s in j.orders]


def clusters_of(judged: Sequence[Judged], each: int = 1) -> np.ndarray:
    """The cluster of each item, with so many items for a pair."""
    return numbered([j.unit for j in judged for _ in range(each)])


# --------------------------------------------------------------- decisions


def _decision(
    judged: Sequence[Judged],
    pairs: Sequence[Pair],
    convention: Convention,
    votes: Callable[[Shown], Sequence[Verdict | None]],
) -> dict[str, Any]:
    """
    Args:
      judged: the pairs that were judged.
      pairs: the verdict in each order.
      convention: the benchmark's.
      votes: what a judgement's verdict is made of.
    """
    labels, one, two = _labels(judged), clusters_of(judged), clusters_of(judged, 2)
    found: dict[str, Any] = {}
    for name, rule in both_conventions(convention):
        earned = [
            tuple(points(v, label, rule) for v, label in zip(pair, both))
            for pair, both in zip(pairs, labels)
        ]
        found[name] = score([p for both in earned for p in both], two)
        found[f"{name}_stored"] = score([both[0] for both in earned], one)
        found[f"{name}_swapped"] = score([both[1] for both in earned], one)
    shown = shown_of(judged)
    given = [v for pair in pairs for v in pair]
    tied = [v is None and any(votes(s)) for s, v in zip(shown, given)]
    missing = [v is None and not tie for v, tie in zip(given, tied)]
    return found | {
        "strict": score([(float(p == both), 1) for p, both in zip(pairs, labels)], one),
        "flips": share([None if None in pair else pair[0] == pair[1] for pair in pairs], one),
        "says_1": share([None if v is None else v == 1 for v in given], two),
        "unparsable": share([None if s.skipped else m for s, m in zip(shown, missing)], two),
        "ties": share(tied, two),
    }


def at(judged: Sequence[Judged], votes: int, convention: Convention) -> dict[str, Any]:
    """The decision of the greedy verdicts (0 votes), or of the first votes."""
    pairs: list[Pair] = [
        (voting.verdict_at(j.orders[0], votes), voting.verdict_at(j.orders[1], votes))
        for j in judged
    ]
    return _decision(judged, pairs, convention, lambda s: s.votes[:votes] if votes else ())


def weighted(judged: Sequence[Judged], convention: Convention) -> dict[str, Any] | None:
    if not any(p is not None for s in shown_of(judged) for p in s.vote_probabilities):
        return None
    pairs: list[Pair] = [
        (
            voting.weighted(j.orders[0].votes, j.orders[0].vote_probabilities),
            voting.weighted(j.orders[1].votes, j.orders[1].vote_probabilities),
        )
        for j in judged
    ]
    return _decision(judged, pairs, convention, lambda s: s.votes)


def both_orders(judged: Sequence[Judged], convention: Convention) -> dict[str, Any]:
    found = [voting.both_orders(*j.orders) for j in judged]
    clusters, result = clusters_of(judged), {}
    for i, name in enumerate(("votes", "weighted")):
        earned = {
            label: [points(f[i], j.orders[0].preferred, rule) for f, j in zip(found, judged)]
            for label, rule in both_conventions(convention)
        }
        result[name] = {label: score(each, clusters) for label, each in earned.items()}
    if not any(p is not None for s in shown_of(judged) for p in s.vote_probabilities):
        result["weighted"] = None
    return result


def acc_plus(judged: Sequence[Judged], votes: int) -> dict[str, Any]:
    """Scores of units whose pairs are all right: in each order, and both orders as two trials."""
    right: dict[str, list[bool]] = {}
    for j in judged:
        both = right.setdefault(j.unit, [True, True])
        for i, shown in enumerate(j.orders):
            both[i] &= voting.verdict_at(shown, votes) == shown.preferred
    stored, swapped = ([(float(both[i]), 1.0) for both in right.values()] for i in (0, 1))
    index = np.arange(len(right))
    return {
        "stored": score(stored, index),
        "swapped": score(swapped, index),
        "mean": score(stored + swapped, np.concatenate([index, index])),
    }
