"""The images of samples: found on disk or in a run's data, shrunk, as data URIs."""

import base64
import hashlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from etils import epath
from PIL import Image

from r1reward_jax.data.preferences import read_records
from r1reward_jax.data.video import Sampling, evenly
from r1reward_jax.evals.journal import EMBEDDED
from r1reward_jax.images import open_image
from r1reward_jax.report.read import Run, finite, mapping, moved
from r1reward_jax.report.samples import Sample
from r1reward_jax.types import InputError, PreferenceRecord

LONGEST = 448
"""Pixels of the longer side, at most."""
SMALL = 96
"""Images of at most so many pixels are drawn enlarged, with their pixels seen."""
FRAMES = 4
"""Of a video."""
OWN = ("data/heldout.jsonl", "data/rl_hard.jsonl")
"""Where a quickstart keeps its records, below its folder."""


@dataclass(frozen=True)
class Picture:
    """An image of the page, or why there is none."""

    key: str
    """The same for equal images."""
    uri: str = ""
    size: tuple[int, int] = (0, 0)
    problem: str = ""

    @property
    def small(self) -> bool:
        return max(self.size) <= SMALL


class Pictures:
    """The pictures of one run's samples. A picture that is asked for again is the same object."""

    def __init__(self, run: Run, wanted: Sequence[Sample], notes: list[str]):
        """
        Args:
          run: whose samples.
          wanted: samples that will be asked for; their records are looked up together.
          notes: gets a line for data that cannot be read.
        """
        self._run, self._notes = run, notes
        self._known: dict[str, Picture] = {}
        self._records: dict[Any, PreferenceRecord] | None = None
        self._wanted = {_key(sample) for sample in wanted}

    def of(self, sample: Sample) -> tuple[str | None, list[Picture]]:
        """The sample's question and images, from the run's data where its line lacks them."""
        listed = sample.images
        if sample.question is not None and listed and not any(map(_embedded, listed)):
            found = [self._file(name) for name in listed]
            if not any(p.problem for p in found):
                return sample.question, found
        record = self._record(sample)
        question = sample.question or (record and record.question)
        if record is None:
            if listed is None:
                return question, [Picture("", problem="no image is named, and no record was found")]
            return question, [_lost(n) if _embedded(n) else self._file(n) for n in listed]
        images: list[Any] = list(record.images)
        try:
            if record.video:
                count = len(record.video.frames)
                at = set(evenly(count, FRAMES))
                frames = islice(record.video.frames, count)
                images += [frame for i, frame in enumerate(frames) if i in at]
        except InputError as error:
            return question, [Picture("", problem=str(error))]
        return question, [self._any(image) for image in images]

    def _file(self, name: str) -> Picture:
        """An image by the path that was recorded, or by where the run has been moved to."""
        if name not in self._known:
            paths = dict.fromkeys((name, moved(name, self._run)))
            there = next((p for p in paths if _exists(p)), None)
            self._known[name] = _lost(name) if there is None else _picture(there)
        return self._known[name]

    def _any(self, image: Any) -> Picture:
        named = isinstance(image, (str, os.PathLike))
        return self._file(os.fspath(image)) if named else _picture(image)

    def _record(self, sample: Sample) -> PreferenceRecord | None:
        if self._records is None:
            self._records = self._read_records()
        return self._records.get(_key(sample))

    def _read_records(self) -> dict[Any, PreferenceRecord]:
        """The records that are wanted, from the data files of the config."""
        data, found = mapping(self._run.config.get("data")), {}
        named = [str(data[split]) for split in ("heldout", "train") if data.get(split)]
        fps, most = finite(data.get("video_fps")), finite(data.get("video_frames"))
        sampling = Sampling(fps or 2.0, int(most or 16))
        for name in named or OWN:
            paths = (name, moved(name, self._run)) if named else (moved(name, self._run),)
            path = next((p for p in paths if _exists(p)), None)
            if path is None:
                continue
            try:
                for record in read_records(path, sampling):
                    for key in _keys_of(record):
                        if key in self._wanted:
                            found.setdefault(key, record)
            except InputError as error:
                self._notes.append(f"images could not be looked up: {error}")
        return found


def _key(sample: Sample) -> Any:
    """What a sample's record is known by, in either order of its responses; completions that were
    written by earlier versions do not name the question."""
    return sample.id, sample.question, frozenset(sample.responses)


def _keys_of(record: PreferenceRecord) -> list[Any]:
    both = frozenset(record.responses)
    return [(record.id, record.question, both), (record.id, None, both)]


def _exists(path: str) -> bool:
    try:
        return epath.Path(path).exists()
    except OSError:  # a name too long for a file system
        return False


def _embedded(name: str) -> bool:
    """Whether judgements call an image like this that was not a file."""
    return name.split(" ")[0] == EMBEDDED


def _lost(name: str) -> Picture:
    what = "an image inside the data" if _embedded(name) else name
    return Picture("", problem=f"{what}: not found")


def _picture(image: Any) -> Picture:
    try:
        opened = open_image(image)
    except InputError as error:
        return Picture("", problem=str(error))
    size = opened.size
    opened.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    kind, data = _encoded(opened)
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Picture(hashlib.sha256(data).hexdigest()[:16], uri, size)


def _encoded(image: Image.Image) -> tuple[str, bytes]:
    """Drawings as PNG, photographs as JPEG: whichever is smaller; small ones are kept exactly."""
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(png, "PNG", optimize=True)
    image.save(jpeg, "JPEG", quality=85)
    exact = max(image.size) <= SMALL or len(png.getvalue()) <= 1.5 * len(jpeg.getvalue())
    return ("png", png.getvalue()) if exact else ("jpeg", jpeg.getvalue())
