"""Files and folders that a user names, on the command line, in a config or in Python.

A name becomes a path once, at the door: `~` and file:// are understood, `gs://`, `s3://` and
`az://` are object stores where their package is installed, and every other address is refused with
what to do instead, before anything is loaded.
"""

import importlib.util
import os
import re
import stat
from typing import Literal

from r1reward_jax.errors import InputError
from r1reward_jax.reading import STORES, local_path, scheme_of, shortened

PACKAGES = {"gs": ("gcsfs", "tensorflow"), "s3": ("s3fs",), "az": ("adlfs",)}
"""What epath needs to read an object store: one of these."""
HUB = re.compile(r"/*(?:(datasets|spaces|models)/)?([\w][\w.-]*/[\w][\w.-]*)(?:[/?#@].*)?")
"""A repository of the hub behind its host: what kind it is, and its name."""
ON_HUB = re.compile(r"hf://|(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/", re.IGNORECASE)
LONGEST_NAME, LONGEST_PATH = 255, 4095
"""Bytes of a file's name, and of a path, on the usual systems."""

Kind = Literal["file", "folder", "data", "new file", "new folder"]
"""What is expected at a place: data are a file or the folder that holds one; what is new may be
there already, and is written."""


def place(given: str | os.PathLike) -> str:
    """Return the path that a name stands for.

    Raises:
      InputError: it can be none: empty, an address that is not read, a store whose package is
        missing, characters or a length that no file has.
    """
    name = os.fspath(given)
    shown = shortened(name)
    if not name.strip():
        raise InputError("an empty path; give a file or folder")
    if "\0" in name or not _encodes(name):
        raise InputError(f"{shown}: holds characters that no path has; is it the right text?")
    if ON_HUB.match(name):
        raise InputError(f"{shown}: {_for_hub(name)}")
    scheme = scheme_of(name)
    if scheme in STORES:
        return _in_store(name, scheme)
    if scheme not in (None, "file", "http", "https"):
        stores = ", ".join(f"{store}://" for store in STORES)
        raise InputError(f"{shown}: {scheme}:// is not read; give a path, or one of {stores}")
    path = os.path.expanduser(local_path(name))
    parts = path.split(os.sep)
    too_long = max(len(os.fsencode(part)) for part in parts) > LONGEST_NAME
    if too_long or len(os.fsencode(path)) > LONGEST_PATH:
        raise InputError(f"{shown}: too long for the name of a file")
    return path


def require(given: str | os.PathLike, kind: Kind) -> str:
    """Return the path that a name stands for, after a look at what is there. What is in an object
    store is not looked at.

    Raises:
      InputError: as `place`; or it is missing, of another kind, or not to be read or written.
    """
    path = place(given)
    if scheme_of(path) is None and (problem := _problem(path, kind)):
        raise InputError(f"{shortened(path)}: {problem}")
    return path


def _problem(path: str, kind: Kind) -> str | None:
    """Return what is wrong with what is at a path of this machine."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return _cannot_be_made(path) if kind.startswith("new") else f"not found; {_near(path)}"
    except OSError as error:
        return f"{error.strerror}; is it the right path?"
    folder = stat.S_ISDIR(mode)
    if folder and kind in ("file", "new file"):
        return "is a folder; give a file"
    if not folder and kind in ("folder", "new folder"):
        return "is a file; give a folder" if stat.S_ISREG(mode) else "is no folder"
    if not folder and not stat.S_ISREG(mode):
        return "is no regular file (a pipe or a device); give a file"
    need = os.W_OK if kind.startswith("new") else os.R_OK
    if not os.access(path, need | (os.X_OK if folder else 0)):
        word = "written" if need == os.W_OK else "read"
        return f"cannot be {word} (permission denied); change its mode, or give another"
    return None


def _cannot_be_made(path: str) -> str | None:
    """Return why a file or folder cannot be made: what is above it is a file, or is not ours."""
    above = os.path.dirname(os.path.abspath(path))
    while not os.path.lexists(above) and os.path.dirname(above) != above:
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        return f"{above} is a file; give a path below a folder"
    if not os.access(above, os.W_OK | os.X_OK):
        return f"{above} cannot be written (permission denied); give a path elsewhere"
    return None


def _near(path: str) -> str:
    """Return a hint about a path that is missing."""
    above = os.path.dirname(path.rstrip(os.sep)) or "."
    if not os.path.isdir(above):
        return f"there is no folder {above} either"
    return "is the path right?"


def _in_store(name: str, scheme: str) -> str:
    packages = PACKAGES[scheme]
    if not any(importlib.util.find_spec(package) for package in packages):
        raise InputError(
            f"{shortened(name)}: {scheme}:// needs the package {packages[0]}; `pip install "
            f"{packages[0]}`, or give a path on this machine"
        )
    return name


def _for_hub(address: str) -> str:
    """Return what to do with an address of the hub."""
    match = HUB.fullmatch(ON_HUB.sub("", address, count=1))
    if not match:
        return "pages of the hub are not read; give ORG/NAME of a model, or a path"
    kind, name = match[1] or "models", match[2]
    if kind == "models":
        return f"give {name} where a model is expected, or download it: `hf download {name}`"
    more = f" --repo-type {kind.removesuffix('s')}"
    return f"pages of the hub are not read; `hf download {name}{more}` and give the file"


def _encodes(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True
