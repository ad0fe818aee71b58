"""Readers of verdicts: strict ones, those of the benchmarks' scripts and of the release, and where
they differ; expressions that would hang."""

import re
import time

import pytest

from r1reward_jax.errors import InputError
from r1reward_jax.responses import ANSWER, LABELS, NAMED, released, response_format


def verdict(name, text):
    form = response_format(name)
    found = form.find(text)
    if found is None:
        return None
    place = text[found[1]].upper()
    assert LABELS.get(place, found[0]) == found[0]  # the place is that of the label
    return found[0]


SWAP = str.maketrans("12", "21")
NONE = [
    "Answer 1 and Answer 2 tie",
    "Answer 1 and Answer 2 are equally good.",
    "Answer 1 is not better than Answer 2",
    "Answer 1 isn't better.",
    "Answer 1 isn’t better.",
    "Answer 1 is not the better one.",
    "Answer 1 is better than Answer 2.",
    "both",
    "neither",
    "tie",
    "neither Answer 1 nor Answer 2",
    "1 or 2",
    "Answer 1 or 2",
    "Answer 1 or Answer 2 may be chosen",
    "Answer 1/2",
    "Answer 1 = Answer 2",
    "Answer 1 & 2",
    "Answer 1 and the other one tie",
    "Answer 1 is worse.",
    "Answer 1 is hardly better.",
    "Answer 1 is as good as the other",
    "Answer 1 is no better",
    "Answer 1 never wins",
    "Answer 1? Hard to say.",
    "Answer 1 is good.\nAnswer 2 is better.",
    "Answer 1 is not as good; Answer 2 is better",
    "Answer 12",
    "Answers 1 and 2",
    "Response 1 ties with the second",
    "Answer 3 is better",
    "Answer 1.5",
    "Answer 1 is wrong.",
    "Answer 1 fails.",
    "Answer 1 has errors",
    "Answer 1 should be rejected",
    "Answer 1 is of poor quality",
    "Answer 1 could be better",
]
"""Behind "Overall Judgment: ", texts that do not say which answer is better, strictly."""


@pytest.mark.parametrize("said", NONE)
def test_a_judgment_without_a_verdict_is_none(said):
    for head in ("Overall Judgment: ", "**Overall Judgement**: ", "My judgment: "):
        assert verdict("judgment", head + said) is None
        assert verdict("judgment", "Answer 2 is long. " + head + said.translate(SWAP)) is None


@pytest.mark.parametrize(
    "said",
    [
        *("Answer 2", "Answer 2.", "**Answer 2**", "Answer 2 is better.", "Response 2 wins"),
        *("Answer 2 is slightly better.", "Answer 2 is the better one.", "Assistant 2"),
        "Answer 2 is better, because it does not invent a sign and says neither too much.",
        "Answer 2, as it reads the sign.",
        "Answer 2 is better.\n\nIt names 1 sign, and there is no other.",
    ],
)
def test_a_judgment_with_a_verdict(said):
    assert verdict("judgment", f"Answer 1 is long.\nOverall Judgment: {said}") == 2
    assert verdict("judgment", f"Judgement: {said}\nOverall Judgment: {said}") == 2


@pytest.mark.parametrize(
    "said",
    [
        *("1 or 2", "both", "neither", "tie", "1 = 2", "1/2", "Answer 1", "12", "1 2", "not 1"),
        *("-1", "1.0", "one", "", "[1]", "1, 2"),
    ],
)
def test_blocks_and_boxes_without_a_verdict(said):
    assert verdict("answer", f"<think>1</think><answer>{said}</answer>") is None
    assert verdict("boxed", rf"so \boxed{{{said}}}") is None
    assert verdict("answer", "<answer>1</answer> or <answer>2</answer>") is None
    assert verdict("boxed", r"\boxed{1} = \boxed{2}") is None
    assert verdict("boxed", r"\boxed{1}, no: \boxed{\text{Tie}}") is None


@pytest.mark.parametrize(
    ("text", "strict", "official"),
    [
        ("[[A]]", 1, 1),
        ("so: [[B]].", 2, 2),
        ("[[B]] at first, then [[A]]", None, 1),
        ("not [[A]] but [[B]]", None, 1),
        ("[[B]] [[C]]", 2, 2),
        ("[[C]]", None, None),
        ("[[ A ]] [[a]] [A]", None, None),
        ("[[A]] and [[B]] tie", None, 1),
        ("[[A]]? No: [[Tie]]", None, 1),
    ],
)
def test_brackets_of_multimodal_rewardbench(text, strict, official):
    assert (verdict("brackets", text), verdict("brackets-official", text)) == (strict, official)


@pytest.mark.parametrize(
    ("text", "strict", "official"),
    [
        ("Overall Judgment: Answer 1 is better.", 1, 1),
        ("**Overall Judgment:**\n\n**Answer 2** is slightly better.", 2, 2),
        ("Therefore, since it reads the sign, Answer 2 is better.", None, 2),
        ("THEREFORE answer 1 is the better one", None, 1),
        ("Overall Judgment: both are fine, yet Answer 2 is better.", None, 2),
        ("Overall Judgment: Answer 1 is not as good; Answer 2 is better", None, 2),
        ("Overall Judgment: Answer 1 is better than Answer 2.", None, 1),
        ("Therefore Answer 1 is better. Therefore Answer 2 is better.", None, 2),
        ("Overall Judgement: Answer 1 is better.", 1, None),
        ("Judgment: Answer 1", 1, None),
        ("Overall Judgment: Answer 1", 1, None),
        ("Overall Judgment: Answer 1 is much better.", 1, None),
        ("Overall Judgment: Response 1 is better.", 1, None),
        ("Overall Judgment: Answer 1 is not better", None, None),
        ("Overall Judgment: Answer1is the slightly better one", None, 1),
        ("Overall Judgment: Answer 3 is better.", None, None),
        ("Overall Judgment: Answer 1 and Answer 2 tie", None, None),
        ("Answer 1 is better.", None, None),
        ("over\nall Judgment: Answer *1* i\ns better", 1, 1),
    ],
)
def test_judgments_of_vl_rewardbench(text, strict, official):
    assert verdict("judgment-official", text) == official
    assert verdict("judgment", text) == strict


@pytest.mark.parametrize(
    ("text", "strict", "release", "mm_rlhf"),
    [
        ("<answer>2</answer>", 2, 2, 2),
        ("<answer>1</answer><answer>2</answer>", None, 1, 1),
        ("<answer>maybe</answer><answer>2</answer>", None, None, None),
        ("<answer>1.0</answer>", None, 1, 1),
        ("<answer>\n 2e0 </answer>", None, 2, 2),
        ("<answer>+1</answer> <answer>", None, 1, 1),
        ("<answer>01</answer>", None, 1, 1),
        ("<answer>1 or 2</answer> so 2", None, None, None),
        ("<answer>Response 1</answer>", None, None, None),
        ("<answer>3</answer> 1", None, None, None),
        ("<answer>nan</answer>", None, None, None),
        ("Response 1 has 12 apples", None, 2, 2),
        ("2 is right, and 1 is cut off in the", None, 1, 1),
        ("Response 2 is long.\nResponse 1 is shor", None, 1, 2),
        ("no digit\nthen 2 1\n2", None, 2, 1),
        ("<answer>2", None, 2, 2),
        ("none at all", None, None, None),
        ("", None, None, None),
    ],
)
def test_texts_as_the_release_reads_them(text, strict, release, mm_rlhf):
    names = ("answer", "answer-release", "answer-release-mm-rlhf")
    assert tuple(verdict(name, text) for name in names) == (strict, release, mm_rlhf)
    assert released("vl_rewardbench") is NAMED["answer-release"]
    assert released("mm_rlhf_rewardbench") is NAMED["answer-release-mm-rlhf"]
    assert response_format("answer") is ANSWER


def test_small_letters_where_case_does_not_count():
    name = r"(?i)\b([AB])\b"
    assert [verdict(name, t) for t in ("b", "B", "verdict: a", "a or b")] == [2, 2, 1, None]
    assert verdict(r"(?P<better>[AB])!", "B!") == 2
    # the group that is counted is not the one that captures
    odd = "(?x) # ([12])\n ([^3])"
    assert verdict(odd, "x") is None and verdict(odd, "1") == 1
    assert verdict("(?:|([12]))", "ab2") == 2 and verdict("(?:|([12]))", "ab") is None


@pytest.mark.parametrize(
    "name",
    ["(?i)", "(?i)[ab]", "([12]){0}", "x(?i)([12])", "(?:a{99999}){99999999999}([12])", "((", "\\"],
)
def test_expressions_that_cannot_name_a_verdict(name):
    with pytest.raises(InputError, match=re.escape("response format")):
        response_format(name)


@pytest.mark.parametrize("name", [r"(?:a+)+([12])", r"(?:\w+\s?)+$([12])", r"(?:x|xx)*y([12])"])
def test_expressions_that_would_hang_are_refused(name):
    began = time.process_time()
    with pytest.raises(InputError, match="takes more than 1 s"):
        response_format(name)
    assert time.process_time() - began < 5  # in another process


def test_lazy_expressions_are_fast_enough():
    assert verdict("(?s:.)*?([12])", "so 2") == 2
    assert verdict(r"(?i)final answer.{0,40}?([12])", "Final Answer: **2**") == 2
