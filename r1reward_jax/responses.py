"""Where a completion has its verdict: strict readers, those of the benchmarks' own scripts and of
the authors' release, and expressions of one's own.

    answer                   exactly one <answer> block, which holds 1 or 2 and nothing else
    answer-release           R1-Reward's release, on VL- and Multimodal RewardBench: the first of
                             several blocks, numbers as float() has them; without a block the last
                             1 or 2 of the text
    answer-release-mm-rlhf   the same on MM-RLHF-RewardBench: without a block the last 1 or 2 of the
                             first line that has one
    boxed                    a boxed number; nothing where a tie is boxed as well
    brackets                 [[A]] or [[B]]; nothing where both stand there, or [[tie]]
    brackets-official        Multimodal RewardBench: [[A]] wherever it stands, else [[B]]
    judgment                 "Judgment: Answer 1"; nothing where the other answer is named behind it
                             or the sentence says that neither, or that one not, is better
    judgment-official        VL-RewardBench: the last "Answer N is better" behind "Overall Judgment"
                             or "Therefore", whatever stands between

A strict reader gives no verdict to a text without exactly one; the others do what their scripts do.
"""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Literal

from r1reward_jax.errors import InputError

Found = tuple[Literal[1, 2], int]
"""A verdict, and the place of its label in the text."""
Reader = Callable[[str], Found | None]

LABELS: dict[str, Literal[1, 2]] = {"1": 1, "2": 2, "A": 1, "B": 2}
"""Verdicts by the labels that formats use for them."""
_ANSWER = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)

# ------------------------------------------------------- <answer> blocks


def _one_block(text: str) -> Found | None:
    """Read exactly one block. "1 or 2", "10" and "Response 1" in it are not verdicts."""
    block = _ANSWER.search(text) if text.count("<answer>") == 1 else None
    word = block[1].strip() if block else ""
    if block is None or word not in ("1", "2"):
        return None
    return LABELS[word], block.start(1) + block[1].index(word)


def _as_released(text: str, *, by_line: bool) -> Found | None:
    """Read as the release does, which takes anything else than these verdicts for a wrong one.

    Args:
      text: of a completion.
      by_line: without a block, the last label of the first line with one, not of the text.
    """
    # without an end behind the first beginning there is none behind the others either; the
    # expression would look for one from each
    ends = text.find("</answer>", max(0, text.find("<answer>"))) >= 0
    block = _ANSWER.search(text) if ends else None
    if block is None:
        lines = text.split("\n") if by_line else [text]
        start = 0
        for line in lines:
            at = max(line.rfind("1"), line.rfind("2"))
            if at >= 0:
                return LABELS[line[at]], start + at
            start += len(line) + 1
        return None
    word = block[1].strip()
    try:
        verdict = {1.0: "1", 2.0: "2"}.get(float(word))
    except ValueError:
        return None
    if verdict is None:
        return None
    # 1.0, +1 and 1e0 have the label, other digits of Unicode have not
    return LABELS[verdict], block.start(1) + block[1].index(word) + max(0, word.find(verdict))


# ------------------------------------------------------------ expressions


def _by_pattern(pattern: re.Pattern[str], text: str) -> Found | None:
    """Read the last match of a pattern whose matches all have the same label."""
    # an expression such as "([12])|tie" also matches without its group
    matches = [match for match in pattern.finditer(text) if match[1] is not None]
    if len({match[1].upper() for match in matches}) != 1:
        return None
    verdict = LABELS.get(matches[-1][1].upper())  # small letters match where case does not count
    return verdict and (verdict, matches[-1].start(1))


def _without_ties(pattern: re.Pattern[str], ties: re.Pattern[str], text: str) -> Found | None:
    """Read as `_by_pattern`; a text that says a tie as well has no verdict."""
    return None if ties.search(text) else _by_pattern(pattern, text)


def _first_letter(text: str) -> Found | None:
    """Read as Multimodal RewardBench does."""
    label = next((label for label in ("A", "B") if f"[[{label}]]" in text), None)
    return None if label is None else (LABELS[label], text.index(f"[[{label}]]") + 2)


# -------------------------------------------------------------- judgments

_NOUN = r"(?i:answer|response|assistant)"
_JUDGMENT = re.compile(rf"(?i:judge?ment)\W{{1,12}}{_NOUN}\W{{0,4}}([12])\b(?!\.\d)")
_ANY_NAMED = re.compile(rf"\b{_NOUN}s?\W{{0,4}}([12])\b")
_LONE = re.compile(r"(?<![\w.])([12])(?!\w|\.\d)")
_SENTENCE = re.compile(r".*?(?:[.!?](?=\s|$)|$)", re.MULTILINE)
_MORE = (
    r"(?:(?:the|a|overall|slightly|somewhat|marginally|much|far|clearly|definitely|significantly|"
    r"considerably|substantially|noticeably|a (?:bit|little|lot))\s+)*"
)
_PREFERS = re.compile(
    rf"(?i)\W{{0,4}}(?:wins\b|(?:is|was)\s+{_MORE}(?:better|best|preferred|preferable|superior|"
    r"stronger|winner)\b)"
)
_DOUBTS = re.compile(
    r"(?i)\b(?:not|never|no|nor|or|neither|either|both|ties?|tied|tying|draw|equal\w*|same|even|as\s+"
    r"good|worse|worst|inferior|weaker|less|los(?:es|t|er)|hardly|barely|scarcely|cannot|undecided|"
    r"wrong\w*|incorrect\w*|false\w*|fail\w*|errors?|erroneous|mistake\w*|flaw\w*|bad|badly|poor\w*|"
    r"reject\w*|hallucinat\w*|could|might|unclear|unsure|uncertain)\b"
    r"|n['’]t\b|[=≈/&?]"
)
_JOINS = re.compile(r"(?i)\W*(?:and|vs|versus)\b")


def _judgment(text: str) -> Found | None:
    """Read "Judgment: Answer 1". Strict: no verdict where both answers are named behind the word,
    or where the sentence denies what it begins with."""
    matches = list(_JUDGMENT.finditer(text))
    if len({match[1] for match in matches}) != 1:
        return None
    label = matches[0][1]
    behind = text[matches[0].end(1) :]
    named = {match[1] for match in _ANY_NAMED.finditer(behind)}
    for starts, end in _sentences(text, [match.end(1) for match in matches]):
        # the first rest of a sentence has the others in it: none is read twice
        named |= {match[1] for match in _LONE.finditer(text, starts[0], end)}
        doubts = [match.start() for match in _DOUBTS.finditer(text, starts[0], end)]
        for start in starts:
            doubted = doubts and doubts[-1] >= start or _JOINS.match(text, start, end)
            if doubted and not _PREFERS.match(text, start, end):
                return None
    if named - {label}:
        return None
    return LABELS[label], matches[-1].start(1)


def _sentences(text: str, places: list[int]) -> list[tuple[list[int], int]]:
    """Return the places that are in one sentence, and where it ends, for each sentence in order."""
    found: list[tuple[list[int], int]] = []
    for place in places:
        if found and place <= found[-1][1]:
            found[-1][0].append(place)
        elif sentence := _SENTENCE.match(text, place):
            found.append(([place], sentence.end()))
    return found


_VL_BEGINS = re.compile(r"(?i)overall judgment|therefore")
_VL = re.compile(
    r"(?i)(?:overall judgment|therefore).*answer\s*(\d+)\s*is\s*(?:the\s*)?(?:slightly\s*)?better"
)


def _vl_rewardbench(text: str) -> Found | None:
    """Read as VL-RewardBench does, without line breaks and asterisks. A number that is neither 1
    nor 2 has no verdict here; its script takes it for agreement with people."""
    places = [i for i, character in enumerate(text) if character not in "\n*"]
    line = "".join(text[i] for i in places)
    begin = _VL_BEGINS.search(line)
    # what stands behind a later beginning stands behind the first
    match = _VL.match(line, begin.start()) if begin else None
    # Python reads no numbers of thousands of digits
    number = int(match[1]) if match and len(match[1]) < 1000 else 0
    if match is None or number not in (1, 2):
        return None
    return (1 if number == 1 else 2), places[match.end(1) - 1]


# ---------------------------------------------------------------- formats

_NUMBERS, _LETTERS = ("1", "2"), ("A", "B")


@dataclass(frozen=True)
class ResponseFormat:
    """Where a completion has its verdict."""

    labels: tuple[str, str] = _NUMBERS
    """Labels of the first and the second response."""
    pattern: re.Pattern[str] | None = None
    """The user's expression, whose only group is the label; None for a named format."""
    reader: Reader = field(default=_one_block, repr=False)

    def find(self, text: str) -> Found | None:
        """Return the verdict and the place of its label in the text; None without a verdict."""
        return self.reader(text)


ANSWER = ResponseFormat()
"""The format that our prompts ask for: `<answer>1</answer>`, read strictly."""
_BOXED = re.compile(r"\\boxed\{\s*(?:\\text\{\s*)?([12])\s*\}")
_BRACKETS = re.compile(r"\[\[([AB])\]\]")
_TIE = r"(?i:ties?|tied|draw|both|neither|none|equal)"
_BOXED_TIE = re.compile(rf"\\boxed\{{\s*(?:\\text\{{\s*)?{_TIE}\b")
_BRACKETS_TIE = re.compile(rf"\[\[\s*{_TIE}\s*\]\]")
NAMED = {
    "answer": ANSWER,
    "answer-release": ResponseFormat(reader=partial(_as_released, by_line=False)),
    "answer-release-mm-rlhf": ResponseFormat(reader=partial(_as_released, by_line=True)),
    "boxed": ResponseFormat(reader=partial(_without_ties, _BOXED, _BOXED_TIE)),
    "brackets": ResponseFormat(_LETTERS, reader=partial(_without_ties, _BRACKETS, _BRACKETS_TIE)),
    "brackets-official": ResponseFormat(_LETTERS, reader=_first_letter),
    "judgment": ResponseFormat(reader=_judgment),
    "judgment-official": ResponseFormat(reader=_vl_rewardbench),
}
"""Formats by their names; each is described at the head of this file."""


RELEASED = ("answer", "answer-release", "answer-release-mm-rlhf")
"""Formats of models that the release's code reads."""


def released(benchmark: str) -> ResponseFormat:
    """Return how the authors' release reads a text of a benchmark."""
    return NAMED[
        "answer-release-mm-rlhf" if benchmark == "mm_rlhf_rewardbench" else "answer-release"
    ]


_GROUP = re.compile(r"\((?:\?P<\w+>)?\[(12|AB)\]\)(\{0(?:,0)?\})?")


@cache
def response_format(name: str) -> ResponseFormat:
    """Return a format by its name, or by a regular expression.

    Args:
      name: one of NAMED, or an expression with the group ([12]) or ([AB]).

    Raises:
      InputError: it is neither; or the expression can take minutes for a text.
    """
    if name in NAMED:
        return NAMED[name]
    groups = _GROUP.findall(name)
    known = f"{', '.join(NAMED)}, or a regular expression with one group ([12]) or ([AB])"
    try:
        pattern = re.compile(name, re.DOTALL)
    except (re.error, OverflowError, RecursionError, MemoryError) as error:
        raise InputError(f"response format {name!r:.200}: {error}; expected {known}") from None
    if len(groups) != 1 or pattern.groups != 1:
        raise InputError(f"response format {name!r:.200}: expected {known}")
    if groups[0][1]:
        raise InputError(
            f"response format {name!r:.200}: its group never matches; expected {known}"
        )
    _require_speed(name)
    labels = _NUMBERS if groups[0][0] == "12" else _LETTERS
    return ResponseFormat(labels, pattern, partial(_by_pattern, pattern))


# ------------------------------------------------- expressions that hang

PROBE = 2000
"""Characters of a text that an expression is tried on."""
SECONDS = 1.0
"""Of the processor, at most, for one such text."""
_TRY = """
import json, re, signal, sys
source, texts, seconds = json.load(sys.stdin)
pattern = re.compile(source, re.DOTALL)
for text in texts:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    sum(1 for _ in pattern.finditer(text))
"""


def _require_speed(source: str) -> None:
    """Raise InputError for an expression that takes too long for a text in which its own characters
    and words repeat, such as (?:a+)+([12]).

    Python's `re` cannot be interrupted where it is needed, so it is tried in another process before
    a model is loaded. That no text at all takes long is not proved by this.
    """
    pieces = [*dict.fromkeys([*"a1A x\n", *re.findall(r"\w\w+", source), *source])][:80]
    texts = [(piece * PROBE)[:PROBE] + "!" for piece in pieces]
    texts.append(("The first answer is right, and 3 + 4 = 7. " * PROBE)[:PROBE])
    given = json.dumps([source, texts, SECONDS])
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _TRY],
            input=given,
            text=True,
            capture_output=True,
            timeout=60 + SECONDS * len(texts),
        )
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode == -getattr(signal, "SIGVTALRM", 0):
        raise InputError(
            f"response format {source!r:.200}: takes more than {SECONDS:g} s for {PROBE:,} letters "
            "and would hang on what a model writes; write it without repeats inside of repeats"
        )
    if done.returncode:
        raise InputError(
            f"response format {source!r:.200}: cannot be tried ({done.stderr.strip()[-200:]})"
        )
