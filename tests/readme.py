"""The README's commands, as it gives them."""

import re
import shlex
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    """The arguments of every `r1reward …` of the README, in order."""
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").split("\n")
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [
        shlex.split(part, comments=True)[1:]
        for part in parts
        if part.split(" ")[0].split("/")[-1] == "r1reward"
    ]


def command(*words: str, nth: int = 0) -> list[str]:
    """The arguments of the README's command that begins with these words."""
    return [c for c in commands() if c[: len(words)] == list(words)][nth]
