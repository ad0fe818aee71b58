"""Where the verdict stands in what an evaluator writes: ours, and the formats of other models."""

import re
from dataclasses import dataclass

from r1reward_jax.errors import InputError

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
