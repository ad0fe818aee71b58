"""Files that are there completely or not at all."""

import os

from etils import epath


def write_whole(path: str | os.PathLike, text: str) -> None:
    """Write a text file; whoever is interrupted here leaves the old one as it was."""
    target = epath.Path(path)
    part = target.with_name(target.name + ".part")
    part.write_text(text)
    part.replace(target)
