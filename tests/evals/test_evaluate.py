"""Both-order accuracy and votes, with policies whose scores are known."""

from types import SimpleNamespace

import pytest

from r1reward_jax.evals import evaluate
from r1reward_jax.evals.voting import majority
from r1reward_jax.prompts import TEMPLATES
from r1reward_jax.types import Completion, InputError, PreferenceRecord

RECORDS = [
    PreferenceRecord(str(i), f"Question {i}?", (f"first {i}", f"second {i}"), 1 + i % 2)
    for i in range(10)
]


class Scripted:
    """An engine whose answer is a function of (record index, order, sample)."""

    rows = 7  # batches do not end with records

    def __init__(self, answer, short=False):
        self.answer, self.short = answer, short

    @property
    def processor(self):
        return SimpleNamespace(misfit=self.misfit, encode=lambda prompt: prompt)

    def misfit(self, prompt):
        """Prompts about question 3 are too long."""
        return "long" if self.short and "Question 3?" in prompt.content[-1] else None

    def generate(self, params, prompts, *, samples, temperature, seed, first_row, on_done):
        rows = [
            [Completion(self.answer(i // 2, i % 2, k), (1, 2, 3), "eos") for k in range(samples)]
            for i in range(first_row, first_row + len(prompts))
        ]
        return SimpleNamespace(completions=rows)


def judged(answer, samples=1, short=False):
    return evaluate.judge(
        Scripted(answer, short),
        {},
        RECORDS,
        TEMPLATES["full"],
        samples=samples,
        temperature=0.0,
        seed=0,
    )


def write(verdict):
    return f"<think>a</think><answer>{verdict}</answer>"


def right(i, order):
    return RECORDS[i].preferred if order == 0 else 3 - RECORDS[i].preferred


def test_always_one_is_at_chance():
    found = evaluate.describe(judged(lambda i, order, k: write(1)))
    assert found["accuracy"] == 0.5 and found["strict_accuracy"] == 0.0
    assert found["flip_rate"] == 1.0 and found["verdict_1_share"] == 1.0


def test_prompts_that_are_too_long_are_skipped_and_wrong():
    judgements = judged(lambda i, order, k: write(1), samples=2, short=True)
    assert [j.skipped for j in judgements] == [i in (6, 7) for i in range(20)]
    assert judgements[6].verdicts == (None, None) and judgements[6].completions == ()
    found = evaluate.describe(judgements)
    assert found["skipped"] == 2 and found["accuracy"] == 0.45 and found["format_share"] == 1.0


def test_a_perfect_judge():
    found = evaluate.describe(judged(lambda i, order, k: write(right(i, order))))
    assert found["accuracy"] == found["strict_accuracy"] == found["format_share"] == 1.0
    assert found["flip_rate"] == 0.0 and found["verdict_1_share"] == 0.5


def test_right_in_the_first_order_only():
    found = evaluate.describe(
        judged(lambda i, order, k: write(RECORDS[i].preferred))  # sticks to a position
    )
    assert found["first_order_accuracy"] == 1.0 and found["second_order_accuracy"] == 0.0
    assert found["accuracy"] == 0.5


def test_unparsable_is_wrong():
    found = evaluate.describe(judged(lambda i, order, k: "no idea"))
    assert found["accuracy"] == 0.0 and found["unparsable_share"] == 1.0
    assert found["format_share"] == 0.0 and found["flip_rate"] == 0.0


def test_votes_beat_single_samples():
    judgements = judged(
        lambda i, order, k: write(right(i, order) if k < 3 else 3 - right(i, order)), samples=5
    )
    assert evaluate.accuracy(judgements) == pytest.approx(0.6)
    assert evaluate.vote_accuracy(judgements) == 1.0


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [([1, 1, 2], 1), ([2], 2), ([1, 2], None), ([None, None, 2], 2), ([None], None), ([], None)],
)
def test_majority(verdicts, expected):
    assert majority(verdicts) == expected


def test_records_without_label_are_refused():
    bare = [PreferenceRecord("x", "?", ("a", "b"), None)]
    with pytest.raises(InputError, match="x"):
        evaluate.judge(
            Scripted(None), {}, bare, TEMPLATES["full"], samples=1, temperature=0, seed=0
        )


def test_blank_images_keep_their_size(world):
    record = world[1]["heldout"][0]
    (blank,) = evaluate.without_images([record])
    assert blank.images[0].size == (84, 84)
    assert len(blank.images[0].getcolors()) == 1
    assert blank.responses == record.responses
