"""A run's folder as plain values.

Unfinished runs are read as far as they got: missing files are absent, and a last line that is half
written is left out. Other lines that cannot be read are counted in the run's notes, which the page
shows. Runs of earlier versions are read, too; their metrics get today's names.

The folder may be somebody else's: its files go through `reading`, so that pipes and devices are
refused, and numbers are checked before anything is computed from them.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etils import epath

from r1reward_jax.evals.upgrade import current
from r1reward_jax.reading import MB, local_path, open_regular, read_regular
from r1reward_jax.runs.metrics import current_name
from r1reward_jax.types import InputError

Curve = tuple[tuple[int, float | None], ...]
"""(step, value) in order; None where the value is not finite."""

MOST_BYTES, MOST_LINES_BYTES, MOST_LINE = 256 * MB, 8192 * MB, 64 * MB
"""Bytes of a JSON file, of a file of lines, and of one of its lines."""
MOST_STEP = 2**53
"""Steps beyond are no counts of anything."""
BROKEN = (OSError, ValueError, RecursionError)
"""What reading a file of JSON raises, one of 10^5 brackets included."""
UNITS = {"rl": "iteration"}
"""What a step of a phase is called; steps of other phases are updates."""
_LENGTHS = {
    "rl": ("rl", "iterations"),
    "cold_start": ("sft", "steps"),
    "blind": ("sft", "steps"),
    "sft": ("sft", "steps"),
    "judge": ("tiny_judge", "steps"),
    "scalar": ("scalar", "steps"),
}


@dataclass(frozen=True)
class Run:
    """The contents of a run's folder."""

    folder: epath.Path
    name: str
    about: Mapping[str, Any]
    """Its run.json."""
    summary: Mapping[str, Any]
    """Its summary.json; empty if there is none."""
    evaluation: Mapping[str, Any]
    """Its evaluation.json, as `evals.results` describes it; empty if there is none."""
    curves: Mapping[str, Mapping[str, Curve]]
    """Phase -> metric -> curve, in the order of their appearance."""
    last: tuple[str, int, float] | None
    """Phase, step and time (seconds since 1970) of the last metrics."""
    finished: bool
    notes: tuple[str, ...]
    """What could not be read."""
    skipped: tuple[tuple[str, str, str], ...] = ()
    """(phase, record, reason) of what was left out of training or evaluation."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved config; empty in a run.json that has none."""
        return mapping(self.about.get("config"))

    @property
    def workdir(self) -> str:
        """Where the run was when it was written."""
        return str(self.config.get("workdir") or "").rstrip("/")

    def curve(self, phase: str, metric: str) -> Curve:
        """Return one of its curves; empty if it does not have it."""
        return self.curves.get(phase, {}).get(metric, ())

    def length(self, phase: str) -> int | None:
        """Return the steps that a phase is to have by the config; None if it does not say."""
        section, field = _LENGTHS.get(phase, ("", ""))
        steps = mapping(self.config.get(section)).get(field)
        return steps if isinstance(steps, int) else None


def read_runs(folders: Sequence[str]) -> list[Run]:
    """Return the runs of some folders, with names that tell them apart.

    Raises:
      InputError: no folders, or one that holds no run.
    """
    if not folders:
        raise InputError("no runs to report on; give the folder of at least one")
    names = _names([_place(folder).resolve().parts for folder in folders])
    return [_read_run(folder, name) for folder, name in zip(folders, names, strict=True)]


def _place(given: str) -> epath.Path:
    """Return a run's folder. Raises InputError for an address."""
    try:
        return epath.Path(local_path(given))
    except (ImportError, LookupError, ValueError) as error:
        raise InputError(f"{given}: not a folder that can be read ({error})") from None


def _read_run(given: str, name: str) -> Run:
    folder = _place(given)
    about = _object(folder / "run.json")
    if about is None:
        raise InputError(
            f"{given}: holds no run (no run.json); give a run's workdir, such as runs/quickstart"
        )
    notes: list[str] = []
    lines = read_rows(folder / "metrics.jsonl", notes)
    steps = [row for row in lines if is_step(row)]
    if len(steps) < len(lines):
        notes.append(f"metrics.jsonl: {len(lines) - len(steps)} lines without phase and step")
    evaluation = mapping(_object(folder / "evaluation.json", notes))
    if evaluation and (evaluation := current(evaluation)) is None:
        notes.append("evaluation.json: of another version or form; `r1reward evaluate` makes one")
        evaluation = {}
    endings = ("summary.json", "evaluation.json", "exported")
    return Run(
        folder=folder,
        name=name,
        about=about,
        summary=mapping(_object(folder / "summary.json", notes)),
        evaluation=evaluation,
        curves=_curves(steps),
        last=_last(steps),
        finished=any((folder / ending).exists() for ending in endings),
        skipped=_skipped(folder, notes),
        notes=tuple(notes),
    )


def _skipped(folder: epath.Path, notes: list[str]) -> tuple[tuple[str, str, str], ...]:
    """Return what the run's lists of skipped records say."""
    found = []
    for path in sorted(folder.glob("skipped*.jsonl")):
        phase = path.name[len("skipped") : -len(".jsonl")].strip("_").replace("_", " ")
        for row in read_rows(path, notes):
            name = next(
                (row[k] for k in ("name", "id", "place", "row") if row.get(k) is not None), ""
            )
            found.append((phase, str(name), str(row.get("reason") or "")))
    return tuple(found)


def read_rows(path: epath.Path, notes: list[str]) -> list[dict[str, Any]]:
    """Return the objects of a jsonl file, none if there is no file. Other lines are counted in the
    notes, but for a last one without an end: its run is writing it, or was killed."""
    rows, broken = [], []
    try:
        for number, line in enumerate(_lines(path), 1):
            try:
                row = json.loads(line)
            except BROKEN:
                row = None
            if isinstance(row, dict):
                rows.append(row)
            elif line.strip() and line.endswith(b"\n"):
                broken.append(number)
    except OSError as error:
        notes.append(f"{path.name}: cannot be read ({error.strerror or error})")
    if broken:
        first = ", ".join(map(str, broken[:5])) + (", …" if len(broken) > 5 else "")
        notes.append(f"{path.name}: {len(broken)} lines cannot be read (line {first})")
    return rows


def _lines(path: epath.Path) -> Iterator[bytes]:
    if not path.exists():
        return
    with open_regular(path, MOST_LINES_BYTES) as file:
        while line := file.readline(MOST_LINE):
            while not line.endswith(b"\n") and (rest := file.readline(MOST_LINE)):
                line = b"?" * 2 + rest[-1:]  # too long for a line of ours
            yield line


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a JSON object; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def finite(value: Any) -> float | None:
    """Return a number; None for anything else, strings such as "nan" among them."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, int) and value.bit_length() > 1000:  # more than a float can hold
        return None
    return float(value) if math.isfinite(value) else None


def is_step(row: Mapping[str, Any]) -> bool:
    """Return whether a line has the form that MetricsLog writes."""
    step = row.get("step")
    whole = isinstance(step, int) and not isinstance(step, bool) and abs(step) < MOST_STEP
    return isinstance(row.get("phase"), str) and whole


def moved(path: str, run: Run) -> str:
    """Return where a recorded file is if the run's folder was moved: a path below the workdir
    becomes one below the folder that was given, and so does a relative path."""
    if run.workdir and path.startswith(run.workdir + "/"):
        path = path[len(run.workdir) + 1 :]
    return str(run.folder / path)


def _object(path: epath.Path, notes: list[str] | None = None) -> dict[str, Any] | None:
    """Return a JSON file's object, None if there is no file. A file with anything else is noted;
    without notes it raises InputError."""
    if not path.exists():
        return None
    try:
        found = json.loads(read_regular(path, MOST_BYTES))
        problem = "" if isinstance(found, dict) else "not a JSON object"
    except OSError as error:
        found, problem = None, f"cannot be read ({error.strerror or error})"
    except BROKEN as error:
        found, problem = None, f"not JSON ({error})"
    if problem and notes is None:
        raise InputError(f"{path}: {problem}; is it a file that r1reward wrote?")
    if problem and notes is not None:
        notes.append(f"{path.name}: {problem}")
    return None if problem else found


def _curves(steps: Sequence[dict[str, Any]]) -> dict[str, dict[str, Curve]]:
    found: dict[str, dict[str, dict[int, float | None]]] = {}
    for row in steps:
        metrics = found.setdefault(row["phase"], {})
        for name, value in row.items():
            if name not in ("phase", "step", "at"):
                metrics.setdefault(current_name(name), {})[row["step"]] = finite(value)
    return {
        phase: {name: tuple(sorted(values.items())) for name, values in metrics.items()}
        for phase, metrics in found.items()
    }


def _last(steps: Sequence[dict[str, Any]]) -> tuple[str, int, float] | None:
    if not steps:
        return None
    row = steps[-1]
    return row["phase"], row["step"], finite(row.get("at")) or 0.0


def _names(paths: Sequence[Sequence[str]]) -> list[str]:
    """Return the ends of paths, each as short as tells it from the others. A folder that is given
    twice gets a number."""
    names = []
    for i, path in enumerate(paths):
        others = [p for p in paths if tuple(p) != tuple(path)]
        length = next(
            (n for n in range(1, len(path)) if all(p[-n:] != path[-n:] for p in others)), len(path)
        )
        name = "/".join(path[-length:]).lstrip("/") or "run"
        again = sum(tuple(p) == tuple(path) for p in paths[:i])
        names.append(f"{name} ({again + 1})" if again else name)
    return names
