"""Read images as users give them: a path, encoded bytes, base64, a data URL or a PIL image.

Image files come from anybody. They are opened through `reading`, only in the formats below (of the
other plugins of Pillow, one starts Ghostscript on the file), and their size is looked at before a
pixel is decoded. So reading one needs at most 3 bytes for each of `MOST_PIXELS`, beside what the
format's decoder holds: changes of depth and transparency are made strip by strip.
"""

import base64
import binascii
import contextlib
import io
import os
import threading
import urllib.parse
import warnings
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from etils import epath
from PIL import ExifTags, Image, UnidentifiedImageError

from r1reward_jax.reading import MB, open_regular
from r1reward_jax.reading import shortened as shortened
from r1reward_jax.types import InputError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""Formats that are read."""
MOST_BYTES = 256 * MB
"""Bytes of an image file."""
MOST_PIXELS = 2**26
"""Pixels of an image, 8,192 x 8,192."""
LARGE = 2**24
"""Pixels from which on images are decoded one at a time, however many threads there are."""
MOST_SCANS = 100
"""Passes of a progressive JPEG, which has about ten; each goes over all pixels."""
STRIP = 2**20
"""Pixels whose depth or transparency is changed at a time."""
# this limit is lower than the one from which on Pillow warns
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")
"""First bytes of PNG, JPEG and GIF files."""
BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""Sizes that a BMP file's second header can have."""
LONGEST_PATH = 4096
"""Characters of the longest path that an operating system takes."""


def embedded_bytes(text: str) -> bytes | None:
    """Return the bytes of an image that is written as text, or None if the text is a path.

    The content decides, not the length: a one-colour icon is shorter in base64 than many paths.
    A data URL is always an image. Bare base64 is one if it decodes to the header of a PNG, JPEG,
    GIF, WebP or BMP, or if it is too long for a path. Whether a file of that name exists is for the
    caller to check; it goes before bare base64.

    Raises:
      InputError: a data URL that is not valid base64.
    """
    url = text[:5].lower() == "data:"
    if not url and len(text) <= LONGEST_PATH and not looks_encoded(text):
        return None
    data = _decoded(urllib.parse.unquote(text.partition(",")[2]) if url else text)
    if not data and url:
        raise InputError(
            f"image {shortened(text)}: not valid base64; expected data:image/TYPE;base64,DATA"
        )
    return data


def looks_encoded(text: str) -> bool:
    """Return whether a text begins like the base64 of an image file; the rest is not looked at."""
    # 64 characters hold 48 bytes, enough for a header
    return _has_header(_decoded("".join(text[:80].split())[:64]) or b"")


def _decoded(text: str) -> bytes | None:
    """Return what base64 text stands for; None if it is not base64. Line breaks, the alphabet of
    URLs and a missing padding are taken as they come."""
    letters = "".join(text.split()).translate(_URL_SAFE).rstrip("=")
    if len(letters) % 4 == 1:  # no number of bytes is written so
        return None
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):  # ValueError: characters beyond ASCII
        return None


_URL_SAFE = str.maketrans("-_", "+/")


def _has_header(data: bytes) -> bool:
    """Return whether bytes begin like an image file."""
    # "BM" alone is two bytes, which one path in 65,536 would decode to
    bitmap = data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in BMP_HEADERS
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return data.startswith(MAGIC) or webp or bitmap


def is_file(path: str) -> bool:
    """Return whether a file or folder exists; False also for a name that no file can have."""
    try:
        return epath.Path(path).exists()
    # too long for a file system, a null character; an address that epath does not know
    except (OSError, ValueError, LookupError):
        return False


def image_name(image: Any) -> str:
    """Return what a message calls an image: its path, or the type of what was given."""
    if isinstance(image, (str, os.PathLike)):
        return shortened(os.fspath(image))
    return getattr(image, "filename", "") or type(image).__name__


def _open_file(image: Any) -> IO[bytes]:
    """Return an open file of an image that was given as a path, as text or as bytes."""
    if isinstance(image, str):
        data = embedded_bytes(image)
        if data is not None and (image[:5].lower() == "data:" or not is_file(image)):
            return io.BytesIO(data)
    if isinstance(image, (bytes, bytearray, memoryview)):
        data = bytes(image)
        # columns of bytes that were written from base64 text hold the letters
        text = None if _has_header(data) else embedded_bytes(data[:80].decode("latin-1"))
        return io.BytesIO(data if text is None else _decoded(data.decode("latin-1")) or data)
    return open_regular(image, MOST_BYTES)


@contextlib.contextmanager
def _opened(image: Any) -> Iterator[Image.Image]:
    """Open an image whose pixels are not decoded yet, and look at its size.

    Raises:
      InputError: it is no image, or too large; also for what is raised while it is open.
    """
    try:
        if isinstance(image, Image.Image):
            _require_size(image)
            yield image
            return
        with _open_file(image) as file, Image.open(file, formats=FORMATS) as opened:
            _require_size(opened)
            yield opened
    except InputError as error:
        raise InputError(f"image {str(error).removeprefix('image ')}") from None
    # decoders of damaged files raise whatever they meet: struct.error, IndexError, MemoryError, …
    except Exception as error:
        raise _unreadable(image, error) from None


def _require_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise OSError(_too_many(f"{width:,} x {height:,}"))


def _too_many(pixels: str) -> str:
    return f"{pixels} pixels; at most {MOST_PIXELS:,} are read, scale it down"


@contextlib.contextmanager
def _alone(image: Image.Image) -> Iterator[None]:
    """Let large images be decoded one at a time: eight threads would hold eight of them."""
    if image.width * image.height < LARGE:
        yield
        return
    with _LARGE_LOCK:
        yield


_LARGE_LOCK = threading.Lock()


def open_image(image: Any) -> Image.Image:
    """Return an RGB image from a path, encoded bytes, base64 or a PIL image, on a white ground.

    Raises:
      InputError: the file is missing, empty, not an image, too large, or of a depth that has no
        meaning as colour; the message names it.
    """
    with _opened(image) as opened, _alone(opened):
        if opened is not image:
            _require_scans(opened)
        opened.load()
        upright = _eight_bits(_upright(opened))
        result = _on_white(upright) if upright.has_transparency_data else upright.convert("RGB")
    result.filename = image_name(image)  # type: ignore[attr-defined]  # later messages name it
    return result


def image_size(image: Any) -> tuple[int, int]:
    """Return width and height of an image as it is stored, from its header alone.

    Raises:
      InputError: as `open_image`, as far as the header tells.
    """
    with _opened(image) as opened:
        return opened.size


def _require_scans(image: Image.Image) -> None:
    """Raise OSError for a JPEG of more passes than any camera writes; it would take hours."""
    file = getattr(image, "fp", None)
    if image.format not in ("JPEG", "MPO") or file is None:
        return
    place = file.tell()
    file.seek(0)
    # within the compressed data of a JPEG, this marker stands nowhere else
    scans = file.read().count(b"\xff\xda")
    file.seek(place)
    if scans > MOST_SCANS:
        raise OSError(f"{scans:,} scans; at most {MOST_SCANS} are read, save it anew")


def _upright(image: Image.Image) -> Image.Image:
    """Return an image as its EXIF block says that it is held; one that cannot be read says
    nothing, the pixels are there all the same."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever a damaged block makes of its reader
        turn = None
    return image if turn is None else image.transpose(turn)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What to do for each value of the EXIF field Orientation."""


def _strips(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    """Yield the boxes of strips that make up an image, from top to bottom."""
    rows = max(1, STRIP // max(1, image.width))
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(image.height, top + rows)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale grey images of 16 bits to 8; PIL would cut everything above 255 to white."""
    if image.mode[0] not in "IF":
        return image
    boxes = list(_strips(image))
    lowest = min(np.asarray(image.crop(box)).min() for box in boxes)
    highest = max(np.asarray(image.crop(box)).max() for box in boxes)
    if image.mode == "F" or lowest < 0 or highest > 65535:
        raise OSError(
            f"values from {lowest:g} to {highest:g} of mode {image.mode}: expected 8 or 16 bits"
        )
    # mode "I" holds whatever the file had: 16 bits unless nothing is above 8
    deep = image.mode.startswith("I;16") or highest > 255
    result = Image.new("L", image.size)
    for box in boxes:
        values = np.asarray(image.crop(box))
        result.paste(Image.fromarray((values / (257 if deep else 1)).astype(np.uint8)), box[:2])
    return result


def _on_white(image: Image.Image) -> Image.Image:
    """Return an image without its transparency."""
    result = Image.new("RGB", image.size)
    for box in _strips(image):
        part = image.crop(box).convert("RGBA")
        white = Image.new("RGBA", part.size, "white")
        result.paste(Image.alpha_composite(white, part).convert("RGB"), box[:2])
    return result


def _unreadable(image: Any, error: Exception) -> InputError:
    reason = str(error) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        reason = "not an image"
    elif isinstance(error, FileNotFoundError):
        reason = "not found"  # the path stands before it already
    elif isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        # Pillow's own limit, which is higher; it says "Image size (N pixels) exceeds …"
        reason = _too_many(reason.partition("(")[2].partition(" ")[0] or "too many")
    elif isinstance(error, MemoryError):
        reason = "too large for the memory"
    expected = f"expected a readable {EXPECTED}"
    return InputError(f"image {image_name(image)}: {reason}; {expected}")


EXPECTED = "PNG, JPEG, WebP, BMP or GIF"
