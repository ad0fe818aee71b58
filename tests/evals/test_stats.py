"""Intervals cover what they should, also where the two orders of a pair agree."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1reward_jax.evals import stats


def test_wilson_by_hand():
    # Newcombe (1998), table II: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    known = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605)}
    known |= {(0, 20): (0.0, 0.1611), (1, 29): (0.0061, 0.1718)}
    for (right, of), ends in known.items():
        assert stats.wilson(right, of) == pytest.approx(ends, abs=5e-5)
    assert stats.wilson(7, 7)[1] == 1.0


def test_effective_size_lies_between_clusters_and_items():
    clusters = np.repeat(np.arange(50), 2)
    ones = np.ones(100)
    same = np.repeat(np.arange(50) % 2, 2).astype(float)
    assert stats.effective_size(same, ones, clusters) == pytest.approx(50, rel=0.03)
    # four pairs with 2, 2, 1, 0 right: (5/8)(3/8) / (4/3 * 2.75 / 8^2)
    few = np.asarray([1, 1, 1, 1, 1, 0, 0, 0], float)
    by_hand = stats.effective_size(few, np.ones(8), np.repeat(np.arange(4), 2))
    assert by_hand == pytest.approx(45 / 11)
    opposite = np.tile([1.0, 0.0], 50)  # always says 1: its accuracy has no variance
    assert stats.effective_size(opposite, ones, clusters) == 100
    for edge in (np.zeros(100), ones):
        assert stats.effective_size(edge, ones, clusters) == 50
    # half of the items are left out: one of each cluster
    assert stats.effective_size(same, np.tile([1.0, 0.0], 50), clusters) <= 50


@pytest.mark.parametrize(("pairs", "share", "spread"), [(60, 0.7, 0), (60, 0.7, 3), (150, 0.9, 1)])
def test_clustered_intervals_cover(pairs, share, spread):
    """Accuracy over two orders whose results depend on the pair: Beta-distributed, more so with
    a larger spread."""
    rng = np.random.default_rng(0)
    clusters, hits, naive = np.repeat(np.arange(pairs), 2), 0, 0
    for _ in range(600):
        p = rng.beta(share / spread, (1 - share) / spread, pairs) if spread else share
        right = (rng.random((2, pairs)) < p).T.ravel().astype(float)
        low, high = stats.clustered(right, np.ones(2 * pairs), clusters)
        hits += low <= share <= high
        low, high = stats.wilson(right.sum(), 2 * pairs)
        naive += low <= share <= high
    assert 0.93 <= hits / 600 <= 0.98
    assert spread < 3 or naive / 600 < 0.92  # taking all items as independent does not


def test_bootstrap_covers_means_of_clusters():
    rng = np.random.default_rng(1)
    clusters, hits = np.repeat(np.arange(40), 3), 0
    for _ in range(200):
        lengths = np.repeat(rng.normal(100, 20, 40), 3) + rng.normal(0, 5, 120)
        sums = stats.cluster_sums(np.stack([lengths, np.ones(120)], 1), clusters)
        low, high = stats.bootstrap(sums, stats.ratio, draws=200)
        hits += low <= 100 <= high
    assert 0.90 <= hits / 200 <= 0.99


def test_bootstrap_is_seeded_and_knows_when_it_knows_nothing():
    sums = np.stack([np.arange(10.0), np.ones(10)], 1)
    first = stats.bootstrap(sums, stats.ratio)
    assert first == stats.bootstrap(sums, stats.ratio)
    assert first != stats.bootstrap(sums, stats.ratio, seed=1)
    assert stats.bootstrap(sums[:1], stats.ratio) is None
    assert stats.bootstrap(np.zeros((5, 2)), stats.ratio) is None


def test_bootstrap_in_chunks_draws_the_same(monkeypatch):
    sums = np.stack([np.arange(10.0), np.ones(10)], 1)
    whole = stats.resampled(sums, stats.ratio, draws=50)
    monkeypatch.setattr(stats, "CHUNK", 70)
    assert np.array_equal(whole, stats.resampled(sums, stats.ratio, draws=50))


def test_clusters_are_numbered_and_summed():
    clusters = stats.numbered(["b", "a", "b"])
    assert clusters.tolist() == [0, 1, 0]
    assert stats.cluster_sums([1.0, 2.0, 4.0], clusters).tolist() == [[5], [2]]


@given(st.integers(1, 40), st.data())
def test_intervals_hold_the_share(of, data):
    right = data.draw(st.integers(0, of))
    low, high = stats.wilson(right, of)
    assert 0 <= low <= right / of <= high <= 1


def by_enumeration(sums):
    """All ways to give the sums signs."""
    seen = [
        abs(sum(s * sign for s, sign in zip(sums, signs)))
        for signs in itertools.product([1, -1], repeat=len(sums))
    ]
    return sum(t >= abs(sum(sums)) for t in seen) / len(seen)


@given(st.lists(st.integers(-4, 4), max_size=9))
def test_sign_flips_are_those_of_all_signs(sums):
    assert stats.sign_flip_test(np.asarray(sums, int)) == pytest.approx(by_enumeration(sums))


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5))
def test_single_differences_are_mcnemars_exact_test(better, worse, same):
    n = better + worse
    tail = sum(math.comb(n, k) for k in range(max(better, worse), n + 1)) / 2**n
    sums = np.asarray([1] * better + [-1] * worse + [0] * same, int)
    assert stats.sign_flip_test(sums) == pytest.approx(min(1.0, 2 * tail), rel=1e-9)


def test_many_units_are_exact_to_the_last():
    assert stats.sign_flip_test(np.ones(1000, int)) == pytest.approx(2.0**-999, rel=1e-9)
    assert stats.sign_flip_test(np.asarray([2] * 2500 + [-1] * 2500)) < 1e-9


def test_false_alarms_are_as_rare_as_promised():
    rng = np.random.default_rng(0)
    p = [stats.sign_flip_test(rng.integers(-2, 3, 40)) for _ in range(600)]
    assert 0.02 < np.mean(np.asarray(p) <= 0.05) <= 0.07


def test_holm_by_hand():
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([0.6, 0.9]) == [1.0, 1.0] and stats.holm([]) == []
