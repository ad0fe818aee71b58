"""The folder of a run belongs to one config and one process at a time, and remembers what is
done."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from etils import epath
from jax.experimental import multihost_utils

from r1reward_jax.console import say
from r1reward_jax.files import write_whole
from r1reward_jax.runs.provenance import about
from r1reward_jax.types import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FIELDS = ("verb", "config", "started", "data_hash", "commit", "versions", "devices")
"""Of run.json, without which it is none."""


@contextlib.contextmanager
def run_folder(workdir: str, config: dict[str, Any], *, verb: str) -> Iterator[None]:
    """Claim a folder for a run, until the end of the block.

    `run.json` gets the verb, the config, commit, versions and devices, and those of every later
    start under "resumed"; `config.json` gets the config, which `--config` reads. A run that came to
    nothing may be begun anew with another config.

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
        if jax.process_index() == 0:
            _claim(folder, config, verb)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("run folder")
        yield


def _claim(folder: epath.Path, config: dict[str, Any], verb: str) -> None:
    old = _read(folder / "run.json")
    if old is None:
        _refuse_strangers(folder)
    elif _has_results(folder):
        _refuse_another(folder, old, {"verb": verb} | config)
    if old is not None and _has_results(folder):
        body = old | {"resumed": [*old.get("resumed", []), about()]}
        _say_it_goes_on(folder, old, body["resumed"][-1])
    else:
        body = about() | {"verb": verb, "seed": config["seed"], "data_hash": None}
        body |= {"config": config, "resumed": []}
        for stale in [*folder.glob("skipped_*.jsonl"), folder / "evaluation.json"]:
            stale.unlink(missing_ok=True)
    write_whole(folder / "run.json", json.dumps(body, indent=2))  # first: it makes this a run
    write_whole(folder / "config.json", json.dumps(config, indent=2))


def _has_results(folder: epath.Path) -> bool:
    """Whether there is anything to go on with."""
    files = ("stages.json", "judgements.jsonl", "metrics.jsonl")
    written = any((folder / f).exists() and (folder / f).stat().length for f in files)
    return written or any(folder.glob("checkpoints/*/[0-9]*"))


def began_at(workdir: str) -> str:
    """When the run of a folder was first started; empty if there is none."""
    return (_read(epath.Path(workdir) / "run.json") or {"started": ""})["started"]


def claim_data(workdir: str, data_hash: str, **others: str) -> None:
    """Leave the hash of the data in `run.json`, and those of whatever else a run depends on and its
    config only names. Raises InputError if the run began with others."""
    if jax.process_index():
        return
    folder = epath.Path(workdir)
    body = json.loads((folder / "run.json").read_text())
    given = {"data_hash": data_hash} | {f"{name}_hash": value for name, value in others.items()}
    known = {name: body.get(name) or value for name, value in given.items()}
    _refuse(folder, known, given)
    write_whole(folder / "run.json", json.dumps(body | given, indent=2))


class Stages:
    """What the finished stages of a run have found, in `stages.json`; a resumed run does not repeat
    them."""

    def __init__(self, workdir: str):
        self._path = epath.Path(workdir) / "stages.json"
        self._since = time.perf_counter()
        try:
            self._all = json.loads(self._path.read_text()) if self._path.exists() else {}
            self._all = {"found": {}, "seconds": 0.0} | self._all
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{self._path}: cannot be read ({error}); delete it, and its stages are repeated"
            ) from None

    def once(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `work` gives, or gave when it was finished before."""
        if name not in self._all["found"]:
            self._all["found"][name] = work()
            now = time.perf_counter()
            self._all["seconds"] += now - self._since
            self._since = now
            if jax.process_index() == 0:
                write_whole(self._path, json.dumps(self._all, indent=2))
        return self._all["found"][name]

    def found(self) -> dict[str, Any]:
        """Everything that finished stages have found."""
        return {
            name: value for stage in self._all["found"].values() for name, value in stage.items()
        }

    @property
    def seconds(self) -> float:
        """From the beginning of each start to the end of the last stage that it finished."""
        return self._all["seconds"]


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
        except BlockingIOError:
            raise InputError(
                f"{folder} is in use by another process; wait for it, or choose another workdir"
            ) from None
        yield


def _read(path: epath.Path) -> dict[str, Any] | None:
    """What run.json says; None if there is none."""
    if not path.exists():
        return None
    try:
        body = json.loads(path.read_text())
        missing = [name for name in FIELDS if name not in body]
        if missing or not isinstance(body["config"], dict):
            raise ValueError(f"it lacks {', '.join(missing) or 'a config'}")
        return body
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: not written by a run ({error}); choose another workdir, or delete this one"
        ) from None


def _refuse_strangers(folder: epath.Path) -> None:
    """Raise InputError for files in a folder that holds no run; half-written ones are ours."""
    own = lambda name: name.startswith(".") or name.endswith(".part")  # noqa: E731
    names = sorted(p.name for p in folder.iterdir() if not own(p.name))
    if names:
        raise InputError(
            f"{folder} holds no run but other files ({', '.join(names[:3])}); choose a new or "
            "empty workdir"
        )


def _say_it_goes_on(folder: epath.Path, old: dict[str, Any], now: dict[str, Any]) -> None:
    say(f"{folder}: going on with the run of {old['started']}")
    same = ("commit", "versions", "devices")
    changed = [f"{name}: {old[name]} -> {now[name]}" for name in same if old[name] != now[name]]
    if changed:
        say(f"it began with another {'; '.join(changed)}: its end may differ in rounding")


def _refuse_another(folder: epath.Path, old: dict[str, Any], given: dict[str, Any]) -> None:
    """Raise InputError where the run of a folder is not the given one. A folder may have moved:
    places are compared from there."""
    stored = {"verb": old["verb"]} | _from_here(old["config"], old["config"].get("workdir", ""))
    _refuse(folder, stored, _from_here(given, given["workdir"]))


def _from_here(config: dict[str, Any], workdir: str) -> dict[str, Any]:
    """A config with the places below its run's folder relative to that."""
    here = workdir.rstrip("/")

    def one(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: one(v) for k, v in value.items()}
        inside = isinstance(value, str) and here and f"{value}/".startswith(f"{here}/")
        return "." + value.rstrip("/").removeprefix(here) if inside else value

    return one(config)


def _refuse(folder: epath.Path, stored: dict[str, Any], given: dict[str, Any]) -> None:
    """Raise InputError where two configs differ; says in what."""
    old, new = _flat(stored), _flat(json.loads(json.dumps(given)))
    changed = [
        f"{name}: {old.get(name)} -> {new.get(name)}"
        for name in sorted(old | new)
        if old.get(name) != new.get(name)
    ]
    if changed:
        more = f"; and {len(changed) - 8} more" if len(changed) > 8 else ""
        raise InputError(
            f"{folder} holds another run ({'; '.join(changed[:8])}{more}); give a new workdir, or "
            "delete that one"
        )


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in config.items():
        flat |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return flat
