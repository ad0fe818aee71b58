"""What an evaluation writes down, one line per judgement, and reads back: all numbers come from it.

`judgements.jsonl` has two lines per record, in the order of the records: as stored, and with the
responses swapped. Rows are numbered by their position in the benchmark; ids of benchmarks repeat.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etils import epath

from r1reward_jax.files import write_whole
from r1reward_jax.types import InputError, Verdict, other


@dataclass(frozen=True)
class Shown:
    """A record in one order, and what the model said about it; verdicts are positions as shown."""

    preferred: Verdict
    verdict: Verdict | None
    """The greedy one; None where it cannot be read."""
    probability: float | None = None
    """Of the verdict 1, by the answer token behind the greedy analysis; None without verdict."""
    votes: tuple[Verdict | None, ...] = ()
    """Of the samples, in the order in which they are drawn; None where one cannot be read."""
    vote_probabilities: tuple[float | None, ...] = ()
    """Of the verdict 1, one for each vote."""
    tokens: int = 0
    """Of the greedy completion."""
    vote_tokens: tuple[int, ...] = ()
    """Of the samples' completions."""
    prompt_tokens: int = 0
    well_formed: bool = False
    """Whether the greedy completion has the format of training."""
    cut: bool = False
    """Whether the greedy completion ran into the length limit."""
    skipped: bool = False
    """Whether the prompt was too long for the model to be asked."""
    stopped: bool = False
    """Whether sampling ended before all votes were in, because the outcome was clear."""
    stopped_tokens: int = 0
    """Of samples that were begun, and not ended for that."""


@dataclass(frozen=True)
class Judged:
    """A record in both orders."""

    row: int
    """Position in the benchmark, from 0."""
    id: str
    group: str
    """Of the benchmark; empty if it has none."""
    unit: str
    """What pairs that belong together share (the id of MM-RLHF); else the row's number."""
    orders: tuple[Shown, Shown]
    """As stored, and swapped."""


class Journal:
    """A judgements.jsonl that grows by a line per judgement, in order; whoever is killed loses the
    line that was being written. Lines that are there already are kept."""

    def __init__(self, path: str, total: int):
        """
        Args:
          path: of the file; made if needed.
          total: judgements that it is to have.

        Raises:
          InputError: it holds other lines, or more of them.
        """
        self._path = epath.Path(path)
        self.done, torn = 0, False
        """Judgements that are there."""
        with contextlib.ExitStack() as stack:
            lines = stack.enter_context(self._path.open()) if self._path.exists() else ()
            for line in lines:
                if torn := not line.endswith("\n"):
                    break
                if _number(line) != self.done or self.done == total:
                    raise InputError(
                        f"{path}: line {self.done + 1} is not the judgement that belongs there (of "
                        f"{total}); delete the file, or take another workdir"
                    )
                self.done += 1
        if torn:
            text = self._path.read_text()
            write_whole(self._path, text[: text.rfind("\n") + 1])

    def __enter__(self) -> "Journal":
        self._file = self._path.open("a")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, row: Mapping[str, Any]) -> None:
        """One more line."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        self.done += 1


def _number(line: str) -> int | None:
    """2 * row + order of a line, from 0; None if it is none of ours."""
    try:
        row = json.loads(line)
        return 2 * row["row"] + row["order"] - 1
    except (ValueError, LookupError, TypeError):
        return None


def read_judged(path: str) -> list[Judged]:
    """The judgements of a finished evaluation, in the order of rows.

    Args:
      path: of a judgements.jsonl.

    Raises:
      InputError: no such file, a line that is none of ours, or an order that is missing.
    """
    file = epath.Path(path)
    if not file.exists():
        raise InputError(f"{path}: not found; expected the judgements of `r1reward evaluate`")
    orders: dict[int, dict[int, Mapping[str, Any]]] = {}
    for number, line in enumerate(file.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
            orders.setdefault(row["row"], {})[row["order"]] = row
        except (ValueError, LookupError, TypeError) as error:
            raise InputError(f"{path}:{number}: not a judgement ({error!r})") from None
    missing = [row for row, found in orders.items() if found.keys() != {1, 2}]
    if missing or not orders:
        raise InputError(f"{path}: rows {missing[:5]} lack an order; did the evaluation end?")
    return [_judged(orders[row], path) for row in sorted(orders)]


def _judged(orders: Mapping[int, Mapping[str, Any]], path: str) -> Judged:
    row = orders[1]
    try:
        shown = (_shown(orders[1]), _shown(orders[2]))
        if shown[0].preferred != other(shown[1].preferred):
            raise ValueError("both orders have the same label")
        return Judged(row["row"], row["id"], row["group"], row["unit"], shown)
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: row {row['row']} is not a judgement ({error!r})") from None


def _shown(row: Mapping[str, Any]) -> Shown:
    first = lambda name, default: (row[name] or [default])[0]  # noqa: E731
    return Shown(
        preferred=row["preferred"],
        verdict=first("verdicts", None),
        probability=first("probabilities", None),
        votes=tuple(row["votes"]),
        vote_probabilities=tuple(row["vote_probabilities"]),
        tokens=first("tokens", 0),
        vote_tokens=tuple(row["vote_tokens"]),
        prompt_tokens=row["prompt_tokens"],
        well_formed=first("well_formed", False),
        cut=first("finish_reasons", "eos") == "length",
        skipped=row["skipped"],
        stopped=row["stopped"],
        stopped_tokens=row["stopped_tokens"],
    )
