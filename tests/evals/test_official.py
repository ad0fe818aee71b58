"""Numbers that are called official, against the benchmarks' own rules: written down once more here,
and by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1reward_jax.evals import sums
from r1reward_jax.evals.journal import read_judged
from r1reward_jax.evals.results import SCHEMA
from r1reward_jax.evals.summary import summarize
from r1reward_jax.evals.table import table
from r1reward_jax.evals.types import ORDERS, Judgement, PairJudgement
from r1reward_jax.evals.upgrade import current
from r1reward_jax.evals.voting import absolute_majority, is_settled
from r1reward_jax.responses import released
from r1reward_jax.types import other
from tests.evals.synthetic import rows, simulate

RESULTS = Path(__file__).parent.parent.parent / "docs" / "results"


def spelled(right, wrong, unread):
    """Votes on a pair in either order, as often right, wrong and unreadable."""
    return [1] * right + [2] * wrong + [None] * unread


def pair(row, *votes, group="", subgroup="", label=1, greedy=None):
    """From the votes in both orders about the better response (1) and the other one."""
    turn = {1: 1, 2: 2, None: None} if label == 1 else {1: 2, 2: 1, None: None}
    orders = []
    for swapped, (draws, shown) in enumerate(zip(votes, ORDERS, strict=True)):
        positions = [turn[v] for v in draws]
        positions = [v and other(v) for v in positions] if swapped else positions
        position = positions[0] if greedy is None else greedy
        preferred = other(label) if swapped else label
        orders.append(Judgement(preferred, position, votes=tuple(positions), shown=shown))
    return PairJudgement(row, f"id{row}", group, str(row), tuple(orders), subgroup=subgroup)


# ------------------------------------------------------------ VL-RewardBench

BY_HAND = [
    # right, wrong, unreadable of nine, and what its script says: right, wrong or left out
    ((5, 4, 0), "right"),
    ((4, 5, 0), "wrong"),
    ((4, 3, 2), "out"),  # leads, and has less than half of nine
    ((3, 4, 2), "out"),
    ((5, 0, 4), "right"),
    ((4, 0, 5), "out"),
    ((0, 4, 5), "out"),
    ((4, 4, 1), "out"),
    ((0, 0, 9), "out"),
    ((9, 0, 0), "right"),
    ((1, 0, 8), "out"),
    ((3, 6, 0), "wrong"),
]


def test_votes_of_vl_rewardbench_by_hand():
    judged = [
        pair(i, *[spelled(*votes)] * 2, label=1 + i % 2) for i, (votes, _) in enumerate(BY_HAND)
    ]
    s = summarize(judged, convention="left_out")
    nine = s.overall.votes[9]
    assert nine.official and nine.official_stored
    said = [what for _, what in BY_HAND]
    right, wrong = said.count("right"), said.count("wrong")
    assert (right, wrong) == (3, 2)
    assert (nine.official.right, nine.official.of) == (2 * right, 2 * (right + wrong))
    assert (nine.official_stored.right, nine.official_stored.of) == (right, right + wrong)
    # ours: who leads among those that can be read; 4 3 2, 4 0 5 and 1 0 8 are right, too
    assert (nine.readable.right, nine.readable.of) == (2 * 6, 2 * 10)
    assert (nine.accuracy.right, nine.accuracy.of) == (2 * 6, 2 * 12)


def by_its_rule(judgements, k):
    """VL-RewardBench's rule once more, from its words: agreement, disagreement and no match are
    counted among k draws, and what has more than half of all of them is the item's class."""
    agree = disagree = 0
    for label, votes in judgements:
        drawn = votes[:k]
        classes = {
            "agree": sum(v == label for v in drawn),
            "disagree": sum(v is not None and v != label for v in drawn),
            "no match": sum(v is None for v in drawn),
        }
        above = [name for name, count in classes.items() if count > len(drawn) / 2]
        agree, disagree = agree + (above == ["agree"]), disagree + (above == ["disagree"])
    return agree, agree + disagree


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 11), st.floats(0, 1), st.floats(0, 1))
def test_votes_of_vl_rewardbench_by_its_rule(seed, k, unread, skill):
    rng = np.random.default_rng(seed)
    draw = lambda: [  # noqa: E731
        None if rng.random() < unread else 1 if rng.random() < skill else 2 for _ in range(k)
    ]
    judged = [
        pair(i, draw(), draw(), group="gh"[i % 2], label=int(rng.integers(1, 3))) for i in range(12)
    ]
    s = summarize(judged, convention="left_out")
    for size in s.sizes:
        for name, part in {"overall": s.overall, **s.groups}.items():
            inside = [p for p in judged if name in ("overall", p.group)]
            d, orders = part.votes[size], [p.orders for p in inside]
            assert d.official and d.official_stored and d.official_swapped
            kinds = {
                d.official: [o for both in orders for o in both],
                d.official_stored: [both[0] for both in orders],
                d.official_swapped: [both[1] for both in orders],
            }
            for found, judgements in kinds.items():
                expected = by_its_rule([(j.label, j.votes) for j in judgements], size)
                assert (found.right, found.of) == expected
        shares = [s.groups[g].votes[size].official for g in s.groups]
        mean = s.macro and s.macro.votes[size].official
        if mean and all(share and share.of for share in shares):
            values = [share.right / share.of for share in shares if share]
            assert mean.value == pytest.approx(sum(values) / 2)


def test_the_whole_benchmark_with_random_votes():
    """1,250 pairs, each vote a coin, one in ten unreadable: fewer count officially than have a
    leader, and the two differ at every k of 3 and more; without unreadable votes and at odd k they
    are the same."""
    rng = np.random.default_rng(5)
    sizes = {"general": 183, "hallucination": 749, "reasoning": 318}
    names = [name for name, count in sizes.items() for _ in range(count)]
    for unread in (0.0, 0.1, 0.4):
        coins = rng.integers(1, 3, (1250, 2, 9)).astype(object)
        coins[rng.random(coins.shape) < unread] = None
        judged = [pair(i, *coins[i].tolist(), group=name) for i, name in enumerate(names)]
        s = summarize(judged, convention="left_out", expected=sizes, rows=1250)
        stored = [p.orders[0] for p in judged]
        for k in (1, 3, 5, 7, 9):
            d = s.overall.votes[k]
            assert d.official and d.official_stored
            found = d.official_stored.right, d.official_stored.of
            assert found == by_its_rule([(j.label, j.votes) for j in stored], k)
            assert (d.official.of < d.readable.of) == (unread > 0 and k > 1)
        assert s.overall.pairs == 1250
    d = s.overall.votes[9]
    assert d.official and d.official.of < 0.4 * d.readable.of


@given(st.lists(st.sampled_from([1, 2, None]), max_size=8), st.integers(0, 5))
def test_a_vote_is_settled_when_nothing_to_come_changes_it(votes, left):
    of = len(votes) + left
    ends = {absolute_majority([*votes, *[v] * left], of) for v in (1, 2, None)}
    assert is_settled(votes, of) == (len(ends) == 1)


def test_votes_that_ended_early_are_official_where_they_are_settled():
    def early(p):
        orders = (replace(j, votes=j.votes[:5], stopped=True) for j in p.orders)
        return replace(p, orders=tuple(orders))

    settled = [early(pair(i, spelled(5, 4, 0), spelled(5, 4, 0))) for i in range(3)]
    s = summarize(settled, convention="left_out", samples=9)
    assert s.overall.votes[9].official and s.overall.votes[9].official.right == 6
    open_ = early(pair(3, spelled(4, 0, 5), spelled(4, 5, 0)))
    s = summarize([*settled, open_], convention="left_out", samples=9)
    assert s.overall.votes[9].official is None and "2 judgements ended" in s.notes[-1]


# ------------------------------------------- what else is official, and is not


@pytest.mark.parametrize(
    ("convention", "greedy", "votes", "macro"),
    [
        ("left_out", (2, 3), True, True),
        ("coin", (2.5, 4), False, False),
        ("wrong", (2, 4), False, False),
        ("none", None, False, False),
    ],
)
def test_what_a_script_does_not_define_is_not_official(convention, greedy, votes, macro):
    judged = [
        pair(0, [1, 1, None], [2, 2, 1], group="x"),
        pair(1, [1, 1, 2], [None, 1, 1], group="y"),
    ]
    s = summarize(judged, convention=convention)
    found = s.overall.greedy.official
    assert (found and (found.right, found.of)) == greedy
    assert s.macro
    assert [d.official is not None for d in s.overall.votes.values()] == [votes] * 2
    assert (s.macro.greedy.official is not None) == macro
    assert (s.macro.votes[3].official is not None) == macro
    assert s.overall.both_orders and s.overall.both_orders.votes.official is None
    readable = s.overall.greedy.readable
    assert (readable.right, readable.of) == (2, 3)
    lines = table(s)
    assert any("official" in line and "right/of" in line for line in lines) == (greedy is not None)
    assert all(len(line) <= 100 for line in lines)
    json.dumps(s.to_json(), allow_nan=False)


def test_parts_of_multimodal_rewardbench():
    """Right, and of, by hand: math 1.5/4, coding 2/2, bias 0/2, toxicity 2/2, vqa 0.5/2."""
    kinds = [
        ("reasoning", "math", [1], [2]),
        ("reasoning", "math", [None], [2]),
        ("reasoning", "coding", [1], [1]),
        ("safety", "bias", [2], [2]),
        ("safety", "toxicity", [1], [1]),
        ("vqa", "", [None], [2]),
    ]
    judged = [
        pair(i, a, b, group=group, subgroup=sub) for i, (group, sub, a, b) in enumerate(kinds)
    ]
    s = summarize(judged, convention="coin")
    official = {
        name: (part.greedy.official.right, part.greedy.official.of)
        for name, part in {**s.groups, **s.subgroups}.items()
        if part.greedy.official
    }
    assert official == {
        "reasoning": (3.5, 6),
        "reasoning/math": (1.5, 4),
        "reasoning/coding": (2, 2),
        "safety": (2, 4),
        "safety/bias": (0, 2),
        "safety/toxicity": (2, 2),
        "vqa": (0.5, 2),
    }
    assert s.overall.greedy.official and s.overall.greedy.official.right == 6
    assert s.to_json()["subgroups"]["safety/bias"]["greedy"]["official"]["of"] == 2
    lines = [line.split()[0] for line in table(s) if line]
    begin = lines.index("reasoning")
    assert lines[begin : begin + 3] == ["reasoning", "reasoning/math", "reasoning/coding"]


def test_sums_are_checked(monkeypatch):
    judged = [replace(j, subgroup="ab"[j.row % 2]) for j in simulate(30)]
    s = summarize(judged, convention="coin")
    sums.require_sums("overall", s.overall, s.groups)
    odd = replace(s.groups["general"], pairs=s.groups["general"].pairs + 1)
    with pytest.raises(
        sums.SumError, match="overall and the sum of general, hall.*pairs: 30 and 31"
    ):
        sums.require_sums("overall", s.overall, dict(s.groups) | {"general": odd})
    with pytest.raises(
        sums.SumError, match="and the sum of general, hallucination differ in pairs"
    ):
        sums.require_sums("overall", s.overall, dict(list(s.groups.items())[:2]))
    # pairs that have no group are a part of their own
    summarize([replace(j, group="" if j.row % 3 else "x") for j in judged], convention="none")
    from r1reward_jax.evals import summary

    monkeypatch.setattr(summary, "_parts", lambda *given: {"x": judged[1:]})
    with pytest.raises(sums.SumError, match="overall"):
        summarize(judged, convention="none")


# -------------------------------------------------------- the authors' release


def test_numbers_as_the_release_reads_and_counts(tmp_path):
    """In its only order, the preferred response first, and in both."""
    texts = {
        # of the stored and the swapped order; the first response is better, but for row 3
        0: ("<answer>1</answer>", "<answer>2</answer>"),
        1: ("<answer>1.0</answer>", "<answer>1</answer><answer>2</answer>"),
        2: ("I take 2, no, 1", "Response 2"),
        3: ("<answer>1 or 2</answer>", "<answer>1</answer>"),
    }
    lines = []
    for row in rows([pair(i, [1], [1], label=2 if i == 3 else 1) for i in texts]):
        text = texts[row["row"]][row["order"] - 1]
        lines.append(json.dumps(row | {"texts": [text], "tokens": [5]}))
    path = tmp_path / "judgements.jsonl"
    path.write_text("\n".join(lines) + "\n")
    judged = read_judged(str(path), released("vl_rewardbench"))
    assert [j.released for p in judged for j in p.orders] == [1, 2, 1, 1, 1, 2, None, 1]
    found = summarize(judged, convention="left_out", released=True).overall.released
    assert found
    first, both = found.preferred_first, found.both_orders
    # rows 0 to 2 are stored with the better one first; 3 has it first where it is swapped
    assert (first.right, first.of, both.right, both.of) == (4, 4, 6, 8)
    assert summarize(judged, convention="left_out").overall.released is None


# ------------------------------------------------------------- earlier files


def test_numbers_of_earlier_versions_are_read():
    old = json.loads((RESULTS / "evaluate_quickstart.json").read_text())["rl"]
    assert old["schema"] == 1
    new = current(old)
    assert new and new["schema"] == SCHEMA and new["convention"] == "none"
    greedy, before = new["overall"]["greedy"], old["overall"]["greedy"]
    assert greedy["accuracy"] == before["release"] and greedy["readable"] == before["official"]
    assert greedy["official"] is None and greedy["flip_rate"] == before["flips"]
    assert new["overall"]["pass_at_k"] == old["overall"]["any_correct"]
    now = summarize(simulate(), convention="none").to_json()
    assert new.keys() == now.keys() and new["overall"].keys() == now["overall"].keys()
    assert new["overall"]["votes"]["9"].keys() >= now["overall"]["votes"]["9"].keys()
    public = current(old | {"benchmark": "vl_rewardbench"})
    assert public and public["overall"]["greedy"]["official"] == before["official"]
    assert public["overall"]["votes"]["9"]["official"] is None
    assert current(now) == now and current({"schema": 99}) is None
