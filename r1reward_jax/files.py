"""Files that are there completely or not at all."""

import os


def write_whole(path: str | os.PathLike, text: str) -> None:
    """Write a text file; whoever is interrupted here leaves the old one as it was."""
    from etils import epath  # `r1reward doctor` needs this file where packages are missing

    target = epath.Path(path)
    part = target.with_name(target.name + ".part")
    part.write_text(text)
    part.replace(target)


def cache_folder() -> str:
    """Where compiled programs are kept between runs; JAX_COMPILATION_CACHE_DIR says otherwise."""
    home = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    default = os.path.join(os.path.expanduser(home), "r1reward", "jax")
    return os.environ.get("JAX_COMPILATION_CACHE_DIR") or default
