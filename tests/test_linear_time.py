"""What reads texts of models and of other people takes time in proportion to their length.

It gives what regular expressions give that say the same but take hours for a few kilobytes.
"""

import random
import re
import time

import pytest

from r1reward_jax.prompts import message_spans, parse_analysis, well_formed
from r1reward_jax.responses import response_format
from r1reward_jax.rl.rewards import repetition, self_corrects

_HEADER = r"\s*(?:\n#+ *)?"
SECTIONS = re.compile(
    r"\[Question\]:(?P<question>.*?)"
    + _HEADER
    + r"\[Response 1\]:(?P<first>.*?)"
    + _HEADER
    + r"\[Response 2\]:(?P<second>.*?)\s*"
    + r"(?:\n(?:#+ *)?(?:\*\*|\[)Output [Ff]ormat\b[^\n]*(?:\*\*|\]:)[ \t]*(?:\n.*)?)?\Z",
    re.DOTALL,
)
REVISION = re.compile(
    r"(?:^|[.!?;\n]\s*|—\s*)(?:but |no, )?(?:wait|hold on|hmm|correction|actually)\s*[,.:!…—-]"
    r"|\b(?:on second thought|on closer inspection|looking again"
    r"|let me (?:re-?(?:check|consider|examine|think|count|evaluate|assess|visit|read)"
    r"|(?:check|look|count|think)\b[^.]* again|double-check)"
    r"|i (?:was (?:wrong|mistaken)|made an? (?:error|mistake)|mis(?:read|counted|saw|took)))\b",
    re.IGNORECASE,
)
ANALYSIS = re.compile(r"<think>(.*?)</think>", re.DOTALL)


def spans_by_expression(text):
    if any(text.count(f"[{name}]:") != 1 for name in ("Question", "Response 1", "Response 2")):
        return None
    match = SECTIONS.search(text)
    if match is None:
        return None
    spans = []
    for name in ("question", "first", "second"):
        section = match[name]
        start = match.start(name) + len(section) - len(section.lstrip())
        spans.append((start, start + len(section.strip())))
    return spans


def analysis_by_expression(text):
    match = ANALYSIS.search(text)
    return match[1] if match else text.split("<answer>")[0]


SPACES = ["\n", " ", "\t", "\r", "\n\n", "\x1c", "\u2028", "\xa0", "#", "##", "**", "]:", "a", "_"]
OUTPUT = [
    "Output Format",
    "Output format",
    "**Output Format",
    "[Output format",
    "Output ",
    "s",
    "\n**Output Format**",
]
PARTS = {
    "sections": [*SPACES, *OUTPUT, "\n[Output format]:", "\n**Output Format**"],
    "revision": [
        *("wait", "Wait", ",", ".", "\n", " ", "\r", "—", "but ", "no, ", "hold on", "-", ";"),
        *("let me ", "Let me check", "look", " again", "again", "double-check", "re-count", "x"),
        *("i misſaw", "\u2028", "I was wrong", "1"),
    ],
    "analysis": ["<think>", "</think>", "<answer>", "a", "\n"],
}


def random_texts(kind, count):
    rng = random.Random(kind)
    for _ in range(count):
        words = rng.choices(PARTS[kind], k=rng.randint(0, 12))
        if kind == "sections":
            names = ["[Question]:", "[Response 1]:", "[Response 2]:"]
            if rng.random() < 0.05:
                rng.shuffle(names)
            for name, place in zip(names, sorted(rng.choices(range(len(words) + 1), k=3))[::-1]):
                words.insert(place, names[2 - names.index(name)])
        yield "".join(words)


@pytest.mark.parametrize("count", [3000, pytest.param(300_000, marks=pytest.mark.slow)])
def test_the_same_as_the_expressions(count):
    found = [0, 0, 0]
    for text in random_texts("sections", count):
        assert message_spans(text) == spans_by_expression(text), repr(text)
        found[0] += message_spans(text) is not None
    for text in random_texts("revision", count):
        assert self_corrects(text) == (REVISION.search(text) is not None), repr(text)
        found[1] += self_corrects(text)
    for text in random_texts("analysis", count):
        assert parse_analysis(text) == analysis_by_expression(text), repr(text)
        found[2] += "<think>" in text
    assert min(found) > count / 20  # the texts are such that it matters


SIZE = 200_000
ORDERED = "[Question]:{0}[Response 1]:{0}[Response 2]:{0}"
LONG = {
    "sections in another order": ("spans", "[Question]:{0}[Response 2]:{0}[Response 1]:{0}", "\n"),
    "blank lines": ("spans", ORDERED + "x", "\n"),
    "spaces": ("spans", ORDERED + "x", " "),
    "headers": ("spans", ORDERED + "x", "\n# "),
    "marks": ("spans", ORDERED + "x", "#"),
    "output formats": ("spans", ORDERED + "x", "\n**Output Format "),
    "line breaks": ("revision", "{0}x", "\n"),
    "dashes": ("revision", "{0}x", "— "),
    "waits": ("revision", "{0}x", " wait "),
    "waits and spaces": ("revision", "wait{0}x", "  "),
    "let me check": ("revision", "{0}x", "let me check "),
    "beginnings": ("analysis", "{0}", "<think>"),
    "answers": ("verdict", "{0}", "<answer>"),
    "answers of the release": ("release", "{0}", "<answer>"),
    "tags": ("form", "<think>{0}", "<"),
    "boxes": ("boxed", "{0}", "\\boxed{ "),
    "judgments": ("judgment", "{0}", "Judgment: "),
    "judgments of one answer": ("judgment", "{0}", "Judgment Answer 1 "),
    "judgments and reasons": ("judgment", "{0}", "Judgment: Answer 1 is the much better or "),
    "conclusions": ("vl", "{0}", "therefore answer 1 is the "),
    "numbers of many digits": ("vl", "therefore answer {0} is better", "1"),
    "words": ("repetition", "{0}", "a b "),
}
READERS = {
    "spans": message_spans,
    "revision": self_corrects,
    "analysis": parse_analysis,
    "verdict": response_format("answer").find,
    "release": response_format("answer-release").find,
    "form": well_formed,
    "boxed": response_format("boxed").find,
    "judgment": response_format("judgment").find,
    "vl": response_format("judgment-official").find,
    "repetition": lambda text: repetition(text, n=4),
}


@pytest.mark.parametrize("name", LONG)
def test_long_texts_take_time_in_proportion(name):
    """200 KB in well under a second; what is quadratic would take minutes."""
    reader, frame, piece = LONG[name]
    text = frame.format(piece * (SIZE // len(piece) // frame.count("{0}")))
    start = time.process_time()
    READERS[reader](text)
    assert time.process_time() - start < 2
