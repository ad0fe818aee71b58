"""The same metrics for TensorBoard and Weights & Biases."""

import hashlib
import importlib
import importlib.util
import netrc
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from etils import epath

from r1reward_jax.console import note, warn
from r1reward_jax.errors import InputError
from r1reward_jax.files import GrowingFile, is_remote


class Writer(Protocol):
    """Where metrics go beside `metrics.jsonl`."""

    def begin(self, phase: str, step: int) -> None:
        """Begin a phase, or resume it behind `step`."""
        ...

    def write(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """Add the metrics of a step."""
        ...

    def close(self) -> None:
        """Flush and close."""
        ...


class TensorBoard:
    """Event files in `folder/PHASE`; `tensorboard --logdir folder` shows a phase as a run.

    Events are written here and not by tensorboardX's `SummaryWriter`: that one writes in a thread,
    which dies with the first error, and the run then waits for its full queue for ever.
    """

    def __init__(self, folder: str):
        self.folder, self._writer = folder, None

    def begin(self, phase: str, step: int) -> None:
        """Hide what stands behind `step` from before an interruption."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.record_writer import register_writer_factory

        self.close()
        place = epath.Path(self.folder) / phase
        if is_remote(self.folder):  # its own writer would want another library for each store
            register_writer_factory(self.folder.partition(":")[0], _EventObjects())
        else:
            place.mkdir(parents=True, exist_ok=True)
        # the name that it chooses has seconds only
        self._writer = EventsWriter(f"{place}/events", f".{time.time_ns()}")
        log = _proto("event").SessionLog
        self._event(step + 1, session_log=log(status=log.START))

    def write(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        summary = _proto("summary").Summary
        scalars = [summary.Value(tag=n, simple_value=v) for n, v in values.items()]
        self._event(step, summary=summary(value=scalars))

    def _event(self, step: int, **content: Any) -> None:
        assert self._writer is not None
        event = _proto("event").Event(wall_time=time.time(), step=step, **content)
        self._writer.write_event(event)
        self._writer.flush()

    def close(self) -> None:
        if self._writer:
            self._writer.close()


class _EventObjects:
    """How tensorboardX writes event files into an object store."""

    def open(self, path: str) -> Any:
        return _EventObject(path)

    def directory_check(self, path: str) -> None:
        """Do nothing: an object store has no folders."""


class _EventObject(GrowingFile):
    """An event file in an object store, with the methods of a Python file."""

    def write(self, data: bytes) -> None:
        self.append(data)

    def flush(self) -> None:
        """Do nothing: an object is written every few seconds, and when it is closed."""


def _proto(name: str) -> Any:
    return importlib.import_module(f"tensorboardX.proto.{name}_pb2")


class WeightsAndBiases:
    """A run of a project, continued by the next start in the same folder. Steps that an
    interruption has undone are sent again, under the same number."""

    def __init__(self, project: str, workdir: str, config: Mapping[str, Any], began: str):
        """
        Args:
          project: in Weights & Biases.
          workdir: of the run.
          config: of the run.
          began: when the run was first started; with the folder, this identifies it.
        """
        import wandb  # pyright: ignore[reportMissingImports] (an option of the user)

        folder = tempfile.mkdtemp() if is_remote(workdir) else workdir  # it writes local files
        mode: Any = None
        if not (_has_key() or os.environ.get("WANDB_MODE")):
            mode = "offline"  # else `init` would ask for a key, and wait
            note(f"wandb: no key; curves go to {folder}/wandb (`wandb sync` sends them)")
        place = workdir if is_remote(workdir) else os.path.abspath(workdir)
        name = hashlib.sha256(f"{began} {place}".encode()).hexdigest()[:16]
        self._run: Any = wandb.init(
            project=project, id=name, resume="allow", config=dict(config), dir=folder, mode=mode
        )

    def begin(self, phase: str, step: int) -> None:
        self._run.define_metric(f"{phase}/step", hidden=True)
        self._run.define_metric(f"{phase}/*", step_metric=f"{phase}/step")

    def write(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        named = {f"{phase}/{name}": value for name, value in values.items()}
        self._run.log(named | {f"{phase}/step": step})

    def close(self) -> None:
        self._run.finish()


class Careful:
    """A writer that no run depends on: at its first error it is dropped, with a message."""

    def __init__(self, name: str, make: Callable[[], Writer]):
        self._name, self._writer = name, None
        self._try(lambda: setattr(self, "_writer", make()))

    def begin(self, phase: str, step: int) -> None:
        self._try(lambda: self._writer and self._writer.begin(phase, step))

    def write(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        self._try(lambda: self._writer and self._writer.write(phase, step, values))

    def close(self) -> None:
        self._try(lambda: self._writer and self._writer.close())

    def _try(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:
            self._writer = None
            warn(f"{self._name}: {error or type(error).__name__}; the run continues without it")


def _has_key() -> bool:
    """Return whether `wandb login` was done, or the environment has a key."""
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        hosts = {}
    return bool(os.environ.get("WANDB_API_KEY")) or any("wandb" in host for host in hosts)


def wants_wandb(project: str) -> bool:
    """Return whether metrics go to Weights & Biases.

    Args:
      project: of the config; empty for none. WANDB_MODE=disabled turns it off, too.

    Raises:
      InputError: they are to go there, and it is not installed.
    """
    if not project or os.environ.get("WANDB_MODE") == "disabled":
        return False
    if not importlib.util.find_spec("wandb"):
        raise InputError(
            f"wandb={project}: Weights & Biases is not installed; `pip install wandb`, or leave "
            "wandb empty"
        )
    return True


def make_writers(workdir: str, project: str, config: Mapping[str, Any], began: str) -> list[Writer]:
    """Return the writers of a run: TensorBoard always, Weights & Biases where a project is given.

    Args:
      workdir: of the run.
      project: in Weights & Biases; empty for none.
      config: of the run.
      began: when the run was first started.

    Raises:
      InputError: Weights & Biases is asked for and not installed.
    """
    writers: list[Writer] = [Careful("tensorboard", lambda: TensorBoard(f"{workdir}/tensorboard"))]
    if wants_wandb(project):
        make = lambda: WeightsAndBiases(project, workdir, config, began)  # noqa: E731
        writers.append(Careful("wandb", make))
    return writers
