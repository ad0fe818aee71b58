"""Both-order accuracy and votes, with policies whose scores are known."""

import itertools
import json
import re
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image

from r1reward_jax.evals import evaluate, judging, metrics
from r1reward_jax.evals.journal import Journal, judgement_row, read_judged, record_row
from r1reward_jax.evals.voting import majority
from r1reward_jax.prompts import TEMPLATES
from r1reward_jax.types import Completion, InputError, PreferenceRecord, VideoPart

RECORDS = [
    PreferenceRecord(str(i), f"Question {i}?", (f"first {i}", f"second {i}"), 1 + i % 2)
    for i in range(10)
]


class Scripted:
    """An engine whose answer is a function of (record index, order, sample). Prompts end in an odd
    order, as those of a real one do."""

    slots = 2  # a call is of four records
    config = SimpleNamespace(answers=())

    def __init__(self, answer, short=False):
        self.answer, self.short, self.calls = answer, short, []

    @property
    def processor(self):
        encode = lambda prompt: SimpleNamespace(text=prompt, token_ids=[0] * 9)  # noqa: E731
        return SimpleNamespace(misfit=self.misfit, encode=encode, decode=str)

    def misfit(self, prompt):
        """Prompts about question 3 are too long."""
        return "long" if self.short and "Question 3?" in prompt.content[-1] else None

    def generate(
        self, params, prompts, *, samples, temperature, seed, first_row, should_stop, on_done, **_
    ):
        self.calls.append((first_row, len(prompts), temperature, seed))
        for place in sorted(range(len(prompts)), key=lambda p: (p % 3, p)):
            text = prompts[place].text.content[-1]
            i = next(i for i in range(len(RECORDS)) if f"Question {i}?" in text)
            order = int(text.index(f"first {i}") > text.index(f"second {i}"))
            written = {}
            for k in range(samples):
                if should_stop and should_stop(written):
                    left = {k: Completion("", (), "stopped") for k in range(k, samples)}
                    written |= left
                    break
                written[k] = Completion(self.answer(i, order, k), (1, 2, 3), "eos")
            on_done(place, list(written.values()))


def judged(answer, samples=1, short=False):
    return evaluate.judge(
        Scripted(answer, short),
        {},
        RECORDS,
        TEMPLATES["full"],
        temperatures=(0.0,) * samples,
        seed=0,
        threads=2,
    )


def write(verdict):
    return f"<think>a</think><answer>{verdict}</answer>"


def right(i, order):
    return RECORDS[i].preferred if order == 0 else 3 - RECORDS[i].preferred


def test_always_one_is_at_chance():
    found = metrics.describe(judged(lambda i, order, k: write(1)))
    assert found["accuracy"] == 0.5 and found["strict_accuracy"] == 0.0
    assert found["flip_rate"] == 1.0 and found["verdict_1_share"] == 1.0


def test_prompts_that_are_too_long_are_skipped_and_not_wrong():
    pairs = judged(lambda i, order, k: write(1), samples=2, short=True)
    judgements = metrics.judgements_of(pairs)
    assert [j.skipped for j in judgements] == [i in (6, 7) for i in range(20)]
    assert judgements[6].position is None and judgements[6].votes == (None,)
    assert judgements[6].completions == ()
    assert judgements[6].reason == "long" and pairs[3].skipped == "long"
    found = metrics.describe(pairs)
    # always 1 is right in one of two orders
    assert found["skipped"] == 1 and found["accuracy"] == 0.5 and found["format_share"] == 1.0
    assert metrics.accuracy(pairs) == metrics.sample_accuracy(pairs) == 0.5
    with pytest.raises(InputError, match="none of 1 records could be shown.*long"):
        metrics.describe(pairs[3:4])


def test_a_perfect_judge():
    found = metrics.describe(judged(lambda i, order, k: write(right(i, order))))
    assert found["accuracy"] == found["strict_accuracy"] == found["format_share"] == 1.0
    assert found["flip_rate"] == 0.0 and found["verdict_1_share"] == 0.5


def test_right_in_the_first_order_only():
    found = metrics.describe(
        judged(lambda i, order, k: write(RECORDS[i].preferred))  # sticks to a position
    )
    assert found["first_order_accuracy"] == 1.0 and found["second_order_accuracy"] == 0.0
    assert found["accuracy"] == 0.5


def test_unparsable_is_wrong():
    found = metrics.describe(judged(lambda i, order, k: "no idea"))
    assert found["accuracy"] == 0.0 and found["unparsable_share"] == 1.0
    assert found["format_share"] == 0.0 and found["flip_rate"] == 0.0


def test_votes_beat_single_samples():
    pairs = judged(
        lambda i, order, k: write(3 - right(i, order) if k in (0, 2, 4) else right(i, order)),
        samples=6,
    )
    assert metrics.accuracy(pairs) == 0.0
    assert metrics.sample_accuracy(pairs) == pytest.approx(0.6)
    assert metrics.vote_accuracy(pairs) == 1.0
    assert metrics.vote_share(pairs, lambda text: text == write(1)) == 0.5
    assert metrics.mean_vote_tokens(pairs) == 3


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
            *(Scripted(None), {}, bare, TEMPLATES["full"]), temperatures=(0.0,), seed=0, threads=1
        )


def test_blank_images_keep_their_size(world):
    record = world[1]["heldout"][0]
    (blank,) = evaluate.without_images([record])
    assert blank.images[0].size == (84, 84)
    assert len(blank.images[0].getcolors()) == 1
    assert blank.responses == record.responses


def rows_of(engine, done=0, rule=None):
    """The lines that an evaluation writes."""
    judgements = []
    evaluate.judge_each(
        engine,
        {},
        RECORDS,
        TEMPLATES["full"],
        judgements.append,
        temperatures=(0.0, *[1.0] * 5),
        seed=7,
        threads=2,
        done=done,
        rule=rule,
    )
    return [judgement_row(RECORDS[i // 2], j, i) for i, j in enumerate(judgements, done)]


def test_judgements_leave_in_order_and_go_on_where_they_stood():
    """A batch of which something is missing is done again as a whole, with its own first row."""
    answer = lambda i, order, k: write(1 + (i + order + k) % 2)  # noqa: E731
    whole = rows_of(Scripted(answer, short=True))
    assert [(r["row"], r["order"]) for r in whole] == [(i // 2, 1 + i % 2) for i in range(20)]
    for done in (1, 7, 8, 13):
        engine = Scripted(answer, short=True)
        assert rows_of(engine, done) == whole[done:]
        assert [first for first, *_ in engine.calls] == list(range(done // 8 * 8, 20, 8))
    engine = Scripted(answer, short=True)
    assert rows_of(engine, 20) == [] == engine.calls
    assert rows_of(engine) and engine.calls[0] == (0, 6, (0.0, *[1.0] * 5), 7)  # two are too long


def test_votes_are_read_back_as_they_were(tmp_path):
    """The greedy text has no vote; lines are torn off where a process was killed."""
    rows = rows_of(Scripted(lambda i, order, k: write(1 if k == 0 else 2), short=True))
    path = tmp_path / "judgements.jsonl"
    with Journal(str(path), 20) as journal:
        for row in rows[:5]:
            journal.write(row)
    path.write_text(path.read_text() + json.dumps(rows[5])[:40])
    with Journal(str(path), 20) as journal:
        assert journal.done == 5
        for row in rows[5:]:
            journal.write(row)
    assert path.read_text() == "".join(json.dumps(row) + "\n" for row in rows)
    found = read_judged(str(path))
    assert [j.row for j in found] == list(range(10)) and found[3].orders[0].skipped
    shown = found[4].orders[1]
    assert (shown.position, shown.votes, shown.label) == (1, (2,) * 5, 2)
    assert (shown.verdict, shown.shown) == (2, (2, 1))
    assert shown.tokens == 3 and shown.vote_tokens == (3,) * 5 and shown.prompt_tokens == 9
    assert shown.well_formed and not shown.truncated and not shown.stopped and found[4].unit == "4"
    with pytest.raises(InputError, match="line 19 is not the judgement"):
        Journal(str(path), 18)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    with pytest.raises(InputError, match="line 1 is not"):
        Journal(str(path), 20)


def test_a_clear_vote_ends_early():
    """By the exact rule, three of four with one to come; neither the greedy text nor what cannot be
    read is a vote."""
    answer = lambda i, order, k: "no idea" if k == 2 else write(right(i, order))  # noqa: E731
    rows = rows_of(Scripted(answer), rule=lambda ones, twos, left: abs(ones - twos) > left)
    for row in rows:
        assert row["votes"] == [row["preferred"], None, *[row["preferred"]] * 2] and row["stopped"]
        assert row["vote_tokens"] == [3] * 4 and row["verdicts"] == (row["preferred"],)


def test_a_vote_waits_for_the_greedy_text():
    should_stop = evaluate._should_stop(lambda ones, twos, left: ones > left, 5, TEMPLATES["full"])
    votes = {k: Completion(write(1), (1,), "eos") for k in (1, 2, 3)}
    assert not should_stop(votes)
    assert should_stop(votes | {0: Completion("no idea", (1,), "eos")})
    assert not should_stop({0: votes[1], 1: votes[1], 2: votes[2]})


def test_images_without_a_path_are_told_apart():
    """In the lines, and so in the hash of what was judged."""
    names = [
        record_row(replace(RECORDS[0], images=(image,)))["images"][0]
        for image in (b"one", b"two", Image.new("RGB", (2, 2)), "a.png")
    ]
    assert len(set(names)) == 4 and names[3] == "a.png"
    assert all(re.fullmatch("embedded [0-9a-f]{16}", name) for name in names[:3])
    video = VideoPart(("x/0.png", "x/1.png"), 2.0)
    assert record_row(replace(RECORDS[0], video=video))["videos"] == ["x/0.png (2 frames)"]


def test_results_come_in_order_from_several_threads_and_not_too_early():
    """Two calls wait for one another; of ten items at most three are made before they are asked
    for."""
    both, made = threading.Barrier(2, timeout=60), []

    def double(i):
        both.wait()
        made.append(i)
        return 2 * i

    with judging.in_order(double, range(10), threads=2, ahead=3) as results:
        assert made == []
        assert [next(results) for _ in range(4)] == [0, 2, 4, 6]
        assert len(made) <= 4 + 3
        assert list(results) == [8, 10, 12, 14, 16, 18]
    broken = judging.in_order(broken_at_3, range(10), threads=2, ahead=3)
    with pytest.raises(InputError, match="record 3"), broken as results:
        assert list(itertools.islice(results, 3)) == [0, 1, 2]
        next(results)


def broken_at_3(i):
    if i == 3:
        raise InputError("record 3: not an image")
    return i


def test_an_evaluation_encodes_with_the_threads_that_it_was_given():
    """The next batch, too, before the engine is asked for it; the judgements stay the same."""
    seen, both = set(), threading.Barrier(2, timeout=60)

    class Watched(Scripted):
        @property
        def processor(self):
            processor = super().processor
            encode = processor.encode

            def watched(prompt):
                both.wait()
                seen.add(threading.get_ident())
                return encode(prompt)

            processor.encode = watched
            return processor

    answer = lambda i, order, k: write(1)  # noqa: E731
    engine = Watched(answer)
    pairs = evaluate.judge(
        *(engine, {}, RECORDS, TEMPLATES["full"]), temperatures=(0.0,), seed=0, threads=2
    )
    assert pairs == judged(answer) and len(seen) == 2
    assert threading.get_ident() not in seen
