"""Prompts and verdicts: sections of published prompts, formats of other models, prompt files."""

import json
import re

import pytest

from r1reward_jax.data.preferences import write_records
from r1reward_jax.prompt_file import with_prompt_from
from r1reward_jax.prompts import TEMPLATES, evaluator_prompt, split_message
from r1reward_jax.responses import response_format
from r1reward_jax.rollout.answers import answer_tokens, verdict_probability
from r1reward_jax.types import Completion, ImagePart, InputError, PreferenceRecord

TRICKY = [
    "C#",
    "It is **three**.",
    "The tool prints an Output format error, so use JSON.",
    "# Title\n\n- a\n- b\n###",
    "{first} and {second}",
    "a [1] b",
]


@pytest.mark.parametrize("text", TRICKY)
def test_responses_survive_our_own_prompt(text):
    for responses in ((text, "plain"), ("plain", text), (text, text)):
        record = PreferenceRecord("1", f"Why {text}", responses, 1)
        prompt = evaluator_prompt(record, TEMPLATES["full"]).content[-1]
        assert split_message(prompt) == (f"Why {text}", *responses)


@pytest.mark.parametrize("text", TRICKY[:3])
def test_responses_survive_the_published_layout(text):
    message = (
        f"Intro.\n\n###### **Input:**  \n###### [Question]:\nWhy?  \n\n"
        f"###### [Response 1]:\n{text}  \n\n###### [Response 2]:\n{text}  \n\n"
        "###### **Output Format (strictly follow):**  \n<think>x</think><answer>1/2</answer>"
    )
    assert split_message(message) == ("Why?", text, text)


RECORD = PreferenceRecord(
    "a", "Which {one}?", ("It is {red}.", "It is \\frac{1}{2}."), 1, ("i.png",)
)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("answer", "<think>1 or 2</think><answer> 2 </answer>", 2),
        ("answer", "<answer>10</answer>", None),
        ("answer", "<answer>1</answer><answer>1</answer>", None),
        ("boxed", r"so it is \boxed{2}", 2),
        ("boxed", r"so it is \boxed{ \text{1}}", 1),
        ("boxed", r"\boxed{1}, no, \boxed{2}", None),
        ("boxed", r"\boxed{12}, \boxed{2 responses}, \boxed{1.5}, \boxed{2x+1}", None),
        ("brackets", "My final verdict is: [[B]]", 2),
        ("brackets", "[[A]] or [[C]]? [[A]]", 1),
        ("brackets", "[[C]]", None),
        ("judgment", "Overall Judgment: Answer 1 is better.", 1),
        ("judgment", "**Overall Judgement**: Response 2", 2),
        ("judgment", "Overall Judgment: Answer 12", None),
        (r"Winner: ([12])$", "Winner: 1 ... Winner: 2", 2),
        (r"Winner: ([AB])", "Winner: A. Winner: B.", None),
        (r"Winner: ([AB])", "Winner: B", 2),
        (r"([12])|x", "x", None),
        (r"([12])|x", "x 2", 2),
    ],
)
def test_verdicts(name, text, expected):
    form = response_format(name)
    found = form.find(text)
    assert (found and found[0]) == expected
    if found:
        assert text[found[1]] == form.labels[expected - 1]


@pytest.mark.parametrize("name", ["Winner: [12]", "([12])|([12])", "([CD])", "([12]", "", "(.)"])
def test_formats_that_make_no_sense(name):
    with pytest.raises(InputError, match=re.escape("response format")):
        response_format(name)


def test_probability_is_that_of_the_labels_token(loaded):
    """The last of several like matches, at its own place among the tokens."""
    processor = loaded[2]
    form = response_format(r"fits ([12])")
    ids = processor.encode_completion("1 fits 2, 2 fits 2")
    answers = answer_tokens(processor, form)
    assert answers == tuple(processor.token_id(d) for d in "12")
    place = max(i for i, token in enumerate(ids) if token == answers[1])
    gaps = [float(i == place) * 3.0 for i in range(len(ids))]
    text = Completion(processor.decode(ids), tuple(ids), "eos", gaps)
    found = verdict_probability(text, answers, processor.decode, form)
    assert found == pytest.approx(1 / (1 + 2.718281828**-3))
    none = Completion(text.text, text.token_ids, "eos")
    assert verdict_probability(none, answers, processor.decode, form) is None
    assert answer_tokens(processor, response_format("([AB])"))  # letters are tokens, too


def test_a_prompt_from_a_text_file(tmp_path):
    """Braces that are no fields stay; images stand where the file says."""
    path = tmp_path / "prompt.txt"
    path.write_text("Q {question} {x} {\n{images}A {first}\nB {second} \\boxed{}\n")
    prompt = evaluator_prompt(RECORD, with_prompt_from(TEMPLATES["full"], str(path)))
    before, image, after = prompt.content
    assert before == "Q Which {one}? {x} {\n" and image == ImagePart("i.png")
    assert after == "A It is {red}.\nB It is \\frac{1}{2}. \\boxed{}"
    path.write_text("{first} {second}")
    with pytest.raises(InputError, match=r"\{question\} 0 times"):
        with_prompt_from(TEMPLATES["full"], str(path))
    with pytest.raises(InputError, match="nothing.txt"):
        with_prompt_from(TEMPLATES["full"], str(tmp_path / "nothing.txt"))


def test_a_prompt_from_a_row_of_the_published_set(tmp_path):
    """Everything but question and responses stays as in the row, images and system message too."""
    path = tmp_path / "rl.jsonl"
    text = "Judge {this}.\n\n[Question]:\nOld?\n\n[Response 1]:\nx\n\n[Response 2]:\ny\n\n"
    text += "[Output Format]:\n<think></think>"
    chat = [{"role": "system", "content": "Be strict."}]
    content = [{"type": "text", "text": text}, {"type": "image", "image": "old.png"}]
    row = {"message": json.dumps([*chat, {"role": "user", "content": content}])}
    path.write_text("{}\n" + json.dumps(row) + "\n")
    prompt = evaluator_prompt(RECORD, with_prompt_from(TEMPLATES["brief"], f"{path}:2"))
    assert prompt.system == "Be strict." and prompt.content[1:] == (ImagePart("i.png"),)
    expected = text.replace("Old?", RECORD.question).replace("\nx\n", f"\n{RECORD.responses[0]}\n")
    expected = expected.replace("\ny\n", f"\n{RECORD.responses[1]}\n")
    assert prompt.content[0] == expected
    row = {
        "message": json.dumps(
            [{"role": "user", "content": [*content, {"type": "text", "text": "!"}]}]
        )
    }
    path.write_text(json.dumps(row) + "\n")
    prompt = evaluator_prompt(RECORD, with_prompt_from(TEMPLATES["brief"], str(path)))
    assert prompt.content[1:] == (ImagePart("i.png"), "!")  # between two texts
    row = {"message": json.dumps([{"role": "user", "content": text}])}  # no parts
    path.write_text(json.dumps(row) + "\n")
    prompt = evaluator_prompt(RECORD, with_prompt_from(TEMPLATES["brief"], str(path)))
    assert prompt.content == (ImagePart("i.png"), expected)
    cut = text.index("Old?") + 2
    inside = [{"type": "text", "text": text[:cut]}, {"type": "image"}]
    inside += [{"type": "text", "text": text[cut:]}]
    path.write_text(json.dumps({"message": json.dumps([{"role": "user", "content": inside}])}))
    path.write_text("{}\n" + path.read_text())
    for source in (str(path), f"{path}:2", f"{path}:3"):
        with pytest.raises(InputError, match="prompt from"):
            with_prompt_from(TEMPLATES["brief"], source)


def test_rows_that_we_write_give_our_own_prompt(tmp_path):
    path = str(tmp_path / "ours.jsonl")
    write_records(path, [RECORD])
    template = with_prompt_from(TEMPLATES["full"], path)
    ours = evaluator_prompt(RECORD, TEMPLATES["full"])
    assert set(evaluator_prompt(RECORD, template).content) == set(ours.content)
