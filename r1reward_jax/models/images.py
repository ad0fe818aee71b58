"""Images as users give them (paths, encoded bytes, PIL images) to RGB."""

import io
from typing import Any

import numpy as np
from etils import epath
from PIL import Image, ImageOps

from r1reward_jax.types import InputError


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey images of 16 bits scaled to 8; PIL would cut everything above 255 to white."""
    if image.mode[0] not in "IF":
        return image
    values = np.asarray(image, np.float32)
    return Image.fromarray((values / (257 if values.max() > 255 else 1)).astype(np.uint8))


def open_image(image: Any) -> Image.Image:
    """An RGB image from a path, encoded bytes or a PIL image; transparency becomes white.

    Raises:
      InputError: the file is missing, empty or not an image; the message names it.
    """
    name = image if isinstance(image, str) else type(image).__name__
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
        return image.convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"image {name}: {error}; expected a readable PNG, JPEG or WebP") from None
