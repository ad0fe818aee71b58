"""Intervals cover what they should, also where the two orders of a pair agree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1reward_jax.evals import stats as intervals


def test_wilson_by_hand():
    # Newcombe (1998), table II: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    known = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605)}
    known |= {(0, 20): (0.0, 0.1611), (1, 29): (0.0061, 0.1718)}
    for (right, of), ends in known.items():
        assert intervals.wilson(right, of) == pytest.approx(ends, abs=5e-5)
    assert intervals.wilson(7, 7)[1] == 1.0


def test_effective_size_lies_between_clusters_and_items():
    clusters = np.repeat(np.arange(50), 2)
    ones = np.ones(100)
    same = np.repeat(np.arange(50) % 2, 2).astype(float)
    assert intervals.effective_size(same, ones, clusters) == pytest.approx(50, rel=0.03)
    # four pairs with 2, 2, 1, 0 right: (5/8)(3/8) / (4/3 * 2.75 / 8^2)
    few = np.asarray([1, 1, 1, 1, 1, 0, 0, 0], float)
    by_hand = intervals.effective_size(few, np.ones(8), np.repeat(np.arange(4), 2))
    assert by_hand == pytest.approx(45 / 11)
    opposite = np.tile([1.0, 0.0], 50)  # always says 1: its accuracy has no variance
    assert intervals.effective_size(opposite, ones, clusters) == 100
    for edge in (np.zeros(100), ones):
        assert intervals.effective_size(edge, ones, clusters) == 50
    # half of the items are left out: one of each cluster
    assert intervals.effective_size(same, np.tile([1.0, 0.0], 50), clusters) <= 50


@pytest.mark.parametrize(("pairs", "share", "spread"), [(60, 0.7, 0), (60, 0.7, 3), (150, 0.9, 1)])
def test_clustered_intervals_cover(pairs, share, spread):
    """Accuracy over two orders whose results depend on the pair: Beta-distributed, more so with
    a larger spread."""
    rng = np.random.default_rng(0)
    clusters, hits, naive = np.repeat(np.arange(pairs), 2), 0, 0
    for _ in range(600):
        p = rng.beta(share / spread, (1 - share) / spread, pairs) if spread else share
        right = (rng.random((2, pairs)) < p).T.ravel().astype(float)
        low, high = intervals.clustered(right, np.ones(2 * pairs), clusters)
        hits += low <= share <= high
        low, high = intervals.wilson(right.sum(), 2 * pairs)
        naive += low <= share <= high
    assert 0.93 <= hits / 600 <= 0.98
    assert spread < 3 or naive / 600 < 0.92  # taking all items as independent does not


def test_bootstrap_covers_means_of_clusters():
    rng = np.random.default_rng(1)
    clusters, hits = np.repeat(np.arange(40), 3), 0
    for _ in range(200):
        lengths = np.repeat(rng.normal(100, 20, 40), 3) + rng.normal(0, 5, 120)
        sums = intervals.cluster_sums(np.stack([lengths, np.ones(120)], 1), clusters)
        low, high = intervals.bootstrap(sums, intervals.ratio, draws=200)
        hits += low <= 100 <= high
    assert 0.90 <= hits / 200 <= 0.99


def test_bootstrap_is_seeded_and_knows_when_it_knows_nothing():
    sums = np.stack([np.arange(10.0), np.ones(10)], 1)
    first = intervals.bootstrap(sums, intervals.ratio)
    assert first == intervals.bootstrap(sums, intervals.ratio)
    assert first != intervals.bootstrap(sums, intervals.ratio, seed=1)
    assert intervals.bootstrap(sums[:1], intervals.ratio) is None
    assert intervals.bootstrap(np.zeros((5, 2)), intervals.ratio) is None


def test_bootstrap_in_chunks_draws_the_same(monkeypatch):
    sums = np.stack([np.arange(10.0), np.ones(10)], 1)
    whole = intervals.resampled(sums, intervals.ratio, draws=50)
    monkeypatch.setattr(intervals, "CHUNK", 70)
    assert np.array_equal(whole, intervals.resampled(sums, intervals.ratio, draws=50))


def test_clusters_are_numbered_and_summed():
    clusters = intervals.numbered(["b", "a", "b"])
    assert clusters.tolist() == [0, 1, 0]
    assert intervals.cluster_sums([1.0, 2.0, 4.0], clusters).tolist() == [[5], [2]]


@given(st.integers(1, 40), st.data())
def test_intervals_hold_the_share(of, data):
    right = data.draw(st.integers(0, of))
    low, high = intervals.wilson(right, of)
    assert 0 <= low <= right / of <= high <= 1
