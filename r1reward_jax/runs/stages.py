"""Runs of several stages: what each depends on, what the finished ones have found, and which of
them a corrected config repeats."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from etils import epath

from r1reward_jax.errors import InputError
from r1reward_jax.files import write_whole
from r1reward_jax.runs.metrics import forget_starts, has_steps
from r1reward_jax.runs.resume import LENGTHS, Change, matches


@dataclass(frozen=True)
class Stage:
    """A part of a run, and what it depends on."""

    name: str
    knobs: tuple[str, ...]
    """Patterns of the knobs that it reads itself."""
    needs: tuple[str, ...] = ()
    """Stages whose results it uses; they come before it."""
    phases: tuple[str, ...] = ()
    """Names of the trainings in it, which have metrics and checkpoints."""
    makes_data: bool = False
    """Whether the run's data, whose hash `run.json` has, come from it."""
    keeps: bool = False
    """Whether its updates are never thrown away: a change that reaches it is refused then."""


class Stages:
    """Keeps the results of the finished stages of a run in `stages.json`; a resumed run does not
    repeat them."""

    def __init__(self, workdir: str):
        self._path = epath.Path(workdir) / "stages.json"
        self._since = time.perf_counter()
        self._all = _read(self._path)

    def once(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what `work` gives, or gave when it was finished before."""
        if name not in self._all["found"]:
            self._all["found"][name] = work()
            now = time.perf_counter()
            self._all["seconds"] += now - self._since
            self._since = now
            if jax.process_index() == 0:
                write_whole(self._path, json.dumps(self._all, indent=2))
        return self._all["found"][name]

    def found(self) -> dict[str, Any]:
        """Return the results of all finished stages."""
        return {
            name: value for stage in self._all["found"].values() for name, value in stage.items()
        }

    @property
    def seconds(self) -> float:
        """The time from the beginning of each start to the end of the last stage it finished."""
        return self._all["seconds"]


def repeated(
    stages: Sequence[Stage], accepted: Sequence[Change], corrected: Sequence[Change]
) -> list[Stage] | None:
    """Return the stages that must be repeated, in their order; None if a corrected knob belongs to
    no stage.

    Args:
      stages: of the run.
      accepted: changes that the run may resume with. A training that is made longer is not
        repeated, but what needs it is.
      corrected: other changes.
    """
    if not all(any(matches(c.knob, s.knobs) for s in stages) for c in corrected):
        return None
    longer = [c.knob for c in accepted if c.knob in LENGTHS.values()]
    changed: set[str] = set()
    found = []
    for stage in stages:
        corrects = any(matches(c.knob, stage.knobs) for c in corrected)
        if corrects or changed.intersection(stage.needs):
            found.append(stage)
            changed.add(stage.name)
        elif any(matches(knob, stage.knobs) for knob in longer):
            changed.add(stage.name)
    return found


def has_updates(folder: epath.Path, stage: Stage) -> bool:
    """Return whether a training of the stage has left a checkpoint, or metrics of an update."""
    if any(any(folder.glob(f"checkpoints/{phase}/[0-9]*")) for phase in stage.phases):
        return True
    return bool(stage.phases) and has_steps(folder, stage.phases)


def set_aside(folder: epath.Path, stages: Sequence[Stage]) -> list[str]:
    """Make a run repeat some stages: forget their results, and move their checkpoints.

    Returns:
      Where the checkpoints are now.
    """
    path = folder / "stages.json"
    body, names = _read(path), {stage.name for stage in stages}
    body["found"] = {k: v for k, v in body["found"].items() if k not in names}
    write_whole(path, json.dumps(body, indent=2))
    moved, phases = [], [phase for stage in stages for phase in stage.phases]
    forget_starts(folder, phases)
    for phase in phases:
        old = folder / "checkpoints" / phase
        if old.exists():
            number = len(list((folder / "set_aside").glob(f"{phase}_*"))) + 1
            new = folder / "set_aside" / f"{phase}_{number}"
            new.parent.mkdir(exist_ok=True)
            old.rename(new)
            moved.append(str(new))
    return moved


def _read(path: epath.Path) -> dict[str, Any]:
    """Return what `stages.json` has: results by stage, and seconds."""
    try:
        body = json.loads(path.read_text()) if path.exists() else {}
        body = {"found": {}, "seconds": 0.0} | body
        found = body["found"]
        sound = isinstance(found, dict) and all(isinstance(v, dict) for v in found.values())
        if not sound or type(body["seconds"]) not in (int, float):
            raise ValueError("not the results of stages")
        return body
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); delete it, and its stages are repeated"
        ) from None
