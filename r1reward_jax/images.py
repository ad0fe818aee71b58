"""Images as users give them (paths, encoded bytes, PIL images) to RGB."""

import io
import os
from typing import Any

import numpy as np
from etils import epath
from PIL import Image, ImageOps, UnidentifiedImageError

from r1reward_jax.types import InputError

BROKEN = (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError)
"""What the readers of image formats raise."""


def image_name(image: Any) -> str:
    """What a message calls an image: its path, or the type of what was given."""
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    return getattr(image, "filename", "") or type(image).__name__


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey images of 16 bits scaled to 8; PIL would cut everything above 255 to white."""
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
    """An RGB image from a path, encoded bytes or a PIL image; transparency becomes white.

    Raises:
      InputError: the file is missing, empty, not an image, or of a depth that has no meaning as
        colour; the message names it.
    """
    given = image
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
        image.filename = image_name(given)  # for those who find fault with it later
        return image
    except BROKEN as error:
        raise _unreadable(given, error) from None


def image_size(image: Any) -> tuple[int, int]:
    """Width and height of an image as it is stored; of a file, only the head is looked at.

    Raises:
      InputError: as `open_image`, as far as the head tells.
    """
    if isinstance(image, Image.Image):
        return image.size
    try:
        file = io.BytesIO(image) if isinstance(image, bytes) else epath.Path(image).open("rb")
        with file, Image.open(file) as head:
            return head.size
    except BROKEN as error:
        raise _unreadable(image, error) from None


def _unreadable(image: Any, error: Exception) -> InputError:
    expected = "expected a readable PNG, JPEG or WebP"
    if isinstance(error, UnidentifiedImageError):
        error = OSError("not an image")
    return InputError(f"image {image_name(image)}: {error}; {expected}")
