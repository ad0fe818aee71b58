"""A digest inside a safetensors file, so that a damaged export is noticed when it is loaded.

`sha256` in the file's metadata is that of all its bytes, with zeros where it stands itself. Files
of others have none and load as they are; another program that writes the tensors anew drops it.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from r1reward_jax.errors import InputError

KEY, BLANK = "sha256", "0" * 64
METADATA = {"format": "pt", KEY: BLANK}
"""What a file is written with, before it is sealed. `transformers` refuses safetensors that do not
say which framework they are for."""
CHUNK = 2**22
"""Bytes that are hashed at a time; hashing releases the interpreter's lock."""
LARGEST_HEADER = 10**8
"""Bytes; safetensors refuses larger ones, too."""


def seal_bytes(data: bytes) -> bytes:
    """Return a safetensors file whose metadata is `METADATA`, with its digest."""
    end = 8 + int.from_bytes(data[:8], "little")
    header, start = _in_order(data[:end])
    digest = hashlib.sha256(header + data[end:]).hexdigest().encode()
    return header[:start] + digest + header[start + len(digest) :] + data[end:]


def seal(path: str) -> None:
    """Write the digest into a local file whose metadata is `METADATA`, and onto the disk."""
    header, start = _in_order(_header(path))
    with open(path, "r+b") as file:
        file.write(header)
        file.flush()
        digest = _digest(path, start, threading.Event())
        file.seek(start)
        file.write(digest.encode())
        file.flush()
        os.fsync(file.fileno())


def _in_order(header: bytes) -> tuple[bytes, int]:
    """Return a header with its metadata in the order of `METADATA`, and where the digest stands:
    safetensors writes them in any order, and equal weights make equal files."""
    two = [f'"{key}":"{value}"'.encode() for key, value in METADATA.items()]
    written = [b"{" + b",".join(order) + b"}" for order in (two, two[::-1])]
    header = header.replace(written[1], written[0], 1)
    return header, header.index(written[0]) + written[0].index(BLANK.encode())


@contextmanager
def verified(files: Sequence[Path]) -> Iterator[None]:
    """Hash files while the block reads them.

    Raises:
      InputError: at the end of the block, a file differs from its digest.
    """
    stop, pool = threading.Event(), ThreadPoolExecutor(4, "checksum")
    try:
        pending = [pool.submit(_verify, file, stop) for file in files]
        yield
        for one in pending:
            one.result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _verify(file: Path, stop: threading.Event) -> None:
    at = _place(_header(os.fspath(file)))
    if at is None:  # of another program
        return
    start, expected = at
    if _digest(os.fspath(file), start, stop) != expected and not stop.is_set():
        raise InputError(
            f"{file}: damaged: its bytes are not those that were saved (sha256); copy or export it "
            "again"
        )


def _header(path: str) -> bytes:
    with open(path, "rb") as file:
        head = file.read(8)
        return head + file.read(min(int.from_bytes(head, "little"), LARGEST_HEADER))


def _place(header: bytes) -> tuple[int, str] | None:
    """Return where the digest stands in a file and what it is; None for a file without one."""
    try:
        digest = json.loads(header[8:])["__metadata__"][KEY]
    except (ValueError, KeyError, TypeError, RecursionError):  # damaged: whoever opens it says so
        return None
    at = header.find(f'"{KEY}":"{digest}"'.encode())
    return (at + len(KEY) + 4, digest) if at > 0 and len(digest) == len(BLANK) else None


def _digest(path: str, start: int, stop: threading.Event) -> str:
    """Return the digest of a file whose own digest stands at `start`."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        found.update(file.read(start))
        file.seek(start + len(BLANK))
        found.update(BLANK.encode())
        while not stop.is_set() and (chunk := file.read(CHUNK)):
            found.update(chunk)
    return found.hexdigest()
