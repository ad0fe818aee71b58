"""Tournaments: the sorted order for a consistent judge, few comparisons in few calls, and no harm
from a judge that contradicts itself."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1reward_jax.inference.ranking import agreement, merge_sort, round_robin

SCORES = st.lists(st.integers(0, 9), min_size=1, max_size=64)


class Judge:
    """Prefers the higher score; equal ones tie. Keeps what it was asked."""

    def __init__(self, scores):
        self.scores, self.calls = scores, []

    def __call__(self, pairs):
        self.calls.append(pairs)
        return [0.5 + 0.5 * _sign(self.scores[i] - self.scores[j]) for i, j in pairs]

    @property
    def asked(self):
        return [pair for call in self.calls for pair in call]


def _sign(x):
    return (x > 0) - (x < 0)


def bound(count):
    return count * math.ceil(math.log2(count)) if count > 1 else 0


@given(SCORES)
@settings(deadline=None)
def test_a_consistent_judge_gets_the_sorted_order_and_ties_stay(scores):
    judge, expected = Judge(scores), sorted(range(len(scores)), key=lambda i: -scores[i])
    assert merge_sort(len(scores), judge) == expected
    assert len(judge.asked) <= bound(len(scores))
    assert len(set(judge.asked)) == len(judge.asked) and all(i < j for i, j in judge.asked)
    assert round_robin(len(scores), Judge(scores))[0] == expected


@given(st.integers(1, 40), st.integers(0, 10**6))
@settings(deadline=None)
def test_a_judge_that_contradicts_itself_gets_some_order_within_the_bound(count, seed):
    rng, asked = random.Random(seed), []

    def judge(pairs):
        asked.extend(pairs)
        return [rng.choice((0.0, 0.5, 1.0)) for _ in pairs]

    assert sorted(merge_sort(count, judge)) == list(range(count))
    assert len(asked) <= bound(count) and len(set(asked)) == len(asked)


@pytest.mark.parametrize("count", range(1, 65))
def test_comparisons_and_calls_of_every_size(count):
    scores = list(range(count))
    random.Random(count).shuffle(scores)
    judge = Judge(scores)
    assert merge_sort(count, judge)[0] == scores.index(count - 1)
    assert len(judge.asked) <= bound(count)
    # a level merges runs of 2 ** k with one call for two placed responses
    assert len(judge.calls) <= sum(2**k for k in range(math.ceil(math.log2(count))))
    if count > 1:
        assert judge.calls[0] == [(i, i + 1) for i in range(0, count - 1, 2)]


def test_calls_hold_one_level_only():
    judge = Judge([3, 1, 2, 0, 7, 5, 6, 4])
    merge_sort(8, judge)
    assert judge.calls == [
        [(0, 1), (2, 3), (4, 5), (6, 7)],
        [(0, 2), (1, 3), (4, 6), (5, 7)],
        [(1, 2), (5, 6)],
        [(0, 4), (3, 7)],
        [(0, 6), (1, 7)],
        [(0, 5), (2, 7)],
        [(0, 7)],
    ]


def test_all_against_all_in_one_call():
    judge = Judge([1, 3, 2])
    assert round_robin(3, judge) == ([1, 2, 0], [0.0, 1.0, 0.5])
    assert judge.calls == [[(0, 1), (0, 2), (1, 2)]]
    chances = {(0, 1): 0.9, (0, 2): 0.2, (1, 2): 0.7}
    order, means = round_robin(3, lambda pairs: [chances[p] for p in pairs])
    assert order == [0, 2, 1] and means == pytest.approx([0.55, 0.4, 0.55])


def test_one_response_and_none():
    nobody = Judge([])
    assert (merge_sort(0, nobody), merge_sort(1, nobody)) == ([], [0])
    assert round_robin(1, nobody) == ([0], [0.5]) and nobody.calls == []


def test_agreement_is_the_share_of_equal_choices():
    assert agreement([0, 1, 2, 3], [0, 1, 0, 0]) == 0.5
    with pytest.raises(ValueError):
        agreement([0], [0, 1])
