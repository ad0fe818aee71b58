"""Read videos from a folder of frames or from a file, sampled evenly over their length.

Frames are decoded when a prompt is encoded; a record holds their paths, or a file's frame numbers.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from etils import epath

from r1reward_jax.types import InputError, VideoPart

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True)
class Sampling:
    """Limits on the frames of a video that are read."""

    fps: float = 2.0
    """Frames to read per second of a file, and the assumed rate of a folder's frames."""
    most: int = 16
    """Most frames; longer videos are sampled more thinly."""


DEFAULT = Sampling()


def read_video(path: str, sampling: Sampling) -> VideoPart:
    """Return a video as a prompt part, its frames still on disk.

    Args:
      path: a folder of images, whose names sort in order of time, or a video file.
      sampling: how many frames.

    Raises:
      InputError: nothing there, a folder without images, or a file that cannot be read.
    """
    where = epath.Path(path)
    if where.is_dir():
        names = sorted(os.fspath(f) for f in where.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)
        if not names:
            raise InputError(
                f"video {path}: the folder has no images ({', '.join(IMAGE_SUFFIXES)})"
            )
        chosen = evenly(len(names), sampling.most)
        fps = sampling.fps * len(chosen) / len(names)
        return VideoPart(tuple(names[i] for i in chosen), fps)
    if not where.exists():
        raise InputError(f"video {path}: not found; expected a folder of frames or a video file")
    total, seconds = _length(path)
    wanted = max(1, min(total, sampling.most, round(seconds * sampling.fps)))
    return VideoPart(FileFrames(path, tuple(evenly(total, wanted))), wanted / seconds)


def path_of(video: VideoPart) -> str:
    """Return the path that `read_video` read. Raises InputError for frames in memory."""
    frames = video.frames
    if isinstance(frames, FileFrames):
        return frames.path
    first = next(iter(frames), None)
    if not isinstance(first, str):
        raise InputError("a video of frames in memory cannot be written; save them to a folder")
    return os.fspath(epath.Path(first).parent)


def evenly(total: int, wanted: int) -> list[int]:
    """Return at most `wanted` indices out of `total`, from the middles of equal stretches."""
    wanted = min(total, wanted)
    return [int((i + 0.5) * total / wanted) for i in range(wanted)]


@dataclass(frozen=True)
class FileFrames:
    """Frames of a video file, decoded whenever they are iterated."""

    path: str
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def __contains__(self, frame: object) -> bool:
        return any(f is frame for f in self)

    def __iter__(self) -> Iterator[Any]:
        wanted, found = set(self.indices), 0
        with _open(self.path) as container:
            for index, frame in enumerate(_decoded(container, self.path)):
                if index in wanted:
                    found += 1
                    yield frame.to_image()
                if found == len(wanted):
                    return
        raise InputError(f"video {self.path}: ends after {found} of {len(wanted)} sampled frames")


def _open(path: str) -> Any:
    try:
        import av
        from av.error import FFmpegError
    except ImportError:
        raise InputError(
            f"video {path}: files need PyAV, pip install 'r1reward-jax[video]'; folders of frames "
            "need nothing"
        ) from None
    try:
        return av.open(path)
    except (FFmpegError, OSError) as error:
        raise InputError(f"video {path}: {error}; expected a readable video file") from None


def _decoded(container: Any, path: str) -> Iterator[Any]:
    from av.error import FFmpegError

    if not container.streams.video:
        raise InputError(f"video {path}: the file has no video stream")
    try:
        yield from container.decode(video=0)
    except (FFmpegError, OSError) as error:
        raise InputError(f"video {path}: {error}; is the file complete?") from None


def _length(path: str) -> tuple[int, float]:
    """Return frames and seconds of a file; counted where the container does not say."""
    with _open(path) as container:
        if not container.streams.video:
            raise InputError(f"video {path}: the file has no video stream")
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 0)
        total = stream.frames or sum(1 for _ in _decoded(container, path))
    if not total or not np.isfinite(rate) or rate <= 0:
        raise InputError(f"video {path}: no frames, or no frame rate")
    return total, total / rate
