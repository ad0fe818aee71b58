"""The commands and examples of the README and of the pages in docs/, as they give them."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = {
    path.stem: path.read_text() for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
}
"""Texts by name, the README first."""


def blocks(language: str, page: str = "README") -> list[str]:
    """Return the fenced blocks of a page that are in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[list[str]]:
    """Return the arguments of every `r1reward …` of a page, in order."""
    lines = "\n".join(blocks("bash", page)).replace("\\\n", " ").split("\n")
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [
        shlex.split(part, comments=True)[1:]
        for part in parts
        if part.split(" ")[0].split("/")[-1] == "r1reward"
    ]


def command(*words: str, page: str = "", nth: int = 0) -> list[str]:
    """Return the arguments of the command that begins with these words.

    Args:
      words: verb, and verb of a verb.
      page: where to look; empty: all pages, the README first.
      nth: of several, from 0.
    """
    pages = [page] if page else list(PAGES)
    found = [c for name in pages for c in commands(name) if c[: len(words)] == list(words)]
    return found[nth]
