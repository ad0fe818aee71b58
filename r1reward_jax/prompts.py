"""Write the prompts of the evaluator and the judge, and parse what the evaluator writes.

In the order of the file: templates, prompts from records, the parsing of completions, and the
parsing of prompts in published data. Where a completion has its verdict is told in `responses`.

A verdict is read strictly: a completion without exactly one is malformed, and never gets a default.
The wording of the templates is our own. `full` is for pretrained models; `brief` says the same in
few tokens for the tiny models of the quickstart. A published checkpoint is asked in the words of
its training through `prompt_file`, and answers in the format of its training through
`response_format`.
"""

import re
from dataclasses import dataclass

from r1reward_jax.errors import InputError
from r1reward_jax.responses import ANSWER, ResponseFormat
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

# --------------------------------------------------------------- templates

SYSTEM = "You are a helpful assistant."


@dataclass(frozen=True)
class Template:
    """The wording of prompts: which response or candidate is better, does an analysis support its
    verdict."""

    evaluator: str
    """Text with {question}, {first} and {second}; images stand before it, or at {images}."""
    judge: str
    """Text with {analysis} and {verdict}."""
    supports: str
    """The judge's one-token answer that the analysis supports the verdict."""
    contradicts: str
    """The judge's one-token answer that it does not."""
    examples: tuple[str, str] = ("Response 1 is better.", "Response 2 is better.")
    """Analyses that argue for the first and the second response, which a judge is tried with."""
    judge_lines: int = 0
    """Last lines of an analysis that the judge sees (authors' release: 3); 0 for all."""
    system: str = SYSTEM
    """The system message of the evaluator's prompt."""
    response: ResponseFormat = ANSWER
    """Where the evaluator's completion has its verdict."""
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
        examples=(
            "Response 1 names what the image shows. Response 2 names something that is not in it. "
            "So Response 1 is better.",
            "Response 1 names something that is not in the image. Response 2 names what it shows. "
            "So Response 2 is better.",
        ),
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
        examples=("first fits.", "second fits."),
        relevance="{query}\nfirst\n[Images 1]{first}\nsecond\n[Images 2]{second}\nWhich is better?",
    ),
}

# ------------------------------------------------------ prompts of records

_MARKS = re.compile(r"\[Images [12]\]\n?")


def evaluator_prompt(record: Record, template: Template) -> Prompt:
    """Return the prompt of the policy: images, video, then question and responses in stored order;
    for a relevance record, each candidate's images and video between its heading and its text."""
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
    content = [texts[0], *_media(record), texts[1]]
    return Prompt(template.system, tuple(part for part in content if part != ""))


def _relevance_prompt(record: RelevanceRecord, template: Template) -> Prompt:
    # split before the texts are filled in: a mark inside of a record is text
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
    return Prompt(template.system, (head, *_media(first), middle, *_media(second), tail))


def _media(holder: PreferenceRecord | Candidate) -> list[ImagePart | VideoPart]:
    """Return the images, then the video, as parts of a prompt."""
    video = [holder.video] if holder.video else []
    return [*(ImagePart(image) for image in holder.images), *video]


def response_prompt(record: PreferenceRecord) -> Prompt:
    """Return what stands before a response that a scalar reward model scores: media and question,
    nothing about judging."""
    return Prompt(SYSTEM, (*_media(record), record.question))


def judge_prompt(analysis: str, verdict: Verdict, template: Template) -> Prompt:
    """Return the prompt of the judge, which sees the analysis and the verdict, nothing else."""
    analysis = last_lines(analysis, template.judge_lines)
    return Prompt(SYSTEM, (template.judge.format(analysis=analysis, verdict=verdict),))


def last_lines(text: str, count: int) -> str:
    """Return the last lines of a text that are not blank; all of it for a count of 0."""
    if not count:
        return text
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:])


# ---------------------------------------------------- parsing completions

_BODY = r"(?:(?!</?think>|</?answer>).)*"
_FORMAT = re.compile(rf"<think>({_BODY})</think><answer>({_BODY})</answer>", re.DOTALL)


def answer_text(analysis: str, verdict: Verdict) -> str:
    """Return the well-formed completion of an analysis and a verdict."""
    return f"<think>{analysis}</think><answer>{verdict}</answer>"


def well_formed(text: str) -> bool:
    """Return whether a completion is exactly one `<think>…</think><answer>…</answer>`, with nothing
    before, between or after."""
    return _FORMAT.fullmatch(text) is not None


def parse_verdict(text: str, form: ResponseFormat = ANSWER) -> Verdict | None:
    """Return the verdict of a completion, or None; how strictly, the format says."""
    found = form.find(text)
    return None if found is None else found[0]


def parse_analysis(text: str) -> str:
    """Return the text between the think tags, or that before the answer if there are none."""
    # not a regular expression: it would look for the end from each of many beginnings
    start = text.find("<think>")
    end = text.find("</think>", start) if start >= 0 else -1
    return text[start + len("<think>") : end] if end >= 0 else text.split("<answer>")[0]


# --------------------------------------------- parsing published prompts

# Each text is gone through a fixed number of times, by hand: a regular expression for the same,
# with white space between lazy parts, takes hours for a few kilobytes of blank lines.
SECTIONS = ("[Question]:", "[Response 1]:", "[Response 2]:")


def split_message(text: str) -> tuple[str, str, str] | None:
    """Return (question, first response, second response) of an evaluator prompt with the sections
    [Question], [Response 1] and [Response 2], as in the public R1-Reward-RL set; None if a section
    is missing or stands there more than once."""
    spans = message_spans(text)
    if spans is None:
        return None
    question, first, second = (text[start:end] for start, end in spans)
    return question, first, second


def message_spans(text: str) -> list[tuple[int, int]] | None:
    """Return where the three sections of `split_message` begin and end, without white space."""
    if any(text.count(name) != 1 for name in SECTIONS):
        return None
    places = [text.index(name) for name in SECTIONS]
    if places != sorted(places):
        return None
    starts = [place + len(name) for place, name in zip(places, SECTIONS, strict=True)]
    sections = [_before_header(text[starts[i] : places[i + 1]]) for i in range(2)]
    sections.append(_before_output_format(text[starts[2] :]))
    spans = []
    for start, section in zip(starts, sections, strict=True):
        start += len(section) - len(section.lstrip())
        spans.append((start, start + len(section.strip())))
    return spans


def _before_header(section: str) -> str:
    """Return a section without white space at its end, nor the marks of a markdown header that
    published prompts write before the next section's name."""
    line = section.rstrip(" ")
    before = line.rstrip("#")
    marked = len(before) < len(line) and before.endswith("\n")
    return (before if marked else section).rstrip()


def _before_output_format(section: str) -> str:
    """Return the last section up to the line that is the heading of the output format."""
    end = section.find("\n")
    for line in section.split("\n")[1:]:
        if _is_output_format(line):
            return section[:end].rstrip()
        end += 1 + len(line)
    return section.rstrip()


def _is_output_format(line: str) -> bool:
    """Return whether a line is a heading like `[Output format]:` or `### **Output Format …**`."""
    name = line.lstrip("#")
    name = name.lstrip(" ") if len(name) < len(line) else name
    for mark in ("**Output ", "[Output "):
        rest = name.removeprefix(mark)
        if len(rest) < len(name) and rest[:6] in ("format", "Format"):
            rest = rest[6:].rstrip(" \t")
            # "formatted" is another word
            return rest.endswith(("**", "]:")) and not (rest[0].isalnum() or rest[0] == "_")
    return False
