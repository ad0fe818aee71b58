"""Turn images and videos into patches in window order, with the family's own image processor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from transformers import Qwen2VLImageProcessorPil

from r1reward_jax.images import image_name, open_image
from r1reward_jax.models.packing import EncodedImage
from r1reward_jax.models.qwen2_5_vl.config import VisionConfig
from r1reward_jax.models.qwen2_5_vl.rope import window_order
from r1reward_jax.types import InputError, VideoPart


@dataclass(frozen=True)
class EncodedMedia:
    """The patches between a vision start and a vision end token: an image, or a whole video."""

    token_id: int
    """Placeholder token, that of images or that of videos."""
    frames: tuple[EncodedImage, ...]
    interval: float
    """Time positions between frames."""

    @property
    def grid(self) -> tuple[int, int, int]:
        """Return temporal patches, rows and columns."""
        return (len(self.frames), *self.frames[0].grid)


def encode_image(
    family: Qwen2VLImageProcessorPil, image: Any, config: VisionConfig
) -> EncodedImage:
    """Resize, normalise and cut an image into patches.

    Args:
      family: the image processor of the checkpoint.
      image: a path, PIL image or encoded bytes.
      config: of the vision tower.

    Raises:
      InputError: the image cannot be read, or is too thin for the family.
    """
    pixels, rows, columns = _pixels(family, [open_image(image)], f"image {image_name(image)}")
    return _in_window_order(pixels, rows, columns, config)


def encode_video(
    family: Qwen2VLImageProcessorPil, video: VideoPart, config: VisionConfig
) -> tuple[EncodedImage, ...]:
    """Return the temporal patches of a video: two frames each, the last one doubled if need be.

    Args:
      family: the video processor of the checkpoint, an image processor with limits of its own.
      video: frames in order.
      config: of the vision tower.

    Raises:
      InputError: no frames, frames of different sizes, or one that cannot be read.
    """
    if not video.fps > 0:
        raise InputError(f"a video's fps must be positive, not {video.fps}")
    sizes, shrunk, rows, columns = set(), [], 0, 0
    for frame in video.frames:  # one at a time: frames of 8,192² take 0.2 GB each
        image = open_image(frame)
        sizes.add(image.size)
        if len(sizes) > 1:
            break
        values, rows, columns = _pixels(family, [image], f"video of {image.size} pixels")
        shrunk.append(values)
    if len(sizes) != 1:
        raise InputError(f"a video needs frames of one size, found {sorted(sizes) or 'none'}")
    pixels = np.concatenate(shrunk)
    # the image processor repeats a still image in both halves of its temporal patch; of a pair of
    # frames, each fills one half
    halves = pixels.reshape(
        len(shrunk), rows * columns, config.in_channels, config.temporal_patch_size, -1
    )
    halves = np.concatenate([halves, halves[-1:]]) if len(shrunk) % 2 else halves
    pairs = np.stack([halves[0::2, :, :, 0], halves[1::2, :, :, 1]], axis=3)
    return tuple(
        _in_window_order(pair.reshape(rows * columns, -1), rows, columns, config) for pair in pairs
    )


def _pixels(
    family: Qwen2VLImageProcessorPil, images: Sequence[Image.Image], what: str
) -> tuple[np.ndarray, int, int]:
    """Return the family's pixel values, and rows and columns of patches of each image."""
    try:
        out = family(list(images))
    except ValueError as error:  # a strip thinner than the family takes
        raise InputError(f"{what}: {error}") from None
    _, rows, columns = (int(x) for x in np.asarray(out["image_grid_thw"])[0])
    return np.asarray(out["pixel_values"], np.float32), rows, columns


def _in_window_order(
    patches: np.ndarray, rows: int, columns: int, config: VisionConfig
) -> EncodedImage:
    """Reorder patches from the family's order (2 x 2 cells, reading order) to the tower's."""
    merge = config.spatial_merge_size
    order, windows = window_order(rows, columns, config)
    cells = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1)
    # [rows, columns] to [cell rows, cell columns, 2, 2]: the four patches of a visual token adjoin
    cells = cells.reshape(rows // merge, merge, columns // merge, merge, 2)
    cells = cells.transpose(0, 2, 1, 3, 4).reshape(-1, merge**2, 2)
    home = np.argsort(order).astype(np.int32)
    patches = patches.reshape(len(order), merge**2, -1)[order].reshape(patches.shape)
    ids = cells[order].reshape(-1, 2).astype(np.int32)
    return EncodedImage(patches, ids, windows, home, (rows, columns))
