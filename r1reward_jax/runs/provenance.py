"""The time, the code and the hardware of a run, and hashes of what it reads."""

import hashlib
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from etils import epath

import r1reward_jax
from r1reward_jax.errors import InputError
from r1reward_jax.reading import open_regular

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "grain", "numpy")


def about() -> dict[str, Any]:
    """Return the time, the version of the code and of its libraries, and the hardware."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": r1reward_jax.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "devices": [d.device_kind for d in jax.devices()],
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "processes": jax.process_count(),
    }


def _cpu() -> str:
    """Return the processor's name; on Linux, only /proc/cpuinfo has it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [x.partition(":")[2].strip() for x in lines if x.startswith("model name")]
    return names[0] if names else platform.processor()


def file_hash(*paths: str) -> str:
    """Return the sha256 of a file, or of the parts of one in order. Raises InputError for what is
    no file."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with open_regular(path, sys.maxsize) as file:
                while block := file.read(2**20):
                    digest.update(block)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from None
    return digest.hexdigest()


def folder_hash(path: str) -> str:
    """Return a sha256 of a model's folder: all of its small files, and of larger ones the size and
    256 blocks spread over the file, which any training changes."""
    digest, block, most = hashlib.sha256(), 2**16, 256
    kinds = (".json", ".safetensors", ".npz", ".txt", ".jinja", ".model")
    for file in sorted(epath.Path(path).iterdir()):
        if file.suffix not in kinds:
            continue
        size = file.stat().length
        places = range(0, size, max(block, size // most))
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as data:
            for place in places:
                data.seek(place)
                digest.update(data.read(block))
    return digest.hexdigest()


def _commit() -> str | None:
    """Return the commit of the source tree, or the one that the wheel was built from, with "+" if
    there were changes; None if neither is known."""
    package = Path(r1reward_jax.__file__).parent
    if (package / "COMMIT").exists():
        return (package / "COMMIT").read_text()
    where = ["git", "-C", str(package)]
    tracked = ["ls-files", "--error-unmatch", Path(r1reward_jax.__file__).name]
    try:
        if subprocess.run([*where, *tracked], capture_output=True).returncode:
            return None
        commit = subprocess.run([*where, "rev-parse", "HEAD"], capture_output=True, text=True)
        dirty = subprocess.run([*where, "status", "--porcelain"], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return commit.stdout.strip() + ("+" if dirty.stdout.strip() else "") or None
