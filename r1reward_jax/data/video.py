"""Read videos from a folder of frames or from a file, sampled evenly over their length.

Frames are decoded when a prompt is encoded; a record holds their paths, or a file's frame numbers.
The frames of a folder are ordered by the numbers in their names (`data/frames.py`). Those of a file
are turned as a player turns them: phones store upright videos lying, with a matrix beside them.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from etils import epath
from PIL import Image

from r1reward_jax.data.frames import in_order
from r1reward_jax.reading import MB, local_path, open_regular, shortened
from r1reward_jax.types import InputError, VideoPart

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MOST_BYTES = 16_384 * MB
"""Bytes of a video file, which is not held in memory."""
MOST_PIXELS = 2**25
"""Pixels of a frame of a file, enough for 7,680 x 4,320: a decoder holds several of them."""
MOST_FRAMES = 1_000_000
"""Frames of a file, nine hours at 30 a second; those before a sampled one are decoded, too."""
CONTAINERS = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpeg", "mpegts"),
    *("flv", "asf", "ogg", "gif", "ivf", "m4v", "h264", "hevc", "mxf"),
)
"""Kinds of video files. Playlists (m3u8, mpd, concat) are not among them: they name other files."""
EXPECTED = "expected a folder of frames or a video file, such as MP4, WebM, MOV or AVI"


@dataclass(frozen=True)
class Sampling:
    """Limits on the frames of a video that are read."""

    fps: float = 2.0
    """Frames to read per second of a file, and the assumed rate of a folder's frames."""
    most: int = 16
    """Most frames; longer videos are sampled more thinly."""
    exactly: int = 0
    """If not 0, so many frames from the first to the last one, repeated where there are fewer; they
    count as `fps` apart, however thinly they are sampled."""


DEFAULT = Sampling()


def read_video(path: str, sampling: Sampling) -> VideoPart:
    """Return a video as a prompt part, its frames still on disk.

    Args:
      path: a folder of images with numbers in their names, or a video file.
      sampling: how many frames.

    Raises:
      InputError: nothing there, a folder without images or whose order is not clear, or a file that
        cannot be read.
    """
    try:
        path = local_path(path)
        where = epath.Path(path)
        is_folder, exists = where.is_dir(), where.exists()
    except InputError as error:
        raise InputError(f"video {error}") from None
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"video {shortened(path)}: {error}; {EXPECTED}") from None
    if is_folder:
        return of_frames(_frames_in(where), sampling, tuple)
    if not exists:
        raise InputError(f"video {shortened(path)}: not found; {EXPECTED}")
    total, seconds = _length(path)
    if sampling.exactly:
        return VideoPart(FileFrames(path, tuple(end_to_end(total, sampling.exactly))), sampling.fps)
    wanted = max(1, min(total, sampling.most, round(seconds * sampling.fps)))
    return VideoPart(FileFrames(path, tuple(evenly(total, wanted))), wanted / seconds)


def _frames_in(folder: epath.Path) -> list[str]:
    """Return the paths of a folder's frames in order of time."""
    # hidden files are not frames: macOS leaves ._000.png beside 000.png
    names = [
        file.name
        for file in folder.iterdir()
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    ]
    if not names:
        raise InputError(f"video {folder}: the folder has no images ({', '.join(IMAGE_SUFFIXES)})")
    try:
        return [os.fspath(folder / name) for name in in_order(names)]
    except InputError as error:
        raise InputError(f"video {folder}: {error}") from None


class Listed(tuple):
    """Frames that somebody listed, which need not be all of a folder."""


def of_frames(frames: Sequence[str], sampling: Sampling, kind: type[tuple] = Listed) -> VideoPart:
    """Return the video of frames that are given in order, at the assumed rate of a folder's."""
    if sampling.exactly:
        chosen = end_to_end(len(frames), sampling.exactly)
        return VideoPart(tuple(frames[i] for i in chosen), sampling.fps)
    chosen = evenly(len(frames), sampling.most)
    fps = sampling.fps * len(chosen) / len(frames)
    return VideoPart(kind(frames[i] for i in chosen), fps)


def path_of(video: VideoPart) -> str:
    """Return the path that `read_video` read. Raises InputError for frames in memory, or listed."""
    frames = video.frames
    if isinstance(frames, (FileFrames, Broken)):
        return frames.path
    first = next(iter(frames), None)
    if not isinstance(first, str) or isinstance(frames, Listed):
        raise InputError("a video of frames one by one cannot be written; save them to a folder")
    return os.fspath(epath.Path(first).parent)


def evenly(total: int, wanted: int) -> list[int]:
    """Return at most `wanted` indices out of `total`, from the middles of equal stretches."""
    wanted = min(total, wanted)
    return [int((i + 0.5) * total / wanted) for i in range(wanted)]


def end_to_end(total: int, wanted: int) -> list[int]:
    """Return `wanted` indices out of `total`, evenly from the first to the last and rounded down;
    they repeat where `wanted` is more."""
    return [i * (total - 1) // max(1, wanted - 1) for i in range(wanted)]


@dataclass(frozen=True)
class FileFrames:
    """Frames of a video file, decoded whenever they are iterated."""

    path: str
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def __contains__(self, frame: object) -> bool:
        return any(f is frame for f in self)

    def __iter__(self) -> Iterator[Image.Image]:
        wanted, found = Counter(self.indices), 0
        with _open(self.path) as container:
            for index, frame in enumerate(_decoded(container, self.path)):
                if index in wanted:
                    found += 1
                    yield from [_picture(frame, self.path)] * wanted[index]
                if found == len(wanted):
                    return
        raise InputError(f"video {self.path}: ends after {found} of {len(wanted)} sampled frames")


@dataclass(frozen=True)
class Broken:
    """The frames of a video that cannot be read; whoever looks at one learns why."""

    path: str
    problem: str

    def __len__(self) -> int:
        return 1

    def __contains__(self, frame: object) -> bool:
        return False

    def __iter__(self) -> Iterator[Any]:
        raise InputError(self.problem)


def _refuse(url: str, flags: int, options: Any) -> Any:
    """Refuse what a container asks for beside itself."""
    raise PermissionError(f"names another file ({shortened(str(url))}), which is not opened")


@contextlib.contextmanager
def _open(path: str) -> Iterator[Any]:
    """Open a video file for decoding. FFmpeg gets the file's content, never its name: a path such
    as http:/host/a.mp4 or concat:a|b would be an address to it."""
    try:
        import av
    except ImportError:
        raise InputError(
            f"video {path}: files need PyAV, pip install 'r1reward-jax[video]'; folders of frames "
            "need nothing"
        ) from None
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(open_regular(path, MOST_BYTES))
            options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "none"}
            container = av.open(file, options=options, io_open=_refuse)
            stack.enter_context(container)
        except Exception as error:  # whatever a damaged file makes of the library
            raise _unreadable(path, error) from None
        yield container


def _unreadable(path: str, error: Exception, advice: str = EXPECTED) -> InputError:
    if isinstance(error, InputError):
        return error
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return InputError(f"video {shortened(path)}: {reason}; {advice}")


def _decoded(container: Any, path: str) -> Iterator[Any]:
    """Yield the frames of a container's first video stream."""
    try:
        context = _stream(container, path).codec_context
        _require_pixels(context.width, context.height, path)
        for number, frame in enumerate(container.decode(video=0), 1):
            _require_pixels(frame.width, frame.height, path)
            if number > MOST_FRAMES:
                raise InputError(f"video {path}: more than {MOST_FRAMES:,} frames; cut it")
            yield frame
    except Exception as error:
        raise _unreadable(path, error, "is the file complete?") from None


def _stream(container: Any, path: str) -> Any:
    if not container.streams.video:
        raise InputError(f"video {path}: the file has no video stream")
    return container.streams.video[0]


def _require_pixels(width: int, height: int, path: str) -> None:
    if width * height > MOST_PIXELS:
        raise InputError(
            f"video {path}: frames of {width:,} x {height:,} pixels; at most {MOST_PIXELS:,} are "
            "read, scale it down"
        )


def _picture(frame: Any, path: str) -> Image.Image:
    """Return a decoded frame as a player shows it."""
    try:
        image, matrix = frame.to_image(), frame.side_data.get("DISPLAYMATRIX")
        turn = _TURNS.get(_directions(bytes(matrix))) if matrix is not None else None
        return image if turn is None else image.transpose(turn)
    except Exception as error:
        raise _unreadable(path, error, "is the file complete?") from None


def _directions(matrix: bytes) -> tuple[int, int, int, int]:
    """Return where a display matrix takes the axes: where right goes (right, down), then down.

    The matrix has 3 x 3 numbers of 32 bits, the first two of each row in units of 2^-16. A turn by
    an odd angle is taken to the nearest right one.
    """
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].astype(float)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        b = c = 0.0
    else:
        a = d = 0.0
    right, down, right_of_down, down_of_down = (int(x) for x in np.sign((a, b, c, d)))
    return right, down, right_of_down, down_of_down


_TURNS = {
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
}
"""What to do for each way in which a display matrix takes the axes."""


def _length(path: str) -> tuple[int, float]:
    """Return frames and seconds of a file; counted where the container does not say."""
    with _open(path) as container:
        stream = _stream(container, path)
        _require_pixels(stream.codec_context.width, stream.codec_context.height, path)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        total = stream.frames or sum(1 for _ in _decoded(container, path))
    if not total or not np.isfinite(rate) or rate <= 0:
        raise InputError(f"video {path}: no frames, or no frame rate")
    if total > MOST_FRAMES:
        raise InputError(f"video {path}: {total:,} frames, at most {MOST_FRAMES:,}; cut it")
    return total, total / rate
