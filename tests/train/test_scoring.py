"""Rewards of a batch: the judge is asked where it matters, and failures are counted."""

from r1reward_jax.prompts import parse_analysis, parse_verdict
from r1reward_jax.train.scoring import score
from r1reward_jax.types import Completion

WEIGHTS = {"format_weight": 0.5, "consistency_weight": 0.5, "consistency_mode": "binary"}


class Judge:
    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def score(self, pairs):
        self.asked += pairs
        return [self.answers[a] for a, _ in pairs]


def completions(*texts):
    return [Completion(t, (1,), "eos") for t in texts]


def text(analysis, verdict):
    return f"<think>{analysis}</think><answer>{verdict}</answer>"


def test_each_row_gets_its_own_reward():
    judge = Judge({"good": 0.9, "bad": 0.1, "mute": None})
    rows = completions(
        text("good", 1), text("bad", 1), text("good", 2), "junk", text("mute", 1), text("good", 3)
    )
    rewards, metrics = score(rows, [1] * 6, judge, **WEIGHTS)
    assert [r.total for r in rewards] == [2.0, 1.5, 0.5, 0.0, 1.5, 0.5]
    assert metrics == {"judge/calls": 3, "judge/no_verdict": 1}
    assert judge.asked == [("good", 1), ("bad", 1), ("mute", 1)]


def test_skipping_wrong_verdicts_changes_no_reward():
    """Consistency is multiplied by the result: asking everywhere gives the same totals."""
    judge = Judge({"good": 0.9, "bad": 0.1})
    rows = completions(*(text(a, v) for a in ("good", "bad") for v in (1, 2)))
    rewards, _ = score(rows, [1] * 4, judge, **WEIGHTS)
    from r1reward_jax.rl.rewards import combine, consistency_reward

    for row, reward in zip(rows, rewards):
        everywhere = combine(
            format=1.0,
            result=float(parse_verdict(row.text) == 1),
            consistency=consistency_reward(judge.answers[parse_analysis(row.text)], "binary"),
            format_weight=0.5,
            consistency_weight=0.5,
        )
        assert everywhere.total == reward.total


def test_without_a_judge_consistency_is_zero():
    rewards, metrics = score(completions(text("a", 1)), [1], None, **WEIGHTS)
    assert rewards[0].total == 1.5 and metrics["judge/calls"] == 0
