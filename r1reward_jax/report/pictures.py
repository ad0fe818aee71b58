"""The images of samples: found on disk or in a run's data, shrunk, and turned into data URIs."""

import base64
import hashlib
import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from PIL import Image

from r1reward_jax.data.benchmarks import BENCHMARKS, read_benchmark
from r1reward_jax.data.preferences import read_records
from r1reward_jax.data.video import Sampling, evenly
from r1reward_jax.evals.journal import EMBEDDED, record_row
from r1reward_jax.images import is_file, open_image, shortened
from r1reward_jax.reading import local_path
from r1reward_jax.report.read import Run, finite, mapping, moved
from r1reward_jax.report.samples import Sample
from r1reward_jax.types import InputError, Record, RelevanceRecord

LONGEST = 448
"""Pixels of the longer side, at most."""
SMALL = 96
"""Images of at most so many pixels are drawn enlarged, with their pixels seen."""
FRAMES = 4
"""Frames that are shown of a video."""
QUICKSTART = ("data/heldout.jsonl", "data/rl_hard.jsonl")
"""Where a quickstart keeps its records, below its folder: its config names no files."""


@dataclass(frozen=True)
class Picture:
    """An image of the page, or the reason why there is none."""

    key: str
    """The same for equal images."""
    uri: str = ""
    size: tuple[int, int] = (0, 0)
    problem: str = ""

    @property
    def small(self) -> bool:
        """Whether the image is drawn enlarged."""
        return max(self.size) <= SMALL


class Pictures:
    """Finds the pictures of one run's samples; equal paths give the same object."""

    def __init__(
        self, run: Run, wanted: Sequence[Sample], notes: list[str], *, outside: bool = False
    ):
        """
        Args:
          run: whose samples.
          wanted: samples that will be asked for; their records are looked up together.
          notes: gets a line for data that cannot be read.
          outside: images may lie anywhere. Else a run of somebody else could name a file of
            whoever makes the page, who then hands it on with the page.
        """
        self._run, self._notes = run, notes
        self._known: dict[str, Picture] = {}
        self._records: dict[Any, list[Record]] | None = None
        self._wanted = {_key(sample) for sample in wanted}
        self._roots = [os.path.realpath(run.folder), *self._data_folders()]
        self._refused: Counter[str] = Counter()
        self._outside = outside

    def of(self, sample: Sample) -> tuple[str | None, list[Picture]]:
        """Return a sample's question and images, from the run's data where its line lacks them."""
        listed = sample.images
        if sample.question is not None and listed and not any(map(_embedded, listed)):
            found = [self._file(name) for name in listed]
            if not any(p.problem for p in found):
                return sample.question, found
        record = self._record(sample)
        question = sample.question or (record and _question(record))
        if record is None:
            if listed is None:
                return question, [Picture("", problem="None is named, and no record was found")]
            return question, [_lost(n) if _embedded(n) else self._file(n) for n in listed]
        try:
            return question, [self._any(image) for image in _images(record)]
        except InputError as error:  # of a video's frames
            return question, [Picture("", problem=str(error))]

    def note_places(self) -> None:
        """Note which pictures were refused, because they lie outside the run and its data."""
        if self._refused:
            count, (first, _) = self._refused.total(), self._refused.most_common(1)[0]
            self._notes.append(
                f"{count:,} images outside the run's folder and its data's are not shown, such as "
                f"those in {shortened(first)}; `r1reward report --outside` shows them"
            )

    def _file(self, name: str) -> Picture:
        """Open an image by the path that was recorded, or by where the run has been moved to."""
        if name not in self._known:
            self._known[name] = self._found(name)
        return self._known[name]

    def _found(self, name: str) -> Picture:
        try:
            there = _first_existing(local_path(name), moved(name, self._run))
        except InputError as error:
            return Picture("", problem=str(error))
        if there is None:
            return _lost(name)
        folder = os.path.dirname(os.path.realpath(there))  # a link counts as what it points to
        free = self._outside or "://" in there
        if not free and not any(_inside(folder, root) for root in self._roots):
            self._refused[folder] += 1
            return Picture(
                "", problem=f"{shortened(name)}: outside the run's folder and its data's"
            )
        return _picture(there)

    def _data_folders(self) -> list[str]:
        """Return the folders of the data that the run's config names; a whole disk is none."""
        data, found = mapping(self._run.config.get("data")), []
        evaluation = mapping(self._run.config.get("eval"))
        for name in (data.get("train"), data.get("heldout"), evaluation.get("benchmark")):
            if isinstance(name, str) and name and name not in BENCHMARKS:
                found.append(os.path.dirname(os.path.realpath(name)))
        if isinstance(evaluation.get("data"), str) and evaluation["data"]:
            found.append(os.path.realpath(evaluation["data"]))
        return [folder for folder in found if folder != os.path.dirname(folder)]

    def _any(self, image: Any) -> Picture:
        named = isinstance(image, (str, os.PathLike))
        return self._file(os.fspath(image)) if named else _picture(image)

    def _record(self, sample: Sample) -> Record | None:
        """Return the record that a sample is about; None if the run's data do not have it."""
        if self._records is None:
            self._records = self._read_wanted()
        for record in self._records.get(_key(sample), ()):
            if _has_images_of(record, sample):
                first = record.candidates[0] if isinstance(record, RelevanceRecord) else None
                swapped = first is not None and first.text != sample.responses[0]
                return record.swapped() if swapped else record
        return None

    def _read_wanted(self) -> dict[Any, list[Record]]:
        """Read the records that are wanted from the data files that the config names."""
        data, found = mapping(self._run.config.get("data")), defaultdict(list)
        fps, most = finite(data.get("video_fps")), finite(data.get("video_frames"))
        sampling = Sampling(fps or 2.0, int(most or 16))
        for name, folder in self._files(data):
            try:
                if folder is None:
                    # a missing image is the page's to show, not a reason to look up none
                    records = read_records(name, sampling, require_files=False)
                else:
                    records = read_benchmark(name, folder, sampling)[1]
            except InputError as error:
                self._notes.append(f"images could not be looked up: {error}")
                continue
            for record in records:
                for key in _keys_of(record):
                    if key in self._wanted:
                        found[key].append(record)
        return found

    def _files(self, data: Any) -> Iterator[tuple[str, str | None]]:
        """Yield the files with the run's records: (path, None) of data to train on or to hold out,
        (name or path, folder of its images) of a benchmark. Files that are gone are left out."""
        evaluation = mapping(self._run.config.get("eval"))
        benchmark, folder = (str(evaluation.get(name) or "") for name in ("benchmark", "data"))
        folder = folder and (_first_existing(folder, moved(folder, self._run)) or "")
        if benchmark in BENCHMARKS:
            if folder:
                yield benchmark, folder
        elif benchmark and (path := _first_existing(benchmark, moved(benchmark, self._run))):
            yield path, folder
        named = [str(data[split]) for split in ("heldout", "train") if data.get(split)]
        for name in named or ([] if benchmark else QUICKSTART):
            places = [name] if named else []
            if path := _first_existing(*places, moved(name, self._run)):
                yield path, None


def _key(sample: Sample) -> Any:
    """Return what a sample's record is known by, in either order of its responses; completions that
    were written by earlier versions do not name the question."""
    return sample.id, sample.question, frozenset(sample.responses)


def _keys_of(record: Record) -> list[Any]:
    if isinstance(record, RelevanceRecord):
        both = frozenset(candidate.text for candidate in record.candidates)
    else:
        both = frozenset(record.responses)
    return [(record.id, _question(record), both), (record.id, None, both)]


def _question(record: Record) -> str:
    return record.query if isinstance(record, RelevanceRecord) else record.question


def _images(record: Record) -> list[Any]:
    """Return a record's images, or those of both candidates, and a few frames of its videos."""
    found: list[Any] = []
    for holder in record.candidates if isinstance(record, RelevanceRecord) else (record,):
        found += holder.images
        if holder.video:
            count = len(holder.video.frames)
            at = set(evenly(count, FRAMES))
            frames = islice(holder.video.frames, count)  # those of a file are decoded in order
            found += [frame for i, frame in enumerate(frames) if i in at]
    return found


def _has_images_of(record: Record, sample: Sample) -> bool:
    """Return whether the images inside a record are those that the model was shown. Benchmarks
    repeat ids and questions, so the digests that judgements give of embedded images are compared;
    earlier versions wrote the bare word."""
    embedded = [name for name in sample.images or () if _embedded(name)]
    if not embedded or EMBEDDED in embedded:
        return True
    inside = [name for name in record_row(record)["images"] if _embedded(name)]
    return sorted(embedded) == sorted(inside)  # candidates bring their images along when swapped


def _inside(folder: str, root: str) -> bool:
    return folder == root or folder.startswith(root.rstrip(os.sep) + os.sep)


def _first_existing(*paths: str) -> str | None:
    return next((path for path in paths if is_file(path)), None)


def _embedded(name: str) -> bool:
    """Return whether a name is what judgements call an image that was not a file."""
    return name.split(" ")[0] == EMBEDDED


def _lost(name: str) -> Picture:
    what = "an image inside the data" if _embedded(name) else name
    return Picture("", problem=f"{shortened(what)}: not found")


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
    """Encode a drawing as PNG, a photograph as JPEG: whichever is smaller. Small images are kept
    exactly, because their pixels are seen."""
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(png, "PNG", optimize=True)
    image.save(jpeg, "JPEG", quality=85)
    exact = max(image.size) <= SMALL or len(png.getvalue()) <= 1.5 * len(jpeg.getvalue())
    return ("png", png.getvalue()) if exact else ("jpeg", jpeg.getvalue())
