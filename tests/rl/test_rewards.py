"""Rewards, by hand."""

import pytest

from r1reward_jax.prompts import parse_verdict
from r1reward_jax.rl.rewards import (
    RewardWeights,
    combine,
    consistency_reward,
    format_reward,
    overlong,
    repetition,
    result_reward,
    self_corrects,
    swap_consistency,
)


@pytest.mark.parametrize(
    ("text", "format", "verdict"),
    [
        ("<think>a</think><answer>1</answer>", 1, 1),
        ("<think>a\nb</think><answer>2</answer>", 1, 2),
        ("<think></think><answer>2</answer>", 1, 2),
        (" <think>a</think><answer>1</answer>", 0, 1),
        ("<think>a</think> <answer>1</answer>", 0, 1),
        ("<think>a</think><answer>1</answer>.", 0, 1),
        ("<think>a</think><think>b</think><answer>1</answer>", 0, 1),
        ("<think><think>a</think></think><answer>1</answer>", 0, 1),
        ("<think>a</think><answer>1</answer><answer>2</answer>", 0, None),
        ("<think>a <answer>1</answer></think><answer>1</answer>", 0, None),
        ("<think>a</think><answer>1 or 2</answer>", 1, None),
        ("<think>a</think><answer>10</answer>", 1, None),
        ("<think>a</think><answer>Response 1</answer>", 1, None),
        ("<think>a</think><answer></answer>", 1, None),
        ("<think>a</think><answer> 2\n</answer>", 1, 2),
        ("<think>a</think><answer>1", 0, None),
        ("1", 0, None),
        ("", 0, None),
    ],
)
def test_format_and_verdict(text, format, verdict):
    assert format_reward(text) == format
    assert parse_verdict(text) == verdict
    assert result_reward(text, 1) == float(verdict == 1)
    assert result_reward(text, 2) == float(verdict == 2)  # unparsable is never right


@pytest.mark.parametrize(
    ("probability", "binary", "signed"),
    [(1.0, 1, 1), (0.5, 1, 1), (0.499, 0, -1), (0.0, 0, -1), (None, 0, 0)],
)
def test_consistency(probability, binary, signed):
    assert consistency_reward(probability, "binary") == binary
    assert consistency_reward(probability, "signed") == signed


@pytest.mark.parametrize(
    ("format", "result", "consistency", "total"),
    [
        (1.0, 1.0, 1.0, 2.0),
        (1.0, 1.0, 0.0, 1.5),
        (1.0, 0.0, 1.0, 0.5),  # consistency alone earns nothing
        (0.0, 1.0, 1.0, 1.5),
        (1.0, 1.0, -1.0, 1.0),  # the release: right but inconsistent halves the result
        (0.0, 0.0, 0.0, 0.0),
    ],
)
def test_combination(format, result, consistency, total):
    reward = combine(
        RewardWeights(0.5, 0.5, 0.0, 0.0, 0.0),
        format=format,
        result=result,
        consistency=consistency,
        swap=1.0,
        repetition=1.0,
        overlong=1.0,
    )
    assert reward.total == total
    assert (reward.format, reward.result, reward.consistency) == (format, result, consistency)


def test_further_terms_count_by_their_weights():
    reward = combine(
        RewardWeights(0.5, 0.5, swap=0.25, repetition=2.0, length=4.0),
        format=1.0,
        result=1.0,
        consistency=1.0,
        swap=1.0,
        repetition=0.5,
        overlong=0.125,
    )
    assert reward.total == 2.0 + 0.25 - 1.0 - 0.5
    assert (reward.swap, reward.repetition, reward.overlong) == (1.0, 0.5, 0.125)


@pytest.mark.parametrize(
    ("verdict", "swapped", "value"),
    [(1, 2, 1), (2, 1, 1), (1, 1, 0), (2, 2, 0), (None, 1, 0), (1, None, 0), (None, None, 0)],
)
def test_swap_consistency(verdict, swapped, value):
    assert swap_consistency(verdict, swapped) == value


def test_repetition():
    assert repetition("a b a b a b", n=2) == pytest.approx(3 / 5)  # ab ba ab ba ab: 2 different
    assert repetition("one two three four", n=2) == 0
    assert repetition("short", n=4) == repetition("", n=1) == 0


def test_overlong():
    found = [overlong(n, start=6, limit=8) for n in (0, 6, 7, 8, 99)]
    assert found == [0, 0, 0.5, 1, 1]


@pytest.mark.parametrize(
    ("analysis", "revised"),
    [
        ("It is red. Wait, it is green.", True),
        ("So 1. On closer inspection the sign says stop.", True),
        ("I made a mistake above.", True),
        ("Let me recount the chairs.", True),
        ("Let me check the sign again.", True),
        ("I misread the sign.", True),
        ("Hmm, the second one fits.", True),
        ("Two people wait for the bus.", False),
        ("Let me read both responses.", False),
        ("Let me respond to the question.", False),
        ("The desk has a bottle of correction fluid.", False),
        ("The waiter holds on to his tray; this is actually red.", False),
        ("", False),
    ],
)
def test_self_correction(analysis, revised):
    assert self_corrects(analysis) == revised
