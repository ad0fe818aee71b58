"""What an iteration's judgements tell about the judge."""

from collections import Counter
from types import SimpleNamespace

from r1reward_jax.judge.watch import JudgeWatch
from r1reward_jax.runs.metrics import METRICS


def rows(*answers):
    return dict(enumerate(answers))


def test_reasons_are_counted_per_iteration():
    judge = SimpleNamespace(failures=Counter({"timeout": 3}), tokens=10)
    watch = JudgeWatch(judge)
    judge.failures.update({"no verdict": 2, "too long": 1, "http 500": 4, "retried": 5})
    judge.tokens += 32
    found = watch.look(1, rows(0.9, 0.1, None))
    assert found == {
        "judge/constant": 0.0,
        "judge/no_verdict_unclear_count": 2.0,
        "judge/no_verdict_too_long_count": 1.0,
        "judge/no_verdict_failed_count": 4.0,
        "judge/retries_count": 5.0,
        "judge/tokens_count": 32.0,
    }
    assert set(watch.look(2, {}).values()) == {0.0} and found.keys() <= METRICS.keys()


def test_answers_that_never_differ_are_said_once(capsys):
    watch = JudgeWatch(None)
    assert watch.look(1, rows(*[0.9] * 7))["judge/constant"] == 0.0  # too few to say
    assert watch.look(2, rows(*[0.9] * 8))["judge/constant"] == 1.0
    assert watch.look(3, rows(*[0.9] * 9))["judge/constant"] == 1.0
    watch.look(4, rows(*[None] * 8))
    watch.look(5, rows(*[0.1] * 8))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert "of 8 analyses of iteration 2 all support their verdict" in said[0]
    assert "iteration 4 there is no verdict on any" in said[1]
    assert "iteration 5 none supports its verdict" in said[2]


def test_a_judge_that_has_said_no_may_say_yes_to_all(capsys):
    watch = JudgeWatch(None)
    watch.look(1, rows(*[0.9] * 7, 0.1))
    assert watch.look(2, rows(*[0.9] * 8))["judge/constant"] == 1.0
    assert not capsys.readouterr().err
