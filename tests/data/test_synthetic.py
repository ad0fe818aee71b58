"""The embedded world: deterministic, disjoint, and silent about its answers without the image."""

import hashlib
import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from r1reward_jax.annotate.simulated import SimulatedTeacher
from r1reward_jax.annotate.teacher import annotate, hard
from r1reward_jax.data import synthetic
from r1reward_jax.data.preferences import read_records, write_records
from r1reward_jax.evals.text_only import text_only_accuracy
from r1reward_jax.prompts import parse_analysis, parse_verdict, well_formed
from r1reward_jax.types import InputError, PreferenceRecord
from tests.runs.test_object_store import bucket as bucket


def make(folder, seed=0, skills=("color", "count"), **sizes):
    sizes = sizes or {"sft": 40}
    things = dict.fromkeys(sizes, (1, 2, 3))
    return synthetic.make_world(str(folder), seed=seed, sizes=sizes, skills=skills, things=things)


def colors_in(image) -> set[str]:
    """The named colours of which an image has more than a few pixels."""
    pixels = np.asarray(image).reshape(-1, 3).astype(int)
    return {
        name
        for name, rgb in synthetic.COLORS.items()
        if (np.abs(pixels - rgb).max(axis=1) <= 15).sum() > 40
    }


def test_same_seed_same_bytes(tmp_path):
    first, second = (make(tmp_path / name)["sft"] for name in "ab")
    assert synthetic.world_hash(first) == synthetic.world_hash(second)
    other = make(tmp_path / "c", seed=1)["sft"]
    assert synthetic.world_hash(first) != synthetic.world_hash(other)


def test_splits_share_no_image_and_no_question(world):
    questions = [{r.question for r in records} for records in world[1].values()]
    images = [
        {hashlib.sha256(Image.open(r.images[0]).tobytes()).hexdigest() for r in records}
        for records in world[1].values()
    ]
    for sets in (questions, images):
        assert sum(map(len, sets)) == len(set.union(*sets))
    assert sum(map(len, images)) == sum(map(len, world[1].values()))  # none occurs twice


def test_twins_ask_the_same_and_differ_in_the_label(world):
    for records in world[1].values():
        for a, b in zip(records[::2], records[1::2]):
            assert (a.question, a.responses) == (b.question, b.responses)
            assert {a.preferred, b.preferred} == {1, 2}


def test_a_classifier_of_the_text_is_at_chance(world):
    assert abs(text_only_accuracy(world[1]["sft"], world[1]["heldout"]) - 0.5) <= 0.05


def test_the_classifier_would_find_a_leak(world):
    """Length and words that betray the answer are found: the test above can fail."""

    def leak(records, change):
        changed = []
        for r in records:
            responses = list(r.responses)
            responses[r.preferred - 1] = change(responses[r.preferred - 1])
            changed.append(
                PreferenceRecord(r.id, r.question, tuple(responses), r.preferred, r.images)
            )
        return changed

    for change in (lambda t: t + " indeed", lambda t: t.upper() + "!"):
        splits = (leak(world[1][s], change) for s in ("sft", "heldout"))
        assert text_only_accuracy(*splits) > 0.9


@pytest.mark.parametrize("skill", list(synthetic.SKILLS))
def test_the_preferred_response_is_true_of_the_scene(tmp_path, skill):
    """An independent reading of the scene against the fact and the preferred response."""
    for r in make(tmp_path, skills=(skill,))["sft"]:
        things, right = r.meta["things"], r.responses[r.preferred - 1]
        wrong = r.responses[2 - r.preferred]
        words = r.question.lower().replace("?", "").replace(".", "").split()
        if skill == "color":
            (shape,) = [s for s in synthetic.SHAPES if s in words]
            (color,) = [c for c, s in things if s == shape]
            assert color in right and color not in wrong
        elif skill == "shape":
            (color,) = [c for c in synthetic.COLORS if c in words]
            (shape,) = [s for c, s in things if c == color]
            assert shape in right and shape not in wrong
        elif skill == "count":
            plural = {"circles": 0, "squares": 1, "triangles": 2, "crosses": 3}
            (shape,) = [synthetic.SHAPES[plural[w]] for w in words if w in plural]
            number = synthetic.NUMBERS[sum(s == shape for _, s in things)]
            assert number in right and number not in wrong
        else:
            row = synthetic.ROWS.index(right.split()[1])
            (shape,) = [s for s in synthetic.SHAPES if s in words]
            band = Image.open(r.images[0]).crop((0, row * 28, 84, row * 28 + 28))
            assert colors_in(band)  # something stands in that row


def test_every_split_asks_about_every_subject(world):
    for records in world[1].values():
        asked = {w for r in records for w in r.question.rstrip("?.").lower().split()}
        assert set(synthetic.SHAPES) <= asked and set(synthetic.PLURALS.values()) <= asked


def test_pictures_show_the_colors_of_the_scene(world):
    for r in world[1]["heldout"]:
        assert colors_in(Image.open(r.images[0])) == {color for color, _ in r.meta["things"]}


def test_conclusions_are_read_back():
    rng = random.Random(0)
    for verdict in (1, 2):
        found = {synthetic.conclusion(verdict, rng) for _ in range(50)}
        assert len(found) == len(synthetic.CONCLUSIONS)
        assert all(synthetic.supports(f"I see a circle. {text}") == verdict for text in found)
    assert synthetic.supports("So 1 fits. So 2 fits.") is None
    assert synthetic.supports("So 1 fits. So 1 is right.") == 1
    assert synthetic.supports("cross red second. So 1 fits.") == 1
    assert synthetic.supports("no idea") is None


def test_teacher_has_the_faults_it_should_have(tmp_path):
    records = make(tmp_path, sft=1500)["sft"]
    teacher = SimulatedTeacher(0, (0.0, 0.15, 0.95), 0.15)
    annotations = annotate(teacher, records, max_attempts=3)
    assert annotations == annotate(teacher, records, max_attempts=3)
    assert {a.attempts for a in annotations} == {1, 2, 3}
    for a in annotations:
        assert well_formed(a.completion)
        assert a.matched == (parse_verdict(a.completion) == a.record.preferred)
        assert parse_analysis(a.completion).startswith(synthetic.listing(a.record))  # faultless
    consistent = [
        synthetic.supports(parse_analysis(a.completion)) == parse_verdict(a.completion)
        for a in annotations
    ]
    assert 0.10 <= 1 - sum(consistent) / len(consistent) <= 0.20
    levels = Counter(a.record.meta["level"] for a in annotations)
    hard_levels = Counter(r.meta["level"] for r in hard(annotations))
    shares = [hard_levels[level] / levels[level] for level in (1, 2, 3)]
    assert shares == sorted(shares) and shares[0] < 0.3 < shares[2]  # graded


@pytest.mark.parametrize(
    ("skills", "things"),
    [(("smell",), (1,)), (("color",), (0,)), (("color",), (4,)), (("color",), ())],
)
def test_impossible_worlds_are_refused(tmp_path, skills, things):
    with pytest.raises(InputError):
        synthetic.make_world(
            str(tmp_path), seed=0, sizes={"sft": 4}, skills=skills, things={"sft": things}
        )


def test_a_world_is_made_in_a_bucket(bucket, tmp_path):
    """The same bytes as on a disk, read back from there."""
    stored, local = make(bucket, heldout=4)["heldout"], make(tmp_path, heldout=4)["heldout"]
    assert synthetic.world_hash(stored) == synthetic.world_hash(local)
    write_records(f"{bucket}/heldout.jsonl", stored)
    assert read_records(f"{bucket}/heldout.jsonl") == stored
