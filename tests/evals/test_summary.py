"""The numbers of an evaluation: by hand, for models without a mind, and as a table."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1reward_jax.evals.journal import read_judged
from r1reward_jax.evals.summary import summarize
from r1reward_jax.evals.table import table
from r1reward_jax.evals.types import Judgement, PairJudgement
from r1reward_jax.evals.voting import decided, replay
from r1reward_jax.types import InputError, other
from tests.evals.synthetic import simulate, write_run


def pair(row, first, second, *, group="", unit=None, preferred=1):
    """From (verdict, votes) of each order, as positions."""
    orders = tuple(
        Judgement(label, verdict, votes=tuple(votes), vote_tokens=(10,) * len(votes), tokens=20)
        for label, (verdict, votes) in zip((preferred, other(preferred)), (first, second))
    )
    return PairJudgement(row, f"id{row}", group, unit or str(row), orders)


HAND = [
    pair(0, (1, [1, 1, 2]), (2, [2, 2, 2]), group="x", unit="u"),  # right, right
    pair(1, (1, [1, None, 2]), (1, [1, 1, 1]), group="x", unit="u"),  # right, wrong: flipped
    pair(2, (None, [None] * 3), (2, [2, 1, 2]), group="y", unit="v"),  # unparsable, right
]


def numbers(pairs, **about):
    """As JSON has them."""
    return summarize(pairs, **about).to_json()


def test_by_hand():
    s = numbers(HAND, convention="left_out", units=True)
    greedy, votes = s["overall"]["greedy"], s["overall"]["votes"]["3"]
    assert (greedy["accuracy"]["right"], greedy["accuracy"]["of"]) == (4, 6)
    assert (greedy["official"]["right"], greedy["official"]["of"]) == (4, 5)
    assert greedy["official"]["value"] == 0.8
    assert greedy["accuracy_stored"]["value"] == pytest.approx(2 / 3)
    assert greedy["official_stored"]["value"] == 1.0
    assert greedy["accuracy_swapped"]["value"] == pytest.approx(2 / 3)
    assert (greedy["strict"]["right"], greedy["strict"]["of"]) == (1, 3)
    assert (greedy["flip_rate"]["count"], greedy["flip_rate"]["of"]) == (1, 2)
    assert (greedy["says_1"]["count"], greedy["says_1"]["of"]) == (3, 5)
    assert (greedy["unparsable"]["count"], greedy["ties"]["count"]) == (1, 0)
    # majorities: 1, 2 | tie, 1 | none, 2
    assert (votes["accuracy"]["right"], votes["official"]["of"]) == (3, 4)
    assert (votes["ties"]["count"], votes["unparsable"]["count"]) == (1, 1)
    assert s["overall"]["pass_at_k"]["3"]["right"] == 4
    assert s["overall"]["pass_at_k"]["3"]["chance"] == 0.875
    assert s["overall"]["unparsable_votes"]["count"] == 4
    assert s["macro"]["greedy"]["accuracy"]["value"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert s["macro"]["greedy"]["official"]["value"] == pytest.approx((3 / 4 + 1) / 2)
    units = s["overall"]["units"]["greedy"]
    assert (units["stored"]["right"], units["stored"]["of"]) == (1, 2)
    assert (units["swapped"]["right"], units["mean"]["value"]) == (1, 0.5)
    assert (
        numbers(HAND[::-1], convention="wrong", units=True)["overall"]["units"]["greedy"] == units
    )
    assert s["groups"]["x"]["pairs"] == 2 and list(s["groups"]) == ["x", "y"]
    assert s["overall"]["tokens"] == {"prompt": 0, "greedy": 120, "votes": 180}
    assert s["overall"]["length"]["greedy"]["value"] == 20


def test_conventions_differ_only_for_what_is_missing():
    value = {
        c: numbers(HAND, convention=c)["overall"]["greedy"]["official"]
        for c in ("left_out", "coin", "wrong")
    }
    assert [v["right"] for v in value.values()] == [4, 4.5, 4]
    assert [v["of"] for v in value.values()] == [5, 6, 6]


def of_all(make, pairs=30):
    return [replace(j, orders=tuple(map(make, j.orders))) for j in simulate(pairs)]


def test_always_1():
    judged = of_all(lambda s: Judgement(s.label, 1, 0.9, (1,) * 5, (0.9,) * 5, 7, (7,) * 5))
    s = numbers(judged, convention="left_out")
    for decision in (s["overall"]["greedy"], s["overall"]["votes"]["5"], s["overall"]["weighted"]):
        assert decision["accuracy"]["value"] == decision["readable"]["value"] == 0.5
        assert decision["flip_rate"]["value"] == decision["says_1"]["value"] == 1.0
        assert decision["strict"]["value"] == 0
    for decision in (s["overall"]["greedy"], s["overall"]["votes"]["5"]):
        assert decision["official"]["value"] == 0.5
    assert s["overall"]["weighted"]["official"] is None  # no benchmark weighs votes
    assert s["overall"]["both_orders"]["votes"]["accuracy"]["value"] == 0  # nothing but ties
    assert s["overall"]["both_orders"]["votes"]["readable"]["value"] is None
    assert s["overall"]["both_orders"]["weighted"]["readable"]["of"] == 0
    assert s["overall"]["both_orders"]["votes"]["official"] is None


def test_never_parsable():
    judged = of_all(lambda s: Judgement(s.label, None, None, (None,) * 3, (None,) * 3, 9, (9,) * 3))
    s = numbers(judged, convention="left_out")
    greedy = s["overall"]["greedy"]
    assert greedy["accuracy"]["value"] == 0 and greedy["unparsable"]["value"] == 1.0
    empty = {"value": None, "low": None, "high": None, "right": 0, "of": 0}
    assert greedy["official"] == greedy["official_stored"] == empty
    assert (
        greedy["flip_rate"]["value"] is None and s["macro"]["greedy"]["official"]["value"] is None
    )
    (note,) = s["notes"]
    assert "no verdict could be parsed (greedy, voting@1, voting@3)" in note
    assert numbers(judged, convention="coin")["overall"]["greedy"]["official"]["value"] == 0.5
    lines = table(summarize(judged, convention="left_out"))
    assert not any("nan" in line.lower() for line in lines)


def test_scalar_models_have_neither_votes_nor_texts():
    summary = summarize(of_all(lambda s: Judgement(s.label, s.label, 0.7)), convention="wrong")
    s = summary.to_json()
    overall = s["overall"]
    assert overall["greedy"]["accuracy"]["value"] == 1.0 and s["sizes"] == []
    for name in ("format", "truncated", "weighted", "both_orders", "stopping", "units"):
        assert overall[name] is None
    assert overall["votes"] == overall["pass_at_k"] == {}
    assert overall["length"] == {"greedy": None, "votes": None}
    assert not any("tokens" in line or "voting" in line for line in table(summary))


def skipped(pair, reason):
    """A pair that could not be shown; its lines have votes all the same, without verdict."""
    none = {"position": None, "votes": (None,) * 3, "vote_tokens": (), "tokens": 0}
    orders = (replace(s, **none, skipped=True, reason=reason) for s in pair.orders)
    return replace(pair, orders=tuple(orders))


def test_records_that_could_not_be_shown_are_in_no_number():
    reasons = ["20 images, the largest of buckets.images is 8"] * 2
    reasons[1] = reasons[1].replace("20", "31")
    gone = [skipped(replace(HAND[2], row=i), why) for i, why in enumerate(reasons, 3)]
    about = {"expected": {"x": 2, "y": 4, "z": 1}, "rows": 9, "units": True}
    s = numbers([*HAND, *gone], convention="left_out", **about)
    whole = numbers(HAND, convention="left_out", **about)
    for name in ("overall", "groups", "macro", "calibration"):
        for part in (s, whole):
            for each in (part["overall"], *part["groups"].values()):
                each.pop("skipped", None)
                each.pop("units", None)
        assert s[name] == whole[name]
    assert s["skipped"] == {
        "records": 2,
        "of": 5,
        "reasons": {reasons[0]: 2},
        "rows": [{"row": i, "id": "id2", "reason": why} for i, why in enumerate(reasons, 3)],
    }
    (note,) = s["notes"]
    assert note.startswith("2 of 5 records could not be shown to the model")
    assert "not in an official one" in note and reasons[0] in note
    # what the file lacks is told where it is read
    assert (s["overall"]["expected"], s["groups"]["y"]["expected"]) == (9, 4)
    assert list(s["groups"]) == ["x", "y"] and s["sizes"] == [1, 3]


def test_a_pair_that_was_shown_in_one_order_only_does_not_count():
    gone = skipped(HAND[2], "5,000 tokens, the largest of buckets.tokens is 4096")
    half = replace(HAND[2], orders=(HAND[2].orders[0], gone.orders[1]))
    s = numbers([*HAND[:2], half], convention="coin", units=True)
    assert s["overall"]["pairs"] == 2 and s["overall"]["greedy"]["accuracy"]["of"] == 4
    assert s["overall"]["units"]["greedy"]["stored"]["of"] == 1  # the unit u; v is not complete
    assert s["groups"]["y"]["pairs"] == 0 and s["groups"]["y"]["skipped"]["count"] == 1
    assert s["notes"][0].startswith("y: no record could be shown to the model (greedy, voting@1")


def test_nothing_that_could_be_shown_is_an_error():
    with pytest.raises(InputError, match="none of 3 records could be shown.*id0: a strip"):
        summarize([skipped(p, "a strip") for p in HAND], convention="none")


def test_what_was_not_asked_has_no_votes():
    """12 votes of 4 prompts were drawn."""
    s = numbers([*HAND[:2], skipped(HAND[2], "a strip")], convention="left_out")
    overall = s["overall"]
    assert (overall["unparsable_votes"]["count"], overall["unparsable_votes"]["of"]) == (1, 12)
    # 1 1 | 2 2 | 1 . 2 | 1 1: three of the judgements end a vote of 10 tokens early
    exact = overall["stopping"]["exact"]
    assert exact["votes_saved"] == {"value": 0.25, "count": 3, "of": 12}
    assert exact["tokens_saved"] == {"value": 0.25, "count": 30, "of": 120}
    assert (exact["changed"]["count"], exact["changed"]["of"]) == (0, 4)
    # 1, 2 | tie, 1
    assert (exact["accuracy"]["right"], exact["accuracy"]["of"]) == (2, 4)
    assert (exact["readable"]["right"], exact["readable"]["of"]) == (2, 3)


def test_votes_of_both_orders_are_scored_by_the_stored_label():
    """The second response is better: 2 2 1, and 1 1 2 of the swapped order, which is the same."""
    judged = pair(0, (2, [2, 2, 1]), (1, [1, 1, 2]), preferred=2)
    probabilities = (0.2, 0.2, 0.6), (0.8, 0.8, 0.4)
    orders = tuple(
        replace(s, vote_probabilities=p) for s, p in zip(judged.orders, probabilities, strict=True)
    )
    both = numbers([replace(judged, orders=orders)], convention="wrong")["overall"]["both_orders"]
    for name in ("votes", "weighted"):
        for label in ("accuracy", "readable"):
            assert (both[name][label]["right"], both[name][label]["of"]) == (1, 1)


def test_tokens_of_samples_that_were_stopped_count():
    judged = pair(0, (1, [1, 1]), (2, [2, 2, 2]))
    orders = replace(judged.orders[0], stopped=True, stopped_tokens=7), judged.orders[1]
    s = numbers([replace(judged, orders=orders)], convention="wrong", samples=3)
    assert s["overall"]["tokens"] == {"prompt": 0, "greedy": 40, "votes": 57}
    (note,) = s["notes"]
    assert "in 1 of 2 judgements, with 5 votes in all instead of 6" in note


def test_stopped_sampling_tells_only_what_is_valid():
    whole = simulate(60, unparsable=0.1)
    early = [replace(j, orders=tuple(_stopped(s) for s in j.orders)) for j in whole]
    full, s = (numbers(x, convention="left_out", samples=15) for x in (whole, early))
    assert s["sizes"] == [15] and list(s["overall"]["votes"]) == ["15"]
    for name in ("accuracy", "readable", "strict", "flip_rate", "ties", "says_1"):
        assert s["overall"]["votes"]["15"][name] == full["overall"]["votes"]["15"][name]
    # more than half of all votes is another question than who leads by more than what is left
    assert (
        full["overall"]["votes"]["15"]["official"] and not s["overall"]["votes"]["15"]["official"]
    )
    assert s["macro"]["votes"]["15"]["official"] is None
    assert "ended before more than half of all votes were certain" in s["notes"][-1]
    assert s["overall"]["stopping"] is s["overall"]["weighted"] is None
    assert s["overall"]["both_orders"] is None and s["overall"]["pass_at_k"] == {}
    assert s["overall"]["stopped"] > 50 and "sampling ended early" in s["notes"][-2]
    saved = 1 - s["overall"]["tokens"]["votes"] / full["overall"]["tokens"]["votes"]
    assert saved == pytest.approx(full["overall"]["stopping"]["exact"]["tokens_saved"]["value"])


def _stopped(shown):
    _, used, _ = replay(shown, decided)
    return replace(
        shown,
        votes=shown.votes[:used],
        vote_probabilities=shown.vote_probabilities[:used],
        vote_tokens=shown.vote_tokens[:used],
        stopped=used < len(shown.votes),
    )


def test_early_stopping_by_replay():
    stopping = numbers(simulate(), convention="left_out")["overall"]["stopping"]
    exact, posterior = stopping["exact"], stopping["posterior"]
    assert exact["changed"]["count"] == 0 and posterior["changed"]["value"] < 0.05
    assert 0.2 < exact["votes_saved"]["value"] < posterior["votes_saved"]["value"] < 0.7
    assert posterior["tokens_saved"]["of"] == sum(
        sum(s.vote_tokens) for j in simulate() for s in j.orders
    )


def test_pairs_of_a_unit_widen_the_interval():
    alone = [pair(i, (1 + i % 2, []), (2 - i % 2, [])) for i in range(40)]
    together = [replace(j, unit=str(j.row % 4)) for j in alone]
    width = lambda judged: (lambda r: r["high"] - r["low"])(  # noqa: E731
        numbers(judged, convention="wrong")["overall"]["greedy"]["accuracy"]
    )
    assert width(together) > 2 * width(alone)


shown = st.builds(
    lambda v, votes: (v, votes),
    st.sampled_from([1, 2, None]),
    st.lists(st.sampled_from([1, 2, None]), max_size=4),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(shown, shown, st.sampled_from("xy")), min_size=1, max_size=6))
def test_anything_is_json_and_a_table(pairs):
    judged = [pair(i, a, b, group=g, unit=f"u{i // 2}") for i, (a, b, g) in enumerate(pairs)]
    for convention in ("left_out", "coin", "wrong"):
        summary = summarize(judged, convention=convention, units=True)
        s = summary.to_json()
        json.dumps(s, allow_nan=False)
        assert all(len(line) <= 100 for line in table(summary))
        groups = s["groups"].values()
        for name in ("accuracy", "readable", "official"):
            total = s["overall"]["greedy"][name]
            assert total["right"] == sum(g["greedy"][name]["right"] for g in groups)
            assert total["of"] == sum(g["greedy"][name]["of"] for g in groups)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(shown, shown), min_size=1, max_size=6), st.data())
def test_labels_that_are_exchanged_change_nothing_but_the_orders(pairs, data):
    judged = [pair(i, a, b) for i, (a, b) in enumerate(pairs)]
    turned = [replace(j, orders=j.orders[::-1]) if data.draw(st.booleans()) else j for j in judged]
    a, b = (numbers(x, convention="left_out")["overall"]["greedy"] for x in (judged, turned))
    for name in ("accuracy", "readable", "official", "strict", "flip_rate", "says_1"):
        assert a[name] == b[name]


def test_the_table_reads_what_evaluate_wrote(tmp_path):
    judged = simulate()
    folder = write_run(tmp_path / "run", judged)
    assert read_judged(str(folder / "judgements.jsonl")) == judged
    lines = table(summarize(judged, convention="left_out", benchmark="vl_rewardbench", units=True))
    assert lines[0] == "vl_rewardbench: 200 pairs in both orders, 15 votes each"
    assert all(len(line) <= 100 for line in lines)
    text = "\n".join(lines)
    for part in (
        "greedy",
        "voting@15",
        "mean over groups",
        "pass@k, by chance",
        "Acc+",
        "flip rate",
    ):
        assert part in text
    assert "official left out" in lines[1]
