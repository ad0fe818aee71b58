"""Votes, both orders together, and when it is safe to stop."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1reward_jax.evals import voting
from r1reward_jax.evals.types import Judgement, PairJudgement
from r1reward_jax.evals.voting import majority
from tests.evals.synthetic import simulate

verdicts = st.lists(st.sampled_from([1, 2, None]), max_size=15)


def test_weighted_votes_count_by_their_probability():
    # two weak votes for 1, one strong one for 2: 0.6 + 0.6 + 0.05 < 1.5
    assert majority([1, 1, 2]) == 1
    assert voting.weighted([1, 1, 2], [0.6, 0.6, 0.05]) == 2
    assert voting.weighted([1, 1, 2], [0.9, 0.9, 0.05]) == 1
    assert voting.weighted([1, 2], [0.9, 0.1]) is None  # 1.0 against 1.0
    # neither what cannot be read nor what has no probability votes
    assert voting.weighted([2, None, 1], [0.3, 0.9, None]) == 2
    assert voting.weighted([], []) is None and voting.weighted([None], [None]) is None


def shown(votes, probabilities=(), preferred=1):
    return Judgement(preferred, None, votes=tuple(votes), vote_probabilities=tuple(probabilities))


def test_both_orders_are_about_the_stored_responses():
    a, b = shown([1, 1, None], [0.6, 0.6, None]), shown([1, 1, 2], [0.9, 0.9, 0.4])
    # as stored 1, 1, 2, 2, 1; by probability 0.6 + 0.6 + 0.1 + 0.1 + 0.6 = 2.0 < 2.5
    assert voting.both_orders(a, b) == (1, 2)
    assert voting.both_orders(a, shown([2], [0.3])) == (1, 1)
    assert voting.both_orders(shown([]), shown([])) == (None, None)


@given(verdicts, st.data())
def test_a_model_that_sees_only_positions_ties_with_itself(votes, data):
    probability = st.floats(0, 1)
    p = [None if v is None else data.draw(probability) for v in votes]
    assert voting.both_orders(shown(votes, p), shown(votes, p, 2)) == (None, None)


def test_pass_at_k_beside_coins():
    assert voting.passed([2, None, 1], 1) and not voting.passed([2, None], 1)
    assert [voting.pass_chance(k) for k in (1, 2, 3)] == [0.5, 0.75, 0.875]


@given(st.integers(0, 6), st.integers(0, 6), st.integers(1, 4))
def test_decided_means_that_no_votes_can_change_it(ones, twos, left):
    so_far = [1] * ones + [2] * twos
    ends = {majority([*so_far, *more]) for more in itertools.product([1, 2, None], repeat=left)}
    assert voting.decided(ones, twos, left) == (len(ends) == 1)


def test_decided_by_hand():
    assert voting.decided(3, 0, 2) and voting.decided(0, 3, 2)
    assert not voting.decided(2, 0, 2)  # a tie can still come
    assert not voting.decided(1, 1, 0)  # a tie has come


def beta_binomial(a, b, m, k):
    """By its integral: the posterior Beta(a + 1, b + 1) of the share, exactly."""

    def beta(x, y):
        return Fraction(math.factorial(x - 1) * math.factorial(y - 1), math.factorial(x + y - 1))

    return math.comb(m, k) * beta(a + 1 + k, b + 1 + m - k) / beta(a + 1, b + 1)


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8))
def test_the_leader_stays_with_its_posterior_predictive_probability(ones, twos, left):
    a, b = max(ones, twos), min(ones, twos)
    chances = [beta_binomial(a, b, left, k) for k in range(left + 1)]
    assert sum(chances) == 1
    expected = sum(p for k, p in enumerate(chances) if a + k > b + left - k) if a > b else 0
    assert voting.leader_stays(ones, twos, left) == pytest.approx(float(expected), abs=1e-15)
    assert not voting.decided(ones, twos, left) or voting.probably_decided(ones, twos, left)


def test_the_posterior_by_hand():
    # after one vote for 1 with two to come, k for 1 of these has P = (1/6, 2/6, 3/6)
    assert voting.leader_stays(1, 0, 2) == pytest.approx(5 / 6)
    assert voting.leader_stays(0, 1, 2) == pytest.approx(5 / 6)
    assert voting.leader_stays(2, 2, 5) == 0 and voting.leader_stays(1, 0, 0) == 1
    assert not voting.probably_decided(1, 0, 2) and voting.probably_decided(1, 0, 2, level=0.8)
    assert voting.probably_decided(6, 0, 9) and not voting.decided(6, 0, 9)


def test_replay_stops_where_the_rule_holds():
    s = replace(shown([1, 1, None, 1, 2]), vote_tokens=(10, 20, 30, 40, 50))
    assert voting.replay(s, voting.decided) == (1, 4, 100)  # 3 : 0 with one to come
    assert voting.replay(s, lambda *_: False) == (1, 5, 150)
    assert voting.replay(s, lambda ones, twos, left: ones == 1) == (1, 1, 10)
    assert voting.replay(shown([]), voting.decided) == (None, 0, 0)
    with pytest.raises(ValueError, match="cannot be replayed"):
        voting.replay(replace(s, stopped=True), voting.decided)


@given(verdicts)
def test_the_exact_rule_never_changes_a_verdict(votes):
    verdict, used, _ = voting.replay(shown(votes), voting.RULES["exact"])
    assert verdict == majority(votes) and used <= len(votes)


def test_sizes_are_those_for_which_all_have_votes():
    judged = simulate(6, votes=10)
    assert voting.sizes(judged) == [1, 3, 5, 7, 9, 10]
    assert voting.sizes(simulate(6, votes=15)) == [1, 3, 5, 7, 9, 15]
    assert voting.sizes(simulate(6, votes=0)) == []
    first, second = judged[0].orders
    skipped = replace(judged[0], orders=(first, Judgement(second.label, None, skipped=True)))
    assert voting.sizes([skipped, *judged[1:]]) == [1, 3, 5, 7, 9, 10]
    early = replace(first, votes=(1, 1), stopped=True)
    stopped = [replace(judged[0], orders=(early, second)), *judged[1:]]
    assert voting.sizes(stopped) == [10] and voting.sizes(stopped, 10) == [10]
    alone = [PairJudgement(0, "a", "", "0", (early, replace(early, label=2)))]
    assert voting.sizes(alone, 15) == [15]
    assert voting.verdict_at(early, 15) == 1 and voting.verdict_at(early, 0) == first.position
