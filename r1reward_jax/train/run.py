"""The folder of a run: whose it is, and what it says about itself (`run.json`, `config.json`)."""

import contextlib
import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from etils import epath

import r1reward_jax
from r1reward_jax.console import say
from r1reward_jax.files import write_whole
from r1reward_jax.types import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "grain", "numpy")


@contextlib.contextmanager
def run_folder(workdir: str, config: dict[str, Any], *, verb: str) -> Iterator[None]:
    """Claim a folder for a run, until the end of the block.

    `config.json` gets the config, which `--config` reads; `run.json` gets the verb, the config,
    commit, versions and devices, and those of every later start under "resumed".

    Args:
      workdir: made if needed.
      config: of the run.
      verb: of the command line.

    Raises:
      InputError: the folder cannot be written, is in use, or holds something else: other files, a
        run of another verb or with another config; its checkpoints would be continued with the
        wrong settings.
    """
    folder = epath.Path(workdir)
    with _locked(folder):
        path = folder / "run.json"
        old = _read(path)
        if old is None:
            _refuse_strangers(folder)
            body = about() | {"verb": verb, "seed": config["seed"], "data_hash": None}
            body |= {"config": config, "resumed": []}
        else:
            _refuse_another(workdir, {"verb": old["verb"]} | old["config"], {"verb": verb} | config)
            body = old | {"resumed": [*old.get("resumed", []), about()]}
            _say_it_goes_on(workdir, old, body["resumed"][-1])
        if jax.process_index() == 0:
            write_whole(folder / "config.json", json.dumps(config, indent=2))
            write_whole(path, json.dumps(body, indent=2))
        yield


def began_at(workdir: str) -> str:
    """When the run of a folder was first started; empty if there is none."""
    return (_read(epath.Path(workdir) / "run.json") or {"started": ""})["started"]


def claim_data(workdir: str, data_hash: str) -> None:
    """Leave the hash of the data in `run.json`. Raises InputError if the run began with other
    data."""
    path = epath.Path(workdir) / "run.json"
    body = json.loads(path.read_text())
    known = body["data_hash"] or data_hash
    _refuse_another(workdir, {"data_hash": known}, {"data_hash": data_hash})
    if jax.process_index() == 0:
        write_whole(path, json.dumps(body | {"data_hash": data_hash}, indent=2))


class Stages:
    """What the finished stages of a run have found, in `stages.json`; a resumed run does not repeat
    them."""

    def __init__(self, workdir: str):
        self._path = epath.Path(workdir) / "stages.json"
        self._found = json.loads(self._path.read_text()) if self._path.exists() else {}

    def once(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `work` gives, or gave when it was finished before."""
        if name not in self._found:
            self._found[name] = work()
            if jax.process_index() == 0:
                write_whole(self._path, json.dumps(self._found, indent=2))
        return self._found[name]


@contextlib.contextmanager
def _locked(folder: epath.Path) -> Iterator[None]:
    """Hold the folder for this process alone; a killed one loses its hold. Only on local disks and
    by the first of several processes."""
    alone = fcntl and "://" not in str(folder) and jax.process_index() == 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "w") if alone else None  # noqa: SIM115
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another workdir"
        ) from None
    if not fcntl or not file:
        yield
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"{folder} is in use by another process; wait for it, or choose another workdir"
            ) from None
        yield


def _read(path: epath.Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        body = json.loads(path.read_text())
        return {name: body[name] for name in ("config", "verb", "started", "data_hash")} | body
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{path}: not written by a run ({error}); choose another workdir, or delete this one"
        ) from None


def _refuse_strangers(folder: epath.Path) -> None:
    """Raise InputError for files in a folder that holds no run."""
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    if names and jax.process_index() == 0:
        raise InputError(
            f"{folder} holds no run but other files ({', '.join(names[:3])}); choose a new or "
            "empty workdir"
        )


def _say_it_goes_on(workdir: str, old: dict[str, Any], now: dict[str, Any]) -> None:
    say(f"{workdir}: going on with the run of {old['started']}")
    same = ("commit", "versions", "devices")
    changed = [f"{name}: {old[name]} -> {now[name]}" for name in same if old[name] != now[name]]
    if changed:
        say(f"it began with another {'; '.join(changed)}: its end may differ in rounding")


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


def _refuse_another(workdir: str, stored: dict[str, Any], given: dict[str, Any]) -> None:
    """Raise InputError where the run of a folder is not the given one; says what differs."""
    old, new = _flat(stored), _flat(json.loads(json.dumps(given)))
    changed = [
        f"{name}: {old.get(name)} -> {new.get(name)}"
        for name in sorted(old | new)
        if old.get(name) != new.get(name)
    ]
    if changed:
        more = f"; and {len(changed) - 8} more" if len(changed) > 8 else ""
        raise InputError(
            f"{workdir} holds another run ({'; '.join(changed[:8])}{more}); give a new workdir, or "
            "delete that one"
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
