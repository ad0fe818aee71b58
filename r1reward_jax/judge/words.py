"""The two words that a judge may answer with: which tokens stand for them, and what a text says.

A judge that gives both words together hardly any probability has not answered: the ratio of two
numbers near zero says nothing about the analysis.
"""

import math
import re
import string
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from r1reward_jax.errors import InputError
from r1reward_jax.prompts import Template

SPACES = "▁ĠĊ"
"""How the vocabularies of SentencePiece and of byte-level BPE write a space or a line break."""
AROUND = string.whitespace + string.punctuation + SPACES + "“”‘’«»„。，！：、"
"""What may stand around a word and leave it the same answer: "**Yes**", " Yes.", "▁yes"."""
CLOSED = re.compile(
    r"</\s*(?:think|thinking|thought|thoughts|reasoning|reflection)\s*>|\[/THINK\]|◁/think▷",
    re.IGNORECASE,
)
"""The ends of what reasoning models write before their answer."""
OPENED = re.compile(
    r"<\s*(?:think|thinking|thought|thoughts|reasoning|reflection)\s*>|\[THINK\]|◁think▷",
    re.IGNORECASE,
)
UNCLEAR = "no verdict"
"""The kind of an answer that came, and says neither word."""
LONGEST_SAID = 120
"""Characters of a judge's or a server's text that are repeated in a message."""


def spelling(token: str) -> str:
    """Return the word of a token without what may stand around it, in one case."""
    return unicodedata.normalize("NFKC", token.strip(AROUND)).casefold()


def printable(text: Any, longest: int = LONGEST_SAID) -> str:
    """Return a foreign text for a message: in one line, harmless for a terminal, shortened."""
    line = " ".join(str(text)[: 4 * longest].split())
    line = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in line)
    return line if len(line) <= longest else f"{line[: longest - 2]} …"


@dataclass(frozen=True)
class AnswerWords:
    """The answer words of a template, each with all of its spellings."""

    supports: str
    contradicts: str
    both: str
    """Both, as they are written, for messages."""

    @classmethod
    def of(cls, template: Template) -> "AnswerWords":
        """Return the words of a template. Raises InputError for two that are spelled alike."""
        both = f"{template.supports} and {template.contradicts}"
        words = cls(spelling(template.supports), spelling(template.contradicts), both)
        if words.supports == words.contradicts or not words.supports or not words.contradicts:
            raise InputError(
                f"the judge's answers {template.supports!r} and {template.contradicts!r}: expected "
                "two words that differ in more than their case"
            )
        return words

    def masses(self, tokens: Iterable[tuple[str, float]]) -> tuple[float, float]:
        """Return the probabilities of both words, each summed over its spellings.

        Args:
          tokens: text and probability of each.
        """
        found = {self.supports: 0.0, self.contradicts: 0.0}
        for token, probability in tokens:
            word = spelling(token)
            if word in found:
                found[word] += probability
        return found[self.supports], found[self.contradicts]

    def token_ids(self, tokens: Sequence[str]) -> tuple[list[int], list[int]]:
        """Return the indices of the tokens that stand for either word.

        Args:
          tokens: text of each token of a vocabulary.
        """
        ids: dict[str, list[int]] = {self.supports: [], self.contradicts: []}
        for i, token in enumerate(tokens):
            if (word := spelling(token)) in ids:
                ids[word].append(i)
        return ids[self.supports], ids[self.contradicts]

    def verdict(self, text: str) -> float | None:
        """Return 1 or 0 for what a written answer says; None if it says neither, or both.

        The answer is the first word, the last word, or the word behind a colon: "Yes, it does",
        "**Answer:** Yes", '{"answer": "Yes"}', "The answer is yes."
        """
        text = unicodedata.normalize("NFKC", text).casefold()
        words = re.findall(r"\w+", text.replace("_", " "))
        either = "|".join(map(re.escape, (self.supports, self.contradicts)))
        said = {*words[:1], *words[-1:]}
        said |= set(re.findall(rf":[\W_]*({either})\b", text))
        found = said & {self.supports, self.contradicts}
        return float(found == {self.supports}) if len(found) == 1 else None


def after_reasoning(text: str) -> str | None:
    """Return what stands behind the reasoning of a text; None where the reasoning has no end."""
    parts = CLOSED.split(text)
    return None if len(parts) == 1 and OPENED.search(text) else parts[-1]


def share(probability: float) -> str:
    """Return a probability for a message: 0.31, or 1e-11."""
    return f"{probability:.2f}" if probability >= 0.01 else f"{probability:.0e}"


def finite_probability(logprob: Any) -> float:
    """Return the probability of a log-probability as servers send them. Raises ValueError for what
    is none."""
    value = float(logprob)
    if math.isnan(value):
        raise ValueError("a log-probability is not a number")
    return math.exp(min(value, 0.0))  # above 0 it would overflow
