"""The same metrics for TensorBoard and Weights & Biases."""

import hashlib
import importlib
import importlib.util
import netrc
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from etils import epath

from r1reward_jax.console import say


class Board(Protocol):
    """Where metrics go beside `metrics.jsonl`."""

    def begin(self, phase: str, step: int) -> None:
        """A phase begins, or goes on behind `step`."""
        ...

    def write(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """Metrics of a step."""
        ...

    def close(self) -> None:
        """Nothing comes any more."""
        ...


class TensorBoard:
    """Event files in `folder/PHASE`; `tensorboard --logdir folder` shows a phase as a run."""

    def __init__(self, folder: str):
        self.folder, self._writer = folder, None

    def begin(self, phase: str, step: int) -> None:
        """What stands behind `step` from before an interruption is not shown any more."""
        # written without a thread of its own: what goes wrong is seen here
        from tensorboardX.event_file_writer import EventsWriter

        self.close()
        place = epath.Path(self.folder) / phase
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
          began: when the run was first started; with the folder, this is what it is known by.
        """
        import wandb  # pyright: ignore[reportMissingImports] (an option of the user)

        mode: Any = None
        if not (_has_key() or os.environ.get("WANDB_MODE")):
            mode = "offline"  # else `init` would ask for a key, and wait
            say(f"wandb: no key; curves go to {workdir}/wandb (`wandb sync` sends them)")
        name = hashlib.sha256(f"{began} {os.path.abspath(workdir)}".encode()).hexdigest()[:16]
        self._run: Any = wandb.init(
            project=project, id=name, resume="allow", config=dict(config), dir=workdir, mode=mode
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
    """A board without which a run goes on: at its first error it is left, and that is said."""

    def __init__(self, name: str, make: Callable[[], Board]):
        self._name, self._board = name, None
        self._try(lambda: setattr(self, "_board", make()))

    def begin(self, phase: str, step: int) -> None:
        self._try(lambda: self._board and self._board.begin(phase, step))

    def write(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        self._try(lambda: self._board and self._board.write(phase, step, values))

    def close(self) -> None:
        self._try(lambda: self._board and self._board.close())

    def _try(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:
            self._board = None
            say(f"{self._name}: {error or type(error).__name__}; the run goes on without it")


def _has_key() -> bool:
    """Whether `wandb login` was done, or the environment has a key."""
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        hosts = {}
    return bool(os.environ.get("WANDB_API_KEY")) or any("wandb" in host for host in hosts)


def make_boards(workdir: str, project: str, config: Mapping[str, Any], began: str) -> list[Board]:
    """TensorBoard always, Weights & Biases if it is installed and has not been turned off.

    Args:
      workdir: of the run.
      project: in Weights & Biases; empty for none.
      config: of the run.
      began: when the run was first started.
    """
    boards: list[Board] = [Careful("tensorboard", lambda: TensorBoard(f"{workdir}/tensorboard"))]
    turned_off = os.environ.get("WANDB_MODE") == "disabled"
    if project and not turned_off and importlib.util.find_spec("wandb"):
        make = lambda: WeightsAndBiases(project, workdir, config, began)  # noqa: E731
        boards.append(Careful("wandb", make))
    return boards
