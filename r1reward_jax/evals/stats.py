"""Intervals of shares and means where the items come in clusters, and tests of two models.

The two orders of a pair are not two independent trials, nor are the pairs about one image. Shares
get a Wilson interval at the number of independent trials that their variance amounts to; other
numbers a bootstrap that draws whole clusters. Differences of two models get an exact test.

The bootstrap is not `scipy.stats.bootstrap`, which draws the same samples (they were seen to agree
but for rounding): that one gathers the items of every draw, which takes more than twice the time
for a statistic of 30 sums such as ECE, and it cannot draw several statistics jointly.
"""

import math
from collections.abc import Callable, Hashable, Sequence

import numpy as np

Z = 1.959964
"""Quantile of the normal distribution for an interval that covers 95 %."""
DRAWS = 1000
"""Samples that a bootstrap draws."""
CHUNK = 1 << 22
"""Counts of a bootstrap that are in memory at a time; the samples do not depend on it."""


def wilson(right: float, of: float, z: float = Z) -> tuple[float, float]:
    """Return Wilson's score interval (1927) of a share.

        (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Args:
      right: successes; not a whole number where there are half points.
      of: trials, more than 0.
      z: quantile of the normal distribution.

    Returns:
      Its ends, within [0, 1].
    """
    share = right / of
    middle = share + z * z / (2 * of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    low, high = (middle - half) / scale, (middle + half) / scale
    return (0.0 if right <= 0 else max(0.0, low)), (1.0 if right >= of else min(1.0, high))


def effective_size(right: np.ndarray, of: np.ndarray, clusters: np.ndarray) -> float:
    """Return the number of independent trials that a share over clustered items is worth.

    From the variance of a ratio of cluster sums, p = sum_c y_c / sum_c m_c:

        var = C / (C - 1) sum_c (y_c - p m_c)^2 / (sum_c m_c)^2,   n_eff = p (1 - p) / var

    It stays between what items that are the same throughout a cluster would give,
    (sum_c m_c)^2 / sum_c m_c^2 (the number of clusters, if all are of one size), and the number of
    items. At p = 0 and p = 1, where the variance says nothing, it is the number of clusters.

    Args:
      right: points of each item, from 0 to `of`.
      of: 1 for each item that counts, 0 for one that is left out.
      clusters: of each item, numbered from 0.
    """
    y = np.bincount(clusters, weights=right)
    m = np.bincount(clusters, weights=of)
    y, m = y[m > 0], m[m > 0]
    total = m.sum()
    share = y.sum() / total
    if len(m) < 2 or share <= 0 or share >= 1:
        return float(len(m))
    variance = len(m) / (len(m) - 1) * np.sum((y - share * m) ** 2) / total**2
    least = total**2 / np.sum(m**2)
    with np.errstate(divide="ignore"):
        return float(np.clip(share * (1 - share) / variance, least, total))


def clustered(right: np.ndarray, of: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """Return Wilson's interval of sum(right) / sum(of) at its effective size."""
    total = float(np.sum(of))
    size = effective_size(right, of, clusters)
    return wilson(float(np.sum(right)) / total * size, size)


def numbered(keys: Sequence[Hashable]) -> np.ndarray:
    """Return clusters as numbers from 0, in the order of their appearance."""
    index: dict[Hashable, int] = {}
    return np.asarray([index.setdefault(key, len(index)) for key in keys], np.int64)


def cluster_sums(
    values: Sequence[Sequence[float]] | np.ndarray, clusters: np.ndarray
) -> np.ndarray:
    """Return values [items, F] summed to [clusters, F]."""
    table = np.asarray(values, np.float64).reshape(len(clusters), -1)
    sums = np.zeros((int(clusters.max(initial=-1)) + 1, table.shape[1]))
    np.add.at(sums, clusters, table)
    return sums


def resampled(
    sums: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> np.ndarray:
    """Return a statistic of as many clusters as there are, drawn with replacement, many times.

    Args:
      sums: [clusters, F], what is summed over the items of each cluster.
      statistic: from sums over whole samples, [draws, F], to their values, [draws, …]; nan for one
        that has none.
      draws: how many times.
      seed: of the draws.
    """
    count = len(sums)
    rng = np.random.default_rng(seed)
    found, rows = [], max(1, CHUNK // count)
    for start in range(0, draws, rows):
        size = min(rows, draws - start)
        drawn = rng.integers(count, size=(size, count)) + np.arange(size)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        found.append(statistic(times.astype(np.float64) @ sums))
    return np.concatenate(found)


def bootstrap(
    sums: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Return the percentile interval of a statistic with one value; arguments as of `resampled`.

    Returns:
      Its ends at 2.5 and 97.5 %; None with fewer than two clusters, or if no draw has a value.
    """
    if len(sums) < 2:
        return None
    return percentiles(resampled(sums, statistic, draws=draws, seed=seed))


def percentiles(values: np.ndarray) -> tuple[float, float] | None:
    """Return the ends of the middle 95 % of the values that are not nan; None without any."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def ratio(sums: np.ndarray) -> np.ndarray:
    """Return the first of two sums over the second, [draws, 2] -> [draws]; nan where that is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan)


# ------------------------------------------------------------------- tests


def sign_flip_test(sums: np.ndarray) -> float:
    """Return the p-value of the exact two-sided permutation test of whole differences.

    If neither model is better, swapping their labels in any unit changes nothing: every sum has
    either sign with probability 1/2. The distribution of the total, sum_u +-|s_u|, is the
    convolution of these two-point distributions; the p-value is the probability of a total at
    least as far from 0. With differences of -1, 0 and 1 this is McNemar's exact test.

    Args:
      sums: [units], differences of scores in whole units, such as halves of a pair.

    Returns:
      The p-value, in (0, 1] up to what a float can hold.
    """
    steps = np.abs(sums[sums != 0])
    reach = int(steps.sum())
    # chances[i] is of the total 2 i - reach, which rises by 2 s where a sign turns
    chances = np.zeros(reach + 1)
    chances[0] = 1.0
    top = 0
    for step in map(int, steps):
        grown = chances[: top + step + 1].copy()
        grown[step:] += chances[: top + 1]
        top += step
        chances[: top + 1] = grown / 2
    totals = np.abs(2 * np.arange(reach + 1) - reach)
    return min(1.0, math.fsum(chances[totals >= abs(int(sums.sum()))]))


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm, 1979): the probability of any false alarm
    stays below the level at which they are read."""
    order, found, worst = np.argsort(p, kind="stable"), [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - rank) * p[i]))
        found[i] = worst
    return found
