"""Calibration: by hand, of a model that is calibrated, and of one that only looks at positions."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1reward_jax.evals import calibration as c
from r1reward_jax.evals.types import Judgement, PairJudgement
from r1reward_jax.types import other
from tests.evals.synthetic import simulate


def figures(p, label, clusters=None):
    clusters = np.arange(len(p)) if clusters is None else clusters
    found = c.figures(np.asarray(p, float), np.asarray(label, float), clusters)
    return found.to_json()


def calibration(pairs):
    return c.calibrate(pairs).to_json()


def test_by_hand():
    # confidences 0.9 (right), 0.9 (wrong), 0.6 (right), 0.6 (right)
    f = figures([0.9, 0.1, 0.6, 0.4], [1, 1, 1, 0])
    # bin of 0.9: accuracy 0.5, off by 0.4; bin of 0.6: accuracy 1, off by 0.4
    assert f["ece"]["value"] == pytest.approx(0.4)
    assert f["brier"]["value"] == pytest.approx((0.01 + 0.81 + 0.16 + 0.16) / 4)
    assert f["accuracy"] == 0.75 and f["confidence"] == pytest.approx(0.75)
    # error at coverage 1/4 .. 1, the two of 0.9 taken together: 1/2, 1/2, 1/3, 1/4
    assert f["aurc"] == pytest.approx((1 / 2 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    filled = {round(b["low"], 2): (b["count"], b["accuracy"]) for b in f["bins"] if b["count"]}
    assert filled == {0.6: (2, 1.0), 0.9: (2, 0.5)} and len(f["bins"]) == 10
    assert f["curve"][-1] == [1.0, 0.75] and f["curve"][0] == [0.01, 0.5]


def test_bins_begin_with_their_lower_end():
    ends = np.asarray([0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0])
    assert c.bin_of(ends).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]


def test_one_half_is_no_verdict():
    f = figures([0.5, 0.5], [1, 1])
    assert f["accuracy"] == 0.5 and f["ece"]["value"] == 0 and f["aurc"] == 0.5
    assert figures([np.nextafter(0.5, 0), np.nextafter(0.5, 1)], [1, 1]) == f  # rounding


def test_missing_probabilities_are_left_out():
    f = figures([np.nan, 0.9], [1, 1])
    assert (f["items"], f["missing"], f["accuracy"]) == (1, 1, 1.0)
    none = figures([np.nan], [1])
    assert (none["items"], none["missing"], none["ece"]) == (0, 1, None)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30))
def test_which_response_is_stored_first_does_not_matter(items):
    p, label = np.asarray([i[0] for i in items]), np.asarray([i[1] for i in items], float)
    a, b = figures(p, label), figures(1 - p, 1 - label)
    for name in ("accuracy", "confidence", "aurc"):
        assert a[name] == pytest.approx(b[name], abs=1e-9)
    assert a["brier"]["value"] == pytest.approx(b["brier"]["value"], abs=1e-9)
    assert 0 <= a["ece"]["value"] <= 1 and len(a["curve"]) <= 101
    json.dumps(a, allow_nan=False)


def test_the_area_does_not_depend_on_the_order_of_equal_items():
    rng = np.random.default_rng(0)
    confidence, right = rng.integers(5, 11, 60) / 10, rng.integers(0, 2, 60).astype(float)
    at = c.accuracy_at_coverage(confidence, right)
    turned = rng.permutation(60)
    assert np.allclose(at, c.accuracy_at_coverage(confidence[turned], right[turned]))
    drawn = []
    for _ in range(2000):  # the mean over random orders of equal items
        order = np.lexsort([rng.random(60), -confidence])
        drawn.append(np.cumsum(right[order]) / np.arange(1, 61))
    assert np.allclose(at, np.mean(drawn, axis=0), atol=0.05)


def test_a_calibrated_model_is_found_calibrated():
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    f = figures(p, rng.random(20_000) < p)
    assert f["ece"]["value"] < 0.01 and f["brier"]["value"] == pytest.approx(1 / 6, abs=0.005)
    assert f["brier"]["low"] < 1 / 6 < f["brier"]["high"]
    sure = figures(np.where(p > 0.5, 0.99, 0.01), rng.random(20_000) < p)
    assert sure["ece"]["low"] > 0.2


def always_1(votes):
    for i in range(20):
        label = 1 + i % 2
        orders = tuple(
            Judgement(v, 1, 0.9, (1,) * votes, (0.9,) * votes) for v in (label, other(label))
        )
        yield PairJudgement(i, str(i), "", str(i), orders)


def test_averaging_takes_the_confidence_of_a_model_that_looks_at_positions():
    found = calibration(list(always_1(3)))["sources"]
    assert list(found) == ["answer", "votes", "vote_answers"]
    for kinds in found.values():
        assert kinds["averaged"]["confidence"] == kinds["averaged"]["accuracy"] == 0.5
        assert kinds["averaged"]["ece"]["value"] == 0
    assert found["answer"]["single"]["ece"]["value"] == pytest.approx(0.4)
    assert found["votes"]["stored"]["confidence"] == 1.0


def test_sources():
    found = calibration(simulate())
    answer = found["sources"]["answer"]
    assert answer["single"]["items"] + answer["single"]["missing"] == 400
    assert answer["averaged"]["items"] <= min(answer[o]["items"] for o in ("stored", "swapped"))
    assert any("have no probability" in note for note in found["notes"])
    assert c.of_votes(Judgement(1, 1, votes=(1, 1, 2, None))) == pytest.approx(2 / 3)
    assert c.of_votes(Judgement(1, 1, votes=(None,))) is None
    assert c.of_vote_answers(Judgement(1, 1, vote_probabilities=(0.5, None, 0.7))) == pytest.approx(
        0.6
    )
    assert calibration(list(always_1(0)))["sources"].keys() == {"answer"}
    bare = [replace(j, orders=tuple(Judgement(s.label, 1) for s in j.orders)) for j in always_1(0)]
    assert calibration(bare) == {"sources": {}, "notes": []}


def test_votes_that_were_stopped_say_nothing_about_confidence():
    first, *rest = simulate(10)
    early = replace(first, orders=(replace(first.orders[0], stopped=True), first.orders[1]))
    found = calibration([early, *rest])
    assert list(found["sources"]) == ["answer"]
    assert any("stopped early" in note for note in found["notes"])
