"""Read images as users give them: a path, encoded bytes, base64, a data URL or a PIL image."""

import base64
import binascii
import io
import os
from typing import Any

import numpy as np
from etils import epath
from PIL import Image, ImageOps, UnidentifiedImageError

from r1reward_jax.types import InputError

BROKEN = (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError)
"""Errors that the readers of image formats raise."""
MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")
"""First bytes of PNG, JPEG and GIF files."""
BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""Sizes that a BMP file's second header can have."""
LONGEST_PATH = 4096
"""Characters of the longest path that an operating system takes."""
SHOWN = 300
"""Characters of a name that a message shows."""


def embedded_bytes(text: str) -> bytes | None:
    """Return the bytes of an image that is written as text, or None if the text is a path.

    The content decides, not the length: a one-colour icon is shorter in base64 than many paths.
    A data URL is always an image. Bare base64 is one if it decodes to the header of a PNG, JPEG,
    GIF, WebP or BMP, or if it is too long for a path. Whether a file of that name exists is for the
    caller to check; it goes before bare base64.

    Raises:
      InputError: a data URL that is not valid base64.
    """
    url = text.startswith("data:")
    # a path is turned away at its first characters; 64 of base64 hold 48 bytes, enough for a header
    head = "".join(text[:80].split())[:64]
    if not url and len(text) <= LONGEST_PATH and not _has_header(_decoded(head) or b""):
        return None
    data = _decoded(text.split(",", 1)[-1] if url else text)
    if data is None and url:
        raise InputError(
            f"image {shortened(text)}: not valid base64; expected data:image/TYPE;base64,DATA"
        )
    return data


def _decoded(text: str) -> bytes | None:
    """Return what base64 text stands for, line breaks allowed; None if it is not base64."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):  # ValueError: characters beyond ASCII
        return None


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
    except (OSError, ValueError):  # too long for a file system; a null character
        return False


def shortened(name: str) -> str:
    """Return a name as a message shows it: base64 of a megabyte would hide the rest."""
    return name if len(name) <= SHOWN else f"{name[:SHOWN]}… ({len(name):,} characters)"


def image_name(image: Any) -> str:
    """Return what a message calls an image: its path, or the type of what was given."""
    if isinstance(image, (str, os.PathLike)):
        return shortened(os.fspath(image))
    return getattr(image, "filename", "") or type(image).__name__


def _file_or_bytes(image: Any) -> Any:
    """Return a path or bytes for an image that was given as text; anything else as it is."""
    if not isinstance(image, str):
        return image
    data = embedded_bytes(image)
    if data is None or (not image.startswith("data:") and is_file(image)):
        return image
    return data


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale grey images of 16 bits to 8; PIL would cut everything above 255 to white."""
    if image.mode[0] not in "IF":
        return image
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise InputError(
            f"values from {values.min():g} to {values.max():g} of mode {image.mode}: expected 8 or "
            "16 bits"
        )
    # mode "I" holds whatever the file had: 16 bits unless nothing is above 8
    deep = image.mode.startswith("I;16") or values.max() > 255
    return Image.fromarray((values / (257 if deep else 1)).astype(np.uint8))


def open_image(image: Any) -> Image.Image:
    """Return an RGB image from a path, encoded bytes, base64 or a PIL image, on a white ground.

    Raises:
      InputError: the file is missing, empty, not an image, or of a depth that has no meaning as
        colour; the message names it.
    """
    given, image = image, _file_or_bytes(image)
    try:
        if isinstance(image, bytes):
            image = Image.open(io.BytesIO(image))
        elif not isinstance(image, Image.Image):
            image = Image.open(io.BytesIO(epath.Path(image).read_bytes()))
        image = _eight_bits(ImageOps.exif_transpose(image))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        image = image.convert("RGB")
        image.filename = image_name(given)  # later messages name it
        return image
    except BROKEN as error:
        raise _unreadable(given, error) from None


def image_size(image: Any) -> tuple[int, int]:
    """Return width and height of an image as it is stored, from its header alone.

    Raises:
      InputError: as `open_image`, as far as the header tells.
    """
    if isinstance(image, Image.Image):
        return image.size
    given, image = image, _file_or_bytes(image)
    try:
        file = io.BytesIO(image) if isinstance(image, bytes) else epath.Path(image).open("rb")
        with file, Image.open(file) as head:
            return head.size
    except BROKEN as error:
        raise _unreadable(given, error) from None


def _unreadable(image: Any, error: Exception) -> InputError:
    expected = "expected a readable PNG, JPEG or WebP"
    if isinstance(error, UnidentifiedImageError):
        error = OSError("not an image")
    return InputError(f"image {image_name(image)}: {error}; {expected}")
