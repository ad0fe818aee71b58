"""Answer words: spellings, masses, what a written answer says, and messages that do no harm."""

import pytest

from r1reward_jax.judge.client import Dialect, read
from r1reward_jax.judge.words import AnswerWords, after_reasoning, printable, spelling
from r1reward_jax.prompts import TEMPLATES, Template
from r1reward_jax.types import InputError

WORDS = AnswerWords.of(TEMPLATES["full"])


@pytest.mark.parametrize(
    "token",
    ["Yes", " Yes", "yes", "YES", "Yes.", "▁Yes", "ĠYes", "Ċyes", "**Yes", '"Yes"', "\tＹｅｓ"],
)
def test_spellings_of_a_word(token):
    assert spelling(token) == "yes" and WORDS.masses([(token, 0.4)]) == (0.4, 0.0)


@pytest.mark.parametrize("token", ["Yesterday", "Not", "Y", "", "<think>", "Noo", "N0"])
def test_other_tokens_are_no_answer(token):
    assert WORDS.masses([(token, 0.4)]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[(text, 1.0) for text in ("Yes", " yes.", "**Yes**", "Yes, it does", "YES!")],
        *[(text, 1.0) for text in ('{"answer": "Yes"}', "The answer is Yes.", "\\boxed{Yes}")],
        *[(text, 0.0) for text in ("no", "No, it argues for the other one", "Answer: No")],
        ("**Answer:** Yes, because the analysis names it", 1.0),
        *[(text, None) for text in ("", "It depends", "Yes and no", "Yes or No?", "Yesterday")],
        ("There is no doubt about it", None),
        ("Answer: Yes. So my verdict is no", None),
    ],
)
def test_what_a_text_says(text, expected):
    assert WORDS.verdict(text) == expected


def test_the_words_are_those_of_the_template():
    words = AnswerWords.of(Template("", "", "Ja", "Nein"))
    assert words.verdict("Ja, das tut sie") == 1.0 and words.verdict("Yes") is None
    assert words.masses([("▁nein", 0.3), ("No", 0.6)]) == (0.0, 0.3)
    with pytest.raises(InputError, match="differ in more than their case"):
        AnswerWords.of(Template("", "", "A", "a"))


def test_all_tokens_of_a_vocabulary_that_stand_for_a_word():
    tokens = ["No", " yes", "Yes", "not", " NO", "<|im_end|>", "Yes."]
    assert WORDS.token_ids(tokens) == ([1, 2, 6], [0, 4])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think>No, wait.</think>\nYes", "\nYes"),
        ("the template opened it</think> No", " No"),
        ("[THINK]hm[/THINK]Yes", "Yes"),
        ("<think>it never ends. Yes", None),
        ("Yes", "Yes"),
    ],
)
def test_what_stands_behind_the_reasoning(text, answer):
    assert after_reasoning(text) == answer


def test_foreign_texts_are_printed_in_one_harmless_line():
    assert printable("a\x1b[2J\n\nb\x07") == "a\\u001b[2J b\\u0007"
    assert len(printable("x" * 10**7)) <= 120


# --------------------------------------------------------------- chat completions


def chat(content, *tops, **more):
    """A chat completion with the likeliest first tokens."""
    choice = {"message": {"content": content, **more}, "finish_reason": "length"}
    if tops:
        shown = [{"token": token, "logprob": logprob} for token, logprob in tops]
        choice["logprobs"] = {"content": [{**shown[0], "top_logprobs": shown}]}
    return {"choices": [choice]}


TOKEN = Dialect()


def probability(answer, dialect=TOKEN, least=0.5):
    return read(answer, WORDS, dialect, least).probability


def test_the_first_token_has_to_be_an_answer():
    sure = chat("Yes", ("Yes", -0.1), ("No", -2.4))
    assert probability(sure) == pytest.approx(1 / (1 + 2.718281828 ** (-2.3)))
    spelled = chat("no", ("no", -0.7), ("yes", -3.4), ("Yes", -3.0), (" No", -2.0))
    assert probability(spelled) == pytest.approx(0.0832 / (0.0832 + 0.6319), abs=1e-3)
    thinking = chat("<think>", ("<think>", -0.0001), ("Yes", -25.0))
    reading = read(thinking, WORDS, Dialect(), 0.5)
    assert reading.probability is None and reading.said.startswith("'<think>' (Yes and No toge")
    assert "1e-11" in reading.said
    assert probability(thinking, least=0.0) == 1.0
    half = chat("The", ("The", -0.6), ("Yes", -1.0))
    assert probability(half) is None and probability(half, least=0.3) == 1.0


def test_without_probabilities_the_text_is_read():
    assert probability(chat("Yes.")) == 1.0 and probability(chat("**No**")) == 0.0
    assert probability(chat("Yes", ("token_id:9454", -0.1), ("token_id:2753", -2.4))) == 1.0
    assert probability(chat(None, reasoning_content="Okay")) is None
    assert "Okay" in read(chat(None, reasoning_content="Okay"), WORDS, Dialect(), 0.5).said


def test_the_sampled_token_counts_where_it_is_not_among_the_likeliest():
    answer = chat("Yes", ("The", -3.0))
    answer["choices"][0]["logprobs"]["content"][0] |= {"token": "Yes", "logprob": -0.1}
    assert probability(answer) == 1.0


def test_what_is_written_after_reasoning():
    writing = Dialect(writes=100)
    done = chat("<think>No? Wait.</think>Yes")
    assert probability(done, writing) is None  # it was cut off
    assert "judge.answer_tokens 100" in read(done, WORDS, writing, 0.5).said
    done["choices"][0]["finish_reason"] = "stop"
    assert probability(done, writing) == 1.0
    apart = chat("No", reasoning_content="Yes, I think so. Yes")
    apart["choices"][0]["finish_reason"] = "stop"
    assert probability(apart, writing) == 0.0


@pytest.mark.parametrize("tokens", [-1, 10**12, "7", None, True])
def test_tokens_that_are_no_count_are_not_counted(tokens):
    answer = chat("Yes") | {"usage": {"completion_tokens": tokens}}
    assert read(answer, WORDS, Dialect(), 0.5).tokens == (1 if tokens is True else 0)
