"""The folder of a run belongs to one config and one process at a time, and remembers what is
done. What may change between two starts stands in `runs.resume`."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from etils import epath
from jax.experimental import multihost_utils

from r1reward_jax.console import say
from r1reward_jax.errors import InputError
from r1reward_jax.files import is_remote, write_whole
from r1reward_jax.reading import MB, read_regular
from r1reward_jax.runs import stages as run_stages
from r1reward_jax.runs.metrics import has_steps
from r1reward_jax.runs.provenance import about
from r1reward_jax.runs.resume import Change, defaults_of, differences, exactness
from r1reward_jax.runs.stages import Stage
from r1reward_jax.runs.verbs import canonical
from r1reward_jax.runs.writers import wants_wandb

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LARGEST = 64 * MB
"""Bytes of a `run.json`."""
FIELDS = ("verb", "config", "started", "data_hash", "commit", "versions", "devices")
"""The fields that every `run.json` has."""


@contextlib.contextmanager
def run_folder(
    workdir: str, config: dict[str, Any], *, verb: str, stages: Sequence[Stage] = ()
) -> Iterator[None]:
    """Claim a folder for a run, until the end of the block.

    `run.json` gets the verb, the config, commit, versions and devices. Under "resumed" it gets
    those of every later start, with the knobs that have changed since the last one; its config is
    then the new one. `config.json` gets the config, which `--config` reads.

    A run without any result begins anew, with whatever config it is given. One with results
    resumes with a config that leaves its numbers as they are (`runs.resume`). A run of several
    stages also accepts a correction: the stages that it reaches are repeated.

    Args:
      workdir: made if needed.
      config: of the run.
      verb: of the command line.
      stages: of a run that has several, in their order.

    Raises:
      InputError: the folder cannot be written, is in use, or holds something else: other files, a
        run of another verb or with a config that changes its numbers; its checkpoints would be
        continued with the wrong settings. Or Weights & Biases is asked for and not installed.
    """
    if verb != "evaluate":  # which writes no metrics
        wants_wandb(config.get("wandb", ""))
    folder = epath.Path(workdir)
    with _locked(folder):
        if jax.process_index() == 0:
            _claim(folder, config, verb, stages)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("run folder")
        yield


def _claim(
    folder: epath.Path, config: dict[str, Any], verb: str, stages: Sequence[Stage] = ()
) -> None:
    for part in () if is_remote(folder) else folder.glob("*.part"):  # of a process that was killed
        part.unlink(missing_ok=True)
    old = _read(folder / "run.json")
    if old is None:
        _refuse_strangers(folder)
    if old is not None and _has_results(folder):
        body = _resumed(folder, old, config, verb, stages)
    else:
        body = about() | {"verb": verb, "seed": config["seed"], "data_hash": None}
        body |= {"config": config, "resumed": []}
        stale_files = (folder / "evaluation.json", folder / "metrics.jsonl")
        for stale in [*folder.glob("skipped_*.jsonl"), *stale_files]:
            stale.unlink(missing_ok=True)
    write_whole(folder / "run.json", json.dumps(body, indent=2))  # first: it makes this a run
    write_whole(folder / "config.json", json.dumps(config, indent=2))


def _resumed(
    folder: epath.Path,
    old: dict[str, Any],
    config: dict[str, Any],
    verb: str,
    stages: Sequence[Stage],
) -> dict[str, Any]:
    """Return what `run.json` is to say of a run that resumes. Raises InputError for changes that
    are neither accepted nor a correction that repeats stages."""
    verb, began = canonical(verb), canonical(old["verb"])
    if began != verb:
        _refuse(folder, [Change("verb", began, verb)])
    # a folder may have moved: places below it are compared from there
    stored = _from_here(old["config"], old["config"].get("workdir", ""))
    given = _from_here(json.loads(json.dumps(config)), config["workdir"])
    accepted, corrected = {}, []
    defaults = json.loads(json.dumps(defaults_of(verb)))  # lists, as what `run.json` has
    for change in differences(stored, given, defaults):
        if means := exactness(change, verb):
            accepted[change] = means
        else:
            corrected.append(change)
    again = run_stages.repeated(stages, list(accepted), corrected)
    if again is None or any(s.keeps and run_stages.has_updates(folder, s) for s in again):
        _refuse(folder, corrected)
        again = []
    now = about()
    _say_it_resumes(folder, old, now)
    for change, means in accepted.items():
        say(f"{change}: {means}")
    if again:
        _repeat(folder, again, corrected)
    changed = [vars(change) | {"exactness": means} for change, means in accepted.items()]
    changed += [vars(change) | {"exactness": "stages are repeated"} for change in corrected]
    now |= {"changed": changed, "repeated": [stage.name for stage in again]}
    body = old | {"verb": verb, "config": config, "seed": config["seed"]}
    if any(stage.makes_data for stage in again):
        body |= {"data_hash": None}
    return body | {"resumed": [*old.get("resumed", []), now]}


def _repeat(folder: epath.Path, again: Sequence[Stage], corrected: Sequence[Change]) -> None:
    """Make the run repeat stages, and say so."""
    names = ", ".join(stage.name for stage in again)
    why = "; ".join(map(str, corrected)) or "the training before is longer now"
    say(f"stages that are repeated: {names} ({why})")
    for place in run_stages.set_aside(folder, again):
        say(f"their checkpoints are kept in {place}; delete it when you like")


def _has_results(folder: epath.Path) -> bool:
    """Return whether there is anything to resume from."""
    files = ("stages.json", "judgements.jsonl")
    written = any((folder / f).exists() and (folder / f).stat().length for f in files)
    return written or has_steps(folder) or any(folder.glob("checkpoints/*/[0-9]*"))


def began_at(workdir: str) -> str:
    """Return when the run of a folder was first started; empty if there is none."""
    return (_read(epath.Path(workdir) / "run.json") or {"started": ""})["started"]


def claim_data(workdir: str, data_hash: str, **others: str) -> None:
    """Write the hash of the data into `run.json`, and those of whatever else a run depends on and
    its config only names. Raises InputError if the run began with others."""
    if jax.process_index():
        return
    folder = epath.Path(workdir)
    body = json.loads((folder / "run.json").read_text())
    given = {"data_hash": data_hash} | {f"{name}_hash": value for name, value in others.items()}
    known = {name: body.get(name) or value for name, value in given.items()}
    _refuse(folder, differences(known, given))
    write_whole(folder / "run.json", json.dumps(body | given, indent=2))


def note_opening(workdir: str, phase: str, rows: Mapping[str, str]) -> None:
    """Write what a phase begins with into `run.json`, under "opening"."""
    _note(workdir, "opening", {phase: dict(rows)})


def note_prompt(workdir: str, evaluator: str, system: str) -> None:
    """Write the prompt that a file gave to a run into `run.json`: the file may change or go.

    Args:
      workdir: of the run.
      evaluator: a format string.
      system: the system message.
    """
    _note(workdir, "prompt", {"evaluator": evaluator, "system": system})


def note_judged(workdir: str, before: int, count: int, seconds: float) -> None:
    """Write how long a part of an evaluation took into `run.json`, under "judged". What was killed
    before it could say so is missing there.

    Args:
      workdir: of the run.
      before: judgements that were there when the part began.
      count: of the part.
      seconds: with loading and compiling the model.
    """
    _note(workdir, "judged", {str(before): {"count": count, "seconds": round(seconds, 1)}})


def _note(workdir: str, name: str, values: Mapping[str, Any]) -> None:
    """Add to an object of `run.json`; the first of several processes does."""
    if jax.process_index():
        return
    path = epath.Path(workdir) / "run.json"
    body = json.loads(path.read_text())
    noted = body.get(name, {}) | values
    write_whole(path, json.dumps(body | {name: noted}, indent=2))


@contextlib.contextmanager
def _locked(folder: epath.Path) -> Iterator[None]:
    """Lock the folder for this process; the lock ends with the process. Only local disks have
    locks, and only the first of several processes takes one."""
    alone = fcntl and not is_remote(folder) and jax.process_index() == 0
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
    """Return what `run.json` says; None if there is none."""
    if not path.exists():
        return None
    try:
        body = json.loads(read_regular(path, LARGEST))
        missing = [name for name in FIELDS if name not in body]
        if missing or not isinstance(body["config"], dict):
            raise ValueError(f"it lacks {', '.join(missing) or 'a config'}")
        if wrong := [name for name in body if not _is_sound(name, body[name])]:
            raise ValueError(f"its {', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} odd")
        return body
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: not written by a run ({error}); choose another workdir, or delete this one"
        ) from None


def _is_sound(name: str, value: Any) -> bool:
    """Return whether an entry of `run.json` is of the kind that the code here relies on."""
    if name == "config":
        return isinstance(value.get("workdir", ""), str)
    if name == "resumed":
        return isinstance(value, list)
    if name in ("opening", "prompt", "judged"):
        return isinstance(value, dict)
    return name not in ("verb", "started") or isinstance(value, str)


def _refuse_strangers(folder: epath.Path) -> None:
    """Raise InputError for files in a folder that holds no run, but for what a killed run left."""
    own = lambda name: name.startswith(".") or name.endswith(".part")  # noqa: E731
    names = sorted(p.name for p in folder.iterdir() if not own(p.name))
    if names:
        raise InputError(
            f"{folder} holds no run but other files ({', '.join(names[:3])}); choose a new or "
            "empty workdir"
        )


def _say_it_resumes(folder: epath.Path, old: dict[str, Any], now: dict[str, Any]) -> None:
    say(f"{folder}: resuming the run of {old['started']}")
    same = ("commit", "versions", "devices")
    changed = [f"{name}: {old[name]} -> {now[name]}" for name in same if old[name] != now[name]]
    if changed:
        say(f"it began with another {'; '.join(changed)}: its end may differ in rounding")


def _from_here(config: dict[str, Any], workdir: str) -> dict[str, Any]:
    """Return a config with the places below its run's folder relative to that."""
    here = workdir.rstrip("/")

    def one(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: one(v) for k, v in value.items()}
        inside = isinstance(value, str) and here and f"{value}/".startswith(f"{here}/")
        return "." + value.rstrip("/").removeprefix(here) if inside else value

    return one(config)


def _refuse(folder: epath.Path, changed: Sequence[Change]) -> None:
    """Raise InputError if there are changes, and say which."""
    if changed:
        more = f"; and {len(changed) - 8} more" if len(changed) > 8 else ""
        raise InputError(
            f"{folder} holds another run ({'; '.join(map(str, changed[:8]))}{more}); give a new "
            "workdir, or delete that one"
        )
