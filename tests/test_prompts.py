"""Sections of published prompts, split without touching the text in them."""

import pytest

from r1reward_jax.prompts import TEMPLATES, evaluator_prompt, split_message
from r1reward_jax.types import PreferenceRecord

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
