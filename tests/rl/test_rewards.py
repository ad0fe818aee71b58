"""Rewards, by hand."""

import pytest

from r1reward_jax.prompts import parse_verdict
from r1reward_jax.rl.rewards import combine, consistency_reward, format_reward, result_reward


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
        format=format,
        result=result,
        consistency=consistency,
        format_weight=0.5,
        consistency_weight=0.5,
    )
    assert reward.total == total
    assert (reward.format, reward.result, reward.consistency) == (format, result, consistency)
