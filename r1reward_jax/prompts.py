"""Prompts for the evaluator and the judge, and the strict reading of what the evaluator writes.

The wording is our own. `evaluator` is for pretrained models; `brief` says the same in few tokens
for the tiny models of the quickstart. Records keep question and responses only: what a published
checkpoint was asked in the `message` field of its data is not repeated word for word.
"""

import re
from dataclasses import dataclass

from r1reward_jax.errors import InputError
from r1reward_jax.types import (
    Candidate,
    ImagePart,
    PreferenceRecord,
    Prompt,
    Record,
    RelevanceRecord,
    Verdict,
    VideoPart,
)

LABELS = {"1": 1, "2": 2, "A": 1, "B": 2}
"""What a verdict may be called."""
NAMED = {
    "boxed": r"\\boxed\{\s*(?:\\text\{\s*)?([12])\s*\}",
    "brackets": r"\[\[([AB])\]\]",
    "judgment": r"(?i:judge?ment)\W{1,6}(?i:answer|response|assistant)\W{0,4}([12])\b",
}
"""Beside ours: a boxed number, MT-Bench's [[A]] and [[B]], "Overall Judgment: Answer 1"."""
_CLASS = re.compile(r"\(\[(12|AB)\]\)")
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


@dataclass(frozen=True)
class ResponseFormat:
    """How a verdict is found: in exactly one `<answer>` block, or by a pattern."""

    labels: tuple[str, str] = ("1", "2")
    """What the first and the second response are called."""
    pattern: re.Pattern[str] | None = None
    """Its group is the label; None for `<answer>` blocks."""

    def find(self, text: str) -> tuple[int, int] | None:
        """The verdict, and where its label stands in the text; None without a verdict.

        Strict: a text with two answer blocks, or with matches that name both responses, has none.
        "1 or 2", "10" and "Response 1" in an answer block are not verdicts.
        """
        if self.pattern is None:
            block = _ANSWER.search(text) if text.count("<answer>") == 1 else None
            word = block[1].strip() if block else ""
            if block is None or word not in self.labels:
                return None
            return LABELS[word], block.start(1) + block[1].index(word)
        found = [match for match in self.pattern.finditer(text) if match[1] is not None]
        if len({match[1] for match in found}) != 1:
            return None
        return LABELS[found[-1][1]], found[-1].start(1)


ANSWER = ResponseFormat()
"""`<answer>1</answer>`, which our prompts ask for."""


def response_format(name: str) -> ResponseFormat:
    """A format by its name, or by a regular expression.

    Args:
      name: answer, a name in NAMED, or an expression with the group ([12]) or ([AB]).

    Raises:
      InputError: it is neither.
    """
    if name == "answer":
        return ANSWER
    source = NAMED.get(name, name)
    groups = _CLASS.findall(source)
    known = f"answer, {', '.join(NAMED)}, or a regular expression with one group ([12]) or ([AB])"
    try:
        pattern = re.compile(source, re.DOTALL)
    except re.error as error:
        raise InputError(f"response format {name!r}: {error}; expected {known}") from None
    if len(groups) != 1 or pattern.groups != 1:
        raise InputError(f"response format {name!r}: expected {known}")
    return ResponseFormat((groups[0][0], groups[0][1]), pattern)


SYSTEM = "You are a helpful assistant."


@dataclass(frozen=True)
class Template:
    """The questions that are put to models: which response or candidate, does the analysis fit."""

    evaluator: str
    """With {question}, {first} and {second}; images stand before it, or where it has {images}."""
    judge: str
    supports: str
    contradicts: str
    judge_lines: int = 0
    """Last lines of an analysis that the judge sees (the release: 3); 0 for all."""
    system: str = SYSTEM
    """Of the evaluator's prompt."""
    response: ResponseFormat = ANSWER
    """Where the evaluator's verdict stands."""
    relevance: str = ""
    """As `evaluator`, for a query and two candidates; images stand at the marks [Images 1|2]."""


TEMPLATES = {
    "full": Template(
        evaluator="""\
Two responses to a question about the material above are given. Decide which one is better.

First compare them step by step: check what they claim against the image, then correctness, \
completeness and clarity. Write this analysis between <think> and </think>. Then write the number \
of the better response, 1 or 2, between <answer> and </answer>. There is no tie.

[Question]:
{question}

[Response 1]:
{first}

[Response 2]:
{second}

[Output format]:
<think>your analysis</think><answer>1 or 2</answer>""",
        judge="""\
Someone compared two responses and wrote the analysis below, then gave a verdict. Read only the \
analysis. Does it argue for the response that the verdict names? Say Yes or No.

[Analysis]:
{analysis}

[Verdict]:
Response {verdict} is better.

[Your answer, Yes or No]:""",
        supports="Yes",
        contradicts="No",
        relevance="""\
Two candidates for a query follow, each with its own pictures. Decide which one is more relevant.

[Query]:
{query}

[Candidate 1]:
[Images 1]
{first}

[Candidate 2]:
[Images 2]
{second}

First list what the query asks for. Then check each candidate against it, in its pictures and in \
its text; where they contradict each other, trust the pictures. Write this analysis between \
<think> and </think>. Then write the number of the more relevant candidate, 1 or 2, between \
<answer> and </answer>. There is no tie.

[Output format]:
<think>your analysis</think><answer>1 or 2</answer>""",
    ),
    "brief": Template(
        evaluator="{question}\n{first} first\n{second} second\nWhich is better?",
        judge="{analysis}\nVerdict: {verdict}\nConsistent?",
        supports="Yes",
        contradicts="No",
        relevance="{query}\nfirst\n[Images 1]{first}\nsecond\n[Images 2]{second}\nWhich is better?",
    ),
}

_BODY = r"(?:(?!</?think>|</?answer>).)*"
_FORMAT = re.compile(rf"<think>({_BODY})</think><answer>({_BODY})</answer>", re.DOTALL)
_MARKS = re.compile(r"\[Images [12]\]\n?")
_HEADER = r"\s*(?:\n#+ *)?"
"""Before a section's name: white space and, in published prompts, a markdown header's marks."""
_SECTIONS = re.compile(
    r"\[Question\]:(?P<question>.*?)"
    + _HEADER
    + r"\[Response 1\]:(?P<first>.*?)"
    + _HEADER
    + r"\[Response 2\]:(?P<second>.*?)\s*"
    + r"(?:\n(?:#+ *)?(?:\*\*|\[)Output [Ff]ormat\b[^\n]*(?:\*\*|\]:)[ \t]*(?:\n.*)?)?\Z",
    re.DOTALL,
)


def evaluator_prompt(record: Record, template: Template) -> Prompt:
    """The question to the policy: images, video, then question and responses in stored order; of a
    relevance record, each candidate's images and video between its heading and its text."""
    if isinstance(record, RelevanceRecord):
        return _relevance_prompt(record, template)
    first, second = record.responses
    before, marked, after = template.evaluator.partition("{images}")
    if not marked:
        before, after = "", before
    texts = [
        part.format(question=record.question, first=first, second=second)
        for part in (before, after)
    ]
    content = [texts[0], *_seen(record), texts[1]]
    return Prompt(template.system, tuple(part for part in content if part != ""))


def _relevance_prompt(record: RelevanceRecord, template: Template) -> Prompt:
    # split before the texts are filled in: what stands in them is never taken for a mark
    parts = _MARKS.split(template.relevance)
    if len(parts) != 3:
        raise InputError(
            f"record {record.id}: the template has no wording for candidates; expected `relevance` "
            "with [Images 1] and [Images 2]"
        )
    first, second = record.candidates
    head, middle, tail = (
        part.format(query=record.query, first=first.text, second=second.text) for part in parts
    )
    return Prompt(template.system, (head, *_seen(first), middle, *_seen(second), tail))


def _seen(holder: PreferenceRecord | Candidate) -> list[ImagePart | VideoPart]:
    """The images, then the video, as parts of a prompt."""
    video = [holder.video] if holder.video else []
    return [*(ImagePart(image) for image in holder.images), *video]


def response_prompt(record: PreferenceRecord) -> Prompt:
    """What stands before a response that a scalar reward model scores: the material and the
    question, nothing about judging."""
    return Prompt(SYSTEM, (*_seen(record), record.question))


def judge_prompt(analysis: str, verdict: Verdict, template: Template) -> Prompt:
    """The question to the judge; it sees the analysis and the verdict, nothing else."""
    analysis = last_lines(analysis, template.judge_lines)
    return Prompt(SYSTEM, (template.judge.format(analysis=analysis, verdict=verdict),))


def last_lines(text: str, count: int) -> str:
    """The last lines of a text that are not blank; all of it for a count of 0."""
    if not count:
        return text
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:])


def answer_text(analysis: str, verdict: Verdict) -> str:
    """What a well-formed completion looks like."""
    return f"<think>{analysis}</think><answer>{verdict}</answer>"


def well_formed(text: str) -> bool:
    """Exactly one `<think>…</think><answer>…</answer>`, nothing before, between or after."""
    return _FORMAT.fullmatch(text) is not None


def parse_verdict(text: str, form: ResponseFormat = ANSWER) -> Verdict | None:
    """The verdict of a completion, or None; strict, see `ResponseFormat.find`."""
    found = form.find(text)
    return None if found is None else (1 if found[0] == 1 else 2)


def parse_analysis(text: str) -> str:
    """What stands between the think tags; the text before the answer where they are missing."""
    match = re.search(r"<think>(.*?)</think>", text, re.DOTALL)
    return match.group(1) if match else text.split("<answer>")[0]


def split_message(text: str) -> tuple[str, str, str] | None:
    """(question, first response, second response) of an evaluator prompt with the sections
    [Question], [Response 1] and [Response 2], as in the public R1-Reward-RL set; None if a section
    is missing or stands there more than once."""
    spans = message_spans(text)
    if spans is None:
        return None
    question, first, second = (text[start:end] for start, end in spans)
    return question, first, second


def message_spans(text: str) -> list[tuple[int, int]] | None:
    """Where the three sections of `split_message` begin and end, without the space around them."""
    if any(text.count(f"[{name}]:") != 1 for name in ("Question", "Response 1", "Response 2")):
        return None
    match = _SECTIONS.search(text)
    if match is None:
        return None
    spans = []
    for name in ("question", "first", "second"):
        inside = match[name]
        start = match.start(name) + len(inside) - len(inside.lstrip())
        spans.append((start, start + len(inside.strip())))
    return spans
