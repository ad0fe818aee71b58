"""What a run leaves behind about itself: `run.json` and `config.json`."""

import hashlib
import json
import os
import platform
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from etils import epath

import r1reward_jax
from r1reward_jax.types import InputError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "grain", "numpy")


def write_run_json(workdir: str, config: dict[str, Any], *, verb: str, data_hash: str) -> None:
    """Write commit, versions, verb, seed, data hash, config and devices to `workdir/run.json`; the
    config alone to `config.json`, which `--config` reads.

    Raises:
      InputError: the folder holds a run of another verb, with another config or other data; its
        checkpoints would be continued with the wrong settings.
    """
    refuse_another_run(workdir, config, verb=verb, data_hash=data_hash)
    own = {"verb": verb, "seed": config["seed"], "data_hash": data_hash, "config": config}
    body = about() | own
    folder = epath.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    (folder / "run.json").write_text(json.dumps(body, indent=2))


def about() -> dict[str, Any]:
    """When, with which code and on what something runs."""
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
    """The processor's name; Linux tells it only there."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [x.partition(":")[2].strip() for x in lines if x.startswith("model name")]
    return names[0] if names else platform.processor()


def refuse_another_run(
    workdir: str, config: dict[str, Any], *, verb: str, data_hash: str | None = None
) -> None:
    """Raise InputError if the folder holds a run of another verb or config, or with other data."""
    path = epath.Path(workdir) / "run.json"
    if not path.exists():
        return
    stored = json.loads(path.read_text())
    known = {"verb": stored.get("verb", verb), "data_hash": stored["data_hash"]}
    given = {"verb": verb, "data_hash": known["data_hash"] if data_hash is None else data_hash}
    ours = json.loads(json.dumps(given | config))
    old, new = _flat(known | stored["config"]), _flat(ours)
    changed = [
        f"{name}: {old.get(name)} -> {new.get(name)}"
        for name in sorted(old | new)
        if old.get(name) != new.get(name)
    ]
    if changed:
        raise InputError(
            f"{workdir} holds another run ({'; '.join(changed[:5])}); "
            "give a new workdir, or delete that one"
        )


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in config.items():
        flat |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return flat


def file_hash(path: str) -> str:
    """sha256 of a file."""
    return hashlib.sha256(epath.Path(path).read_bytes()).hexdigest()


def _commit() -> str | None:
    """The commit of the source tree, or the one that the wheel was built from, with "+" if there
    were changes; None if neither is known."""
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
