"""Whether a model is right as often as it is sure, before and after both orders are averaged.

Each judgement gives a probability p that the first response, as stored, is the better one; those of
the swapped order are turned around. It comes from one of

    answer          the verdict's token, behind the greedy analysis (of a scalar model, its margin)
    votes           the share of votes, of those that can be read
    vote_answers    the verdict's token, mean over the votes

Confidence is max(p, 1 - p). Where p is one half there is no verdict, and half a point. So nothing
here depends on which response is stored first, not even where it is always the better one.
"""

from collections.abc import Callable, Sequence

import numpy as np

from r1reward_jax.evals.results import Bin, Calibration, Estimate, Figures, Source
from r1reward_jax.evals.stats import bootstrap, cluster_sums, numbered, ratio
from r1reward_jax.evals.types import Judgement, PairJudgement

BINS = 10
POINTS = 100
"""Number of points of a curve."""


def calibrate(pairs: Sequence[PairJudgement]) -> Calibration:
    """Return the calibration of all sources that the judgements have."""
    judgements = [j for pair in pairs for j in pair.orders]
    sources, notes = {}, []
    for name, probability in SOURCES.items():
        # votes that were stopped early are the ones that agree, so that their share says nothing
        if name != "answer" and any(j.stopped for j in judgements):
            if any(j.votes for j in judgements):
                notes.append(f"{name}: left out, since sampling was stopped early")
        elif any(probability(j) is not None for j in judgements):
            sources[name] = _source(pairs, probability)
            if missing := sources[name].single.missing:
                notes.append(
                    f"{name}: {missing} of {len(judgements)} judgements have no probability"
                )
    return Calibration(sources, tuple(notes))


# ----------------------------------------------------------- probabilities


def of_answer(judgement: Judgement) -> float | None:
    """Return the probability of position 1 by the greedy answer."""
    return judgement.first_probability


def of_votes(judgement: Judgement) -> float | None:
    """Return the share of votes for position 1; None without one that can be read."""
    given = [v for v in judgement.votes if v is not None]
    return given.count(1) / len(given) if given else None


def of_vote_answers(judgement: Judgement) -> float | None:
    """Return the mean probability of position 1 over the votes' answers; None without any."""
    given = [p for p in judgement.vote_probabilities if p is not None]
    return sum(given) / len(given) if given else None


SOURCES: dict[str, Callable[[Judgement], float | None]] = {
    "answer": of_answer,
    "votes": of_votes,
    "vote_answers": of_vote_answers,
}


def _source(
    pairs: Sequence[PairJudgement], probability: Callable[[Judgement], float | None]
) -> Source:
    stored = [_number(probability(pair.orders[0])) for pair in pairs]
    swapped = [1 - _number(probability(pair.orders[1])) for pair in pairs]
    p = np.asarray([stored, swapped])
    label = np.asarray([pair.orders[0].label == 1 for pair in pairs], np.float64)
    units = numbered([pair.unit for pair in pairs])
    return Source(
        stored=figures(p[0], label, units),
        swapped=figures(p[1], label, units),
        single=figures(p.ravel(), np.tile(label, 2), np.tile(units, 2)),
        averaged=figures(p.mean(axis=0), label, units),
    )


def _number(p: float | None) -> float:
    return np.nan if p is None else p


# ----------------------------------------------------------------- figures


def figures(p: np.ndarray, label: np.ndarray, clusters: np.ndarray) -> Figures:
    """Return all figures of a set of probabilities.

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
        return Figures(items=0, missing=missing)
    confidence, right = np.maximum(p, 1 - p), correctness(p, label)
    # without the items that were left out, numbers may be missing
    clusters = np.unique(clusters, return_inverse=True)[1]
    inside = np.eye(BINS)[bin_of(confidence)]
    sums = cluster_sums(
        np.hstack([inside, inside * confidence[:, None], inside * right[:, None]]), clusters
    )
    squares = cluster_sums(np.stack([(p - label) ** 2, np.ones_like(p)], axis=1), clusters)
    curve = accuracy_at_coverage(confidence, right)
    return Figures(
        items=len(p),
        missing=missing,
        accuracy=float(right.mean()),
        confidence=float(confidence.mean()),
        ece=_estimate(sums, _ece),
        brier=_estimate(squares, ratio),
        aurc=float(np.mean(1 - curve)),
        bins=_bins(sums.sum(axis=0)),
        curve=_thinned(curve),
    )


def correctness(p: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return 1 where the more probable response is the better one, else 0; half at p = 1/2."""
    return np.where(p == 0.5, 0.5, (p > 0.5) == (label > 0.5))


def bin_of(confidence: np.ndarray) -> np.ndarray:
    """Return the bin, from 0, of confidences in [0.5, 1]; each begins with its lower end."""
    # 0.55 begins a bin, whichever way its float is rounded
    return np.clip(((confidence - 0.5) * 2 * BINS + 1e-10).astype(np.int64), 0, BINS - 1)


def _ece(sums: np.ndarray) -> np.ndarray:
    """Return the expected calibration error, sum_b n_b |accuracy_b - confidence_b| / n, of sums
    over items [draws, 3 * BINS]: of ones, of confidence, of correctness, by bin."""
    count, confidence, right = np.split(sums, 3, axis=1)
    return np.abs(right - confidence).sum(axis=1) / count.sum(axis=1)


def _estimate(sums: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> Estimate:
    (value,) = statistic(sums.sum(axis=0, keepdims=True))
    low, high = bootstrap(sums, statistic) or (None, None)
    return Estimate(float(value), low, high)


def _bins(sums: np.ndarray) -> tuple[Bin, ...]:
    return tuple(
        Bin(
            low=0.5 + i / (2 * BINS),
            high=0.5 + (i + 1) / (2 * BINS),
            count=int(count),
            confidence=float(confidence / count) if count else None,
            accuracy=float(right / count) if count else None,
        )
        for i, (count, confidence, right) in enumerate(zip(*np.split(sums, 3)))
    )


def accuracy_at_coverage(confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the accuracy of the k most confident items, k = 1 .. n.

    Items of equal confidence count with their mean, which is what any order among them gives in
    expectation.
    """
    _, group = np.unique(-np.round(confidence, 12), return_inverse=True)
    mean = np.bincount(group, weights=right) / np.bincount(group)
    return np.cumsum(mean[np.sort(group)]) / np.arange(1, len(right) + 1)


def _thinned(curve: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Return (coverage, accuracy) at each hundredth of the items, rounded up to a whole item."""
    count = len(curve)
    return tuple(
        (i / POINTS, float(curve[-(-i * count // POINTS) - 1])) for i in range(1, POINTS + 1)
    )
