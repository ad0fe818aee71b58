"""What a run leaves behind about itself: `run.json`."""

import hashlib
import json
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from etils import epath

import r1reward_jax

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "grain", "numpy")


def write_run_json(workdir: str, config: dict[str, Any], *, data_hash: str) -> None:
    """Write commit, versions, seed, data hash, config and devices to `workdir/run.json`."""
    body = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": r1reward_jax.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "devices": [d.device_kind for d in jax.devices()],
        "processes": jax.process_count(),
        "seed": config["seed"],
        "data_hash": data_hash,
        "config": config,
    }
    folder = epath.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(body, indent=2))


def file_hash(path: str) -> str:
    """sha256 of a file."""
    return hashlib.sha256(epath.Path(path).read_bytes()).hexdigest()


def _commit() -> str | None:
    """The commit of the source tree, with "+" if it has changes; None outside a checkout."""
    where = ["git", "-C", str(Path(r1reward_jax.__file__).parent)]
    try:
        commit = subprocess.run([*where, "rev-parse", "HEAD"], capture_output=True, text=True)
        dirty = subprocess.run([*where, "status", "--porcelain"], capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return commit.stdout.strip() + ("+" if dirty.stdout.strip() else "") or None
