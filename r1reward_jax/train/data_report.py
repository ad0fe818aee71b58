"""Counts of what a look at the data of a run found before its first update (`train.preflight`)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Lengths:
    """Quantiles of lengths, in tokens."""

    median: int
    p90: int
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int]) -> "Lengths | None":
        """Return the quantiles of some lengths; None if there are none."""
        if not lengths:
            return None
        # of real lengths: a mean of two would be the length of no record
        median, p90 = np.percentile(lengths, (50, 90), method="higher")
        return cls(int(median), int(p90), max(lengths))

    def __str__(self) -> str:
        return f"median {self.median:,}, p90 {self.p90:,}, longest {self.longest:,}"


@dataclass(frozen=True)
class SetReport:
    """The counts of one set of records: training data, or held-out data."""

    source: str
    """Its file; empty where the run makes its own records."""
    given: int
    """Records of the file."""
    records: int
    """Records that are used; without those that are left out."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Records that are left out, by the kind of reason."""
    images: int = 0
    """Images of the records that are used."""
    videos: int = 0
    """Videos of the records that are used."""
    labels: tuple[int, int] = (0, 0)
    """Labels that name the first response, and the second one, of the records that are used."""
    verdicts: tuple[int, int] | None = None
    """The same of the verdicts in the completions to imitate; None where there are none."""
    doubtful: Mapping[str, int] = field(default_factory=dict)
    """Completions that are imitated though something is odd about them, by what that is."""
    prompts: Lengths | None = None
    """Of the prompts, visual tokens included."""
    completions: Lengths | None = None
    """Of the completions to imitate, or of the responses that a scalar model scores."""

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "SetReport":
        """Return the report that `DataReport.to_json` wrote."""
        lengths = {k: row[k] and Lengths(**row[k]) for k in ("prompts", "completions")}
        pairs = {k: row[k] and tuple(row[k]) for k in ("labels", "verdicts")}
        return cls(**{**row, **lengths, **pairs})

    @property
    def left_out(self) -> int:
        """Return how many records are left out."""
        return sum(self.skipped.values())

    @property
    def misfits(self) -> int:
        """Return how many records are left out because they are too large."""
        return sum(n for kind, n in self.skipped.items() if kind.startswith("larger than"))

    def lines(self) -> list[str]:
        """Return the counts as a person reads them."""
        first, second = self.labels
        head = f"{self.records:,} records, {self.images:,} images, {self.videos:,} videos"
        found = [f"{head}; labels {first:,} first better, {second:,} second better"]
        if self.skipped:
            shown = ", ".join(f"{count:,} {kind}" for kind, count in self.skipped.items())
            found.append(f"left out of {self.given:,}: {shown}")
        if self.prompts:
            found.append(f"tokens of a prompt: {self.prompts}")
        if self.completions:
            found.append(f"tokens of a completion: {self.completions}")
        return found


@dataclass(frozen=True)
class DataReport:
    """The counts of all data of a run."""

    train: SetReport
    heldout: SetReport | None = None
    """None where nothing is measured on held-out records."""
    overlap: int = 0
    """Held-out records whose question and responses are also trained on."""
    decoded: int = 0
    """Images and frames that were decoded for this report; those known from before are not."""
    seconds: float = 0.0
    """Wall-clock time of the look."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "DataReport":
        """Return the report that `to_json` wrote. Raises LookupError or TypeError for others."""
        heldout = row["heldout"] and SetReport.from_json(row["heldout"])
        return cls(**{**row, "train": SetReport.from_json(row["train"]), "heldout": heldout})
