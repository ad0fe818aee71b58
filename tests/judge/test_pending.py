"""Rewards of a batch: the judge is asked where it matters, and failures are counted."""

from dataclasses import replace

import pytest

from r1reward_jax.judge.pending import PendingJudgements
from r1reward_jax.prompts import parse_analysis, parse_verdict
from r1reward_jax.rl.rewards import (
    RewardConfig,
    RewardWeights,
    combine,
    consistency_reward,
    score_completions,
)
from r1reward_jax.types import Completion, InputError

PAPER = RewardConfig(RewardWeights(0.5, 0.5, 0.0, 0.0, 0.0), "binary", 4, 6, 8)


class Judge:
    batch = 4

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def start(self, pairs):
        self.asked += pairs
        return lambda: [self.answers[a] for a, _ in pairs]

    def score(self, pairs):
        return self.start(pairs)()


def score(completions, labels, judge, settings, *, samples=1, order=None, **more):
    """As the loop does it: prompts are handed over as they end."""
    judging = PendingJudgements(judge, labels[::samples], samples)
    for place in order or range(len(labels) // samples):
        judging.add(place, completions[place * samples : (place + 1) * samples])
    return score_completions(completions, labels, judging.probabilities(), settings, **more)


def completions(*texts):
    return [Completion(t, (1,), "eos") for t in texts]


def text(analysis, verdict):
    return f"<think>{analysis}</think><answer>{verdict}</answer>"


def test_each_row_gets_its_own_reward():
    judge = Judge({"good": 0.9, "bad": 0.1, "mute": None, "broken": float("nan")})
    rows = completions(
        text("good", 1), text("bad", 1), text("good", 2), "junk", text("mute", 1), text("good", 3)
    )
    rows += completions(text("broken", 1))
    rewards, metrics = score(rows, [1] * 7, judge, PAPER)
    assert [r.total for r in rewards] == [2.0, 1.5, 0.5, 0.0, 1.5, 0.5, 1.5]
    assert metrics == {
        "judge/calls_count": 4,
        "judge/no_verdict_count": 2,
        "judge/agreement_frac": 0.5,
    }
    assert judge.asked == [("good", 1), ("bad", 1), ("mute", 1), ("broken", 1)]
    signed, _ = score(rows, [1] * 7, judge, replace(PAPER, consistency_mode="signed"))
    assert [r.total for r in signed] == [2.0, 1.0, 0.5, 0.0, 1.5, 0.5, 1.5]


def test_prompts_may_end_in_any_order():
    judge = Judge({"good": 0.9, "bad": 0.1, "mute": None})
    rows = completions(
        *(text(a, v) for a, v in [("good", 1), ("bad", 2), ("good", 2), ("bad", 1), ("mute", 2)]),
        "junk",
    )
    labels = [1, 1, 1, 1, 2, 2]
    expected = score(rows, labels, judge, PAPER)
    assert [r.total for r in expected[0]] == [2.0, 0.5, 0.5, 1.5, 1.5, 0.0]
    assert score(rows, labels, judge, PAPER, samples=2, order=[2, 0, 1]) == expected


def test_rewards_need_labels():
    with pytest.raises(InputError, match="prompt 1 has no label"):
        PendingJudgements(None, [1, None], 1)


def test_skipping_wrong_verdicts_changes_no_reward():
    """Consistency is multiplied by the result: asking everywhere gives the same totals."""
    judge = Judge({"good": 0.9, "bad": 0.1})
    rows = completions(*(text(a, v) for a in ("good", "bad") for v in (1, 2)))
    rewards, _ = score(rows, [1] * 4, judge, PAPER)
    for row, reward in zip(rows, rewards):
        everywhere = combine(
            PAPER.weights,
            format=1.0,
            result=float(parse_verdict(row.text) == 1),
            consistency=consistency_reward(judge.answers[parse_analysis(row.text)], "binary"),
            swap=0.0,
            repetition=0.0,
            overlong=0.0,
        )
        assert everywhere.total == reward.total


def test_without_a_judge_consistency_is_zero():
    rewards, metrics = score(completions(text("a", 1)), [1], None, PAPER)
    assert rewards[0].total == 1.5 and metrics["judge/calls_count"] == 0


def test_both_orders_earn_for_swap_consistency():
    """Rows 0 and 1 are one record in two orders, 2 and 3 another; only the first pair agrees."""
    settings = replace(PAPER, weights=RewardWeights(0.5, 0.5, 0.25, 0.0, 0.0))
    rows = completions(text("a", 1), text("a", 2), text("a", 1), text("a", 1))
    rewards, _ = score(rows, [1, 2, 1, 2], None, settings, swapped=[1, 0, 3, 2])
    assert [r.swap for r in rewards] == [1, 1, 0, 0]
    assert [r.total for r in rewards] == [1.75, 1.75, 1.5, 0.5]


def test_repetition_and_length_cost_what_they_weigh():
    settings = replace(PAPER, weights=RewardWeights(0.0, 0.0, 0.0, 1.0, 2.0), repetition_n=1)
    rows = [Completion("a a a a", (1,) * 7, "length"), Completion("a b c d", (1,) * 6, "eos")]
    rewards, _ = score(rows, [1, 1], None, settings)
    assert [r.repetition for r in rewards] == [0.75, 0.0]
    assert [r.overlong for r in rewards] == [0.5, 0.0]
    assert [r.total for r in rewards] == [-0.75 - 1.0, 0.0]
