"""Whether a model is right as often as it is sure, before and after both orders are averaged.

Each judgement gives a probability p that the first response, as stored, is the better one; swapped
orders are turned around. It comes from one of

    answer          the verdict's token, behind the greedy analysis (of a scalar model, its margin)
    votes           the share of votes, of those that can be read
    vote_answers    the verdict's token, mean over the votes

Confidence is max(p, 1 - p). Where p is one half there is no verdict, and half a point. So nothing
here depends on which response is stored first, not even where it is always the better one. Form:

    calibration  sources: {source: {stored, swapped, single, averaged: figures}}, where single is
                 both orders as separate items, averaged the mean over both; notes
    figures      items, missing (without probability: left out), and, null without items,
                 accuracy, confidence: means
                 ece, brier: {value, low, high}, by a bootstrap; a finite sample's ECE is
                 too high, and that of a bootstrap's draw a little more so
                 aurc: area under error against coverage
                 bins: [{low, high, count, confidence, accuracy}], ten of equal width
                 curve: [[coverage, accuracy]] of the most confident items, by hundredths
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from r1reward_jax.evals.stats import bootstrap, cluster_sums, numbered, ratio
from r1reward_jax.evals.types import Judged, Shown

BINS = 10
POINTS = 100
"""Of a curve."""


def calibration(judged: Sequence[Judged]) -> dict[str, Any]:
    """The calibration of all sources that the judgements have."""
    shown = [s for j in judged for s in j.orders]
    found, notes = {}, []
    for name, probability in SOURCES.items():
        if name != "answer" and any(s.stopped for s in shown):
            if any(s.votes for s in shown):
                notes.append(f"{name}: left out, since sampling was stopped early")
        elif any(probability(s) is not None for s in shown):
            found[name] = _source(judged, probability)
            missing = found[name]["single"]["missing"]
            if missing:
                notes.append(f"{name}: {missing} of {len(shown)} judgements have no probability")
    return {"sources": found, "notes": notes}


# ----------------------------------------------------------- probabilities


def of_answer(shown: Shown) -> float | None:
    """Of the verdict 1, by the greedy answer."""
    return shown.probability


def of_votes(shown: Shown) -> float | None:
    """Of the verdict 1, by the share of votes; None without one that can be read."""
    given = [v for v in shown.votes if v is not None]
    return given.count(1) / len(given) if given else None


def of_vote_answers(shown: Shown) -> float | None:
    """Of the verdict 1, by the mean over the votes' answers; None without any."""
    given = [p for p in shown.vote_probabilities if p is not None]
    return sum(given) / len(given) if given else None


SOURCES: dict[str, Callable[[Shown], float | None]] = {
    "answer": of_answer,
    "votes": of_votes,
    "vote_answers": of_vote_answers,
}


def _source(
    judged: Sequence[Judged], probability: Callable[[Shown], float | None]
) -> dict[str, Any]:
    stored = [_number(probability(j.orders[0])) for j in judged]
    swapped = [1 - _number(probability(j.orders[1])) for j in judged]
    p = np.asarray([stored, swapped])
    label = np.asarray([j.orders[0].preferred == 1 for j in judged], np.float64)
    units = numbered([j.unit for j in judged])
    return {
        "stored": figures(p[0], label, units),
        "swapped": figures(p[1], label, units),
        "single": figures(p.ravel(), np.tile(label, 2), np.tile(units, 2)),
        "averaged": figures(p.mean(axis=0), label, units),
    }


def _number(p: float | None) -> float:
    return np.nan if p is None else p


# ----------------------------------------------------------------- figures


def figures(p: np.ndarray, label: np.ndarray, clusters: np.ndarray) -> dict[str, Any]:
    """All figures of a set of probabilities.

    Args:
      p: [items], that the first response is better; nan for an item without.
      label: [items], 1 where it is, 0 where it is not.
      clusters: [items], numbered from 0; items of one belong together.
    """
    kept = np.isfinite(p)
    missing = int((~kept).sum())
    # p and 1 - p of two orders average to exactly one half
    p, label, clusters = np.round(p[kept], 12), label[kept], clusters[kept]
    if not len(p):
        names = ("accuracy", "confidence", "ece", "brier", "aurc", "bins", "curve")
        return {"items": 0, "missing": missing, **dict.fromkeys(names)}
    confidence, right = np.maximum(p, 1 - p), correctness(p, label)
    clusters = np.unique(clusters, return_inverse=True)[1]
    inside = np.eye(BINS)[bin_of(confidence)]
    sums = cluster_sums(
        np.hstack([inside, inside * confidence[:, None], inside * right[:, None]]), clusters
    )
    squares = cluster_sums(np.stack([(p - label) ** 2, np.ones_like(p)], axis=1), clusters)
    curve = accuracy_at_coverage(confidence, right)
    return {
        "items": len(p),
        "missing": missing,
        "accuracy": float(right.mean()),
        "confidence": float(confidence.mean()),
        "ece": _with_interval(sums, _ece),
        "brier": _with_interval(squares, ratio),
        "aurc": float(np.mean(1 - curve)),
        "bins": _bins(sums.sum(axis=0)),
        "curve": _thinned(curve),
    }


def correctness(p: np.ndarray, label: np.ndarray) -> np.ndarray:
    """1 where the more probable response is the better one, 0 where it is not; half at p = 1/2."""
    return np.where(p == 0.5, 0.5, (p > 0.5) == (label > 0.5))


def bin_of(confidence: np.ndarray) -> np.ndarray:
    """The bin, from 0, of confidences in [0.5, 1]; each begins with its lower end."""
    # a tenth of a billionth: 0.55 is the end of a bin, whichever way it is rounded
    return np.clip(((confidence - 0.5) * 2 * BINS + 1e-10).astype(np.int64), 0, BINS - 1)


def _ece(sums: np.ndarray) -> np.ndarray:
    """Expected calibration error, sum_b n_b |accuracy_b - confidence_b| / n, of sums over items
    [draws, 3 * BINS]: of ones, of confidence, of correctness, by bin."""
    count, confidence, right = np.split(sums, 3, axis=1)
    return np.abs(right - confidence).sum(axis=1) / count.sum(axis=1)


def _with_interval(
    sums: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]
) -> dict[str, float | None]:
    (value,) = statistic(sums.sum(axis=0, keepdims=True))
    low, high = bootstrap(sums, statistic) or (None, None)
    return {"value": float(value), "low": low, "high": high}


def _bins(sums: np.ndarray) -> list[dict[str, Any]]:
    rows = []
    for i, (count, confidence, right) in enumerate(zip(*np.split(sums, 3))):
        rows.append(
            {
                "low": 0.5 + i / (2 * BINS),
                "high": 0.5 + (i + 1) / (2 * BINS),
                "count": int(count),
                "confidence": float(confidence / count) if count else None,
                "accuracy": float(right / count) if count else None,
            }
        )
    return rows


def accuracy_at_coverage(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Accuracy of the k most confident items, k = 1 .. n.

    Items of equal confidence count with their mean, which is what any order among them gives in
    expectation.
    """
    _, group = np.unique(-np.round(confidence, 12), return_inverse=True)
    mean = np.bincount(group, weights=right) / np.bincount(group)
    return np.cumsum(mean[np.sort(group)]) / np.arange(1, len(right) + 1)


def _thinned(curve: np.ndarray) -> list[list[float]]:
    """[coverage, accuracy] at each hundredth of the items, the first of them rounded up."""
    count = len(curve)
    return [[i / POINTS, float(curve[-(-i * count // POINTS) - 1])] for i in range(1, POINTS + 1)]
