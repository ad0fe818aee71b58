"""Decode every image and video of a data set once, before a run needs them.

A header does not tell that the rest of a file is cut off. What decodes is remembered in the user's
cache folder by path, size and time of change (embedded images by their hash), so that a restart,
or the next run on the same file, decodes only what is new.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import PIL
from etils import epath

from r1reward_jax.console import detail, warn
from r1reward_jax.data.video import Broken, FileFrames
from r1reward_jax.files import GrowingFile, is_remote, user_cache, write_whole
from r1reward_jax.images import image_name, open_image
from r1reward_jax.types import Candidate, InputError, PreferenceRecord, Record, VideoPart

WORTH = 256
"""Images that are decoded before any is remembered: fewer are decoded again in a moment."""
HEADER = f"r1reward decoded 1 pillow {PIL.__version__}"
"""First line of a file of the cache. Another version of Pillow may read other files."""

Size = tuple[int, int]
"""Width and height in pixels."""


class Decoder:
    """Decodes images, each distinct one once, and remembers which could be. Thread-safe."""

    def __init__(self, source: str = ""):
        """
        Args:
          source: path of the data file whose images are decoded; empty to remember nothing beyond
            this object.
        """
        self.decoded = 0
        """Images and frames decoded so far; without those that were known."""
        self._known = False
        """Whether the cache has a file for this source."""
        self._sizes: dict[str, Size] = {}
        self._fresh: list[str] = []
        self._lock = threading.Lock()
        self._file: GrowingFile | None = None
        if source:
            self._open(source)

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._known or self.decoded >= WORTH:
                self._remember()
        if self._file:
            self._file.close()

    def problems(self, record: Record) -> list[str]:
        """Return what is wrong with the images and videos of a record, one message each."""
        found = []
        for images, video in _media(record):
            for image in images:
                try:
                    self.size(image)
                except InputError as error:
                    found.append(str(error))
            try:
                if video is not None:
                    self._video(video)
            except InputError as error:
                found.append(str(error))
        return found

    def size(self, image: Any) -> Size:
        """Return width and height of an image after decoding all of it.

        Raises:
          InputError: it cannot be read, see `images.open_image`.
        """
        key = _key(image)
        if key is not None and key in self._sizes:
            return self._sizes[key]
        try:
            size = open_image(image).size
        except MemoryError:
            raise InputError(
                f"image {image_name(image)}: more pixels than the memory has room for"
            ) from None
        self._note(key, size, 1)
        return size

    def _video(self, video: VideoPart) -> None:
        """Decode the frames of a video. Raises InputError as encoding it would."""
        frames = video.frames
        key = _key(frames.path, frames.indices) if isinstance(frames, FileFrames) else None
        if key is not None and key in self._sizes:
            return
        # one frame at a time: all of them together are what a batch has room for, not a look
        sizes = {self.size(frame) for frame in frames}
        if len(sizes) != 1:
            name = frames.path if isinstance(frames, FileFrames) else next(iter(frames), "")
            raise InputError(
                f"video {name}: needs frames of one size, found {sorted(sizes) or 'none'}"
            )
        if key is not None:
            self._note(key, sizes.pop(), 0)

    def _note(self, key: str | None, size: Size, decoded: int) -> None:
        with self._lock:
            self.decoded += decoded
            if key is None:
                return
            self._sizes[key] = size
            self._fresh.append(f"{key} {size[0]} {size[1]}\n")
            if len(self._fresh) >= WORTH:
                self._remember()

    # ------------------------------------------------------------------ cache

    def _open(self, source: str) -> None:
        """Read what is known of the images of a data file."""
        name = hashlib.sha256(os.path.abspath(source).encode("utf-8", "replace")).hexdigest()[:24]
        path = epath.Path(user_cache("decoded")) / f"{name}.txt"
        try:
            if path.exists():
                self._known = True
                self._sizes, damaged = _read(path.read_bytes())
                if damaged:
                    warn(f"{path}: {damaged}; what it is about is decoded again")
                    lines = (f"{k} {w} {h}\n" for k, (w, h) in self._sizes.items())
                    write_whole(path, f"{HEADER}\n{''.join(lines)}")
            self._file = GrowingFile(path)
        except OSError as error:
            detail(f"{path}: {error}; decoded images are not remembered")

    def _remember(self) -> None:
        """Append what is new to the cache; the caller holds the lock."""
        fresh, self._fresh = self._fresh, []
        if not self._file or not fresh:
            return
        try:
            if not self._file.path.exists():
                self._file.path.parent.mkdir(parents=True, exist_ok=True)
                fresh = [f"{HEADER}\n", *fresh]
            self._file.append("".join(fresh))
        except OSError as error:  # a full or read-only home is no reason to end a run
            detail(f"{self._file.path}: {error}; decoded images are not remembered")
            self._file = None


def _read(data: bytes) -> tuple[dict[str, Size], str]:
    """Return the sizes in a file of the cache, and what is wrong with the file; empty if
    nothing."""
    head, _, body = data.decode("utf-8", "replace").partition("\n")
    if head != HEADER:
        same = head.startswith("r1reward decoded ")
        return {}, "written by another version" if same else "not a list of decoded images"
    sizes, bad = {}, 0 if body.endswith("\n") or not body else 1
    for line in body.split("\n")[:-1]:
        key, _, size = line.partition(" ")
        width, _, height = size.partition(" ")
        if len(key) == 32 and width.isdecimal() and height.isdecimal():
            sizes[key] = int(width), int(height)
        else:
            bad += 1
    return sizes, f"{bad} damaged lines" if bad else ""


def media_keys(record: Record) -> list[str]:
    """Return what tells the images and frames of a record from others, without decoding them: a
    hash of path, size and time of change, or of the bytes. An image in memory has a key of its
    own, and so does one that is not there."""
    media = (x for images, video in _media(record) for x in (*images, *_frames(video)))
    return [_key(x) or f"memory {id(x)}" for x in media]


def count_media(record: Record) -> tuple[int, int]:
    """Return how many images and videos a record has."""
    media = list(_media(record))
    return sum(len(i) for i, _ in media), sum(video is not None for _, video in media)


def _frames(video: VideoPart | None) -> list[Any]:
    """Return the file of a video, or its frames."""
    if video is None:
        return []
    if isinstance(video.frames, (FileFrames, Broken)):
        return [video.frames.path]
    return list(video.frames)


def _media(record: Record) -> Iterator[tuple[tuple[Any, ...], VideoPart | None]]:
    """Yield the images and the video of a record, or of each of its candidates."""
    holders: tuple[PreferenceRecord | Candidate, ...]
    holders = (record,) if isinstance(record, PreferenceRecord) else record.candidates
    for holder in holders:
        yield holder.images, holder.video


def _key(image: Any, *more: Any) -> str | None:
    """Return what names an image or video as it is now; None for one in memory, or a path that
    leads nowhere."""
    if isinstance(image, bytes):
        return hashlib.sha256(image).hexdigest()[:32]
    if not isinstance(image, (str, os.PathLike)):
        return None
    path = os.fspath(image)
    try:
        if is_remote(path):
            stat = epath.Path(path).stat()
            state = path, stat.length, stat.mtime
        else:
            stat = os.stat(path)
            # the inode as well: a file that replaces another of the same size in the same tick
            state = os.path.abspath(path), stat.st_size, stat.st_mtime_ns, stat.st_ino
    except (OSError, ValueError):
        return None
    return hashlib.sha256(repr((*state, *more)).encode("utf-8", "replace")).hexdigest()[:32]
