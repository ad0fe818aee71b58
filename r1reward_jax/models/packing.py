"""Pad prompts, the completions behind them and their images to batches of few sizes.

Every family uses this: what differs is how an image becomes patches, and how large windows are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from r1reward_jax.types import EncodedPrompt, InputError, PromptBatch, VisionInputs

MERGED = 4
"""Patches of a visual token: P / Q of the axis legend."""


@dataclass(frozen=True)
class Buckets:
    """Sizes that batches are padded to; the smallest that fits is taken. Each size that occurs is
    compiled once, so there should be few."""

    tokens: tuple[int, ...]
    images: tuple[int, ...]
    patches: tuple[int, ...]

    def __post_init__(self) -> None:
        odd = [n for n in self.patches if n % MERGED]
        if odd:
            raise InputError(f"buckets.patches {odd}: a visual token has four patches")

    @classmethod
    def fitting(cls, prompts: Sequence[EncodedPrompt]) -> "Buckets":
        """Return one size each, just large enough for these prompts."""
        images = [len(p.images) for p in prompts]
        patches = [len(image.patches) for p in prompts for image in p.images]
        tokens = max(len(p.token_ids) for p in prompts)
        return cls((tokens,), (max(images),), (max(patches, default=MERGED),))


@dataclass(frozen=True)
class EncodedImage:
    """One image, or one temporal patch of a video, its patches in window order."""

    patches: Float[np.ndarray, "P E"]
    rotary_ids: Int[np.ndarray, "P 2"]
    windows: list[int]
    """Patches of each attention window."""
    home: Int[np.ndarray, " Q"]
    """For each visual token in reading order, its place in window order."""
    grid: tuple[int, int]
    """Rows and columns of patches."""


def bucket_of(what: str, sizes: Sequence[int], needed: Sequence[int]) -> int:
    """Return the smallest size that the largest need fits.

    Args:
      what: what is counted, for the message.
      sizes: of the buckets.
      needed: sizes that must fit; none at all takes the smallest bucket.

    Raises:
      InputError: no bucket is large enough.
    """
    largest = max(needed, default=0)
    fitting = [size for size in sizes if size >= largest]
    if not fitting:
        raise InputError(f"{what}: {largest} is more than the largest bucket of {sizes}")
    return min(fitting)


def padded_width(prompts: Sequence[EncodedPrompt], buckets: Buckets) -> int:
    """Return the padded tokens of a batch. Raises InputError if a prompt is too long."""
    return bucket_of("prompt tokens", buckets.tokens, [len(p.token_ids) for p in prompts])


def collate(
    prompts: Sequence[EncodedPrompt],
    completions: Sequence[Sequence[int]] | None,
    *,
    buckets: Buckets,
    pad_id: int,
    window: int,
    rows: int | None,
    capacity: int,
) -> PromptBatch:
    """Pad prompts, and completions behind them, to a batch of bucket sizes.

    Args:
      prompts: at most `rows` encoded prompts.
      completions: token ids that follow each prompt; None for none.
      buckets: sizes to pad to.
      pad_id: the token of padding.
      window: patches of a full attention window.
      rows: rows of the batch; missing ones are filled with one pad token each.
      capacity: tokens that completions have room for behind the prompt bucket.

    Raises:
      InputError: a prompt or completion is longer than its bucket. Nothing is ever truncated.
    """
    rows = rows or len(prompts)
    completions = completions or [()] * len(prompts)
    width = padded_width(prompts, buckets) + capacity
    longest = max((len(c) for c in completions), default=0)
    if longest > capacity:
        raise InputError(f"a completion has {longest} tokens, the batch has room for {capacity}")
    tokens = np.full((rows, width), pad_id, np.int32)
    # rows that only fill the batch have length 1: every row needs a last token
    lengths, delta = np.ones(rows, np.int32), np.zeros(rows, np.int32)
    positions = np.tile(np.arange(width, dtype=np.int32)[None, :, None], (rows, 1, 3))
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        n = len(prompt.token_ids)
        lengths[i], delta[i] = n + len(completion), prompt.rope_delta
        tokens[i, :n], tokens[i, n : lengths[i]] = prompt.token_ids, completion
        # what follows the prompt is text: its index and the prompt's delta, on all three axes
        positions[i] += prompt.rope_delta
        positions[i, :n] = prompt.positions
    vision, index = _pack_images(prompts, rows, width, buckets, window)
    return PromptBatch(tokens, lengths, positions, delta, index, vision)


def _pack_images(
    prompts: Sequence[EncodedPrompt], rows: int, width: int, buckets: Buckets, window: int
) -> tuple[VisionInputs | None, Int[np.ndarray, "B T"]]:
    """Return the images of a batch, padded one by one, and `PromptBatch.vision_index`."""
    index = np.full((rows, width), -1, np.int32)
    every = [image for p in prompts for image in p.images]
    if not every:
        return None, index
    images = bucket_of("images of a row", buckets.images, [len(p.images) for p in prompts])
    patches = bucket_of("patches of an image", buckets.patches, [len(i.patches) for i in every])
    slots = min(window, patches)
    windows = bucket_of(
        "windows of an image", window_sizes(patches, window), [len(i.windows) for i in every]
    )
    v = VisionInputs(
        np.zeros((rows, images, patches, every[0].patches.shape[-1]), np.float32),
        np.zeros((rows, images, patches, 2), np.int32),
        # index P, one past the patches, marks an empty slot
        np.full((rows, images, windows * slots), patches, np.int32),
        np.zeros((rows, images, patches), np.int32),
        np.zeros((rows, images), np.int32),
    )
    for row, prompt in enumerate(prompts):
        homes = []
        for k, image in enumerate(prompt.images):
            _place_image(v, row, k, image, slots)
            # the tower returns the visual tokens of all images of a row as one axis, I * Q
            homes.append(k * (patches // MERGED) + image.home)
        if homes:
            index[row, : len(prompt.is_vision)][prompt.is_vision] = np.concatenate(homes)
    return v, index


def _place_image(v: VisionInputs, row: int, k: int, image: EncodedImage, slots: int) -> None:
    """Write one image into the (numpy) arrays of a batch."""
    n = len(image.patches)
    v.patches[row, k, :n] = image.patches
    v.rotary_ids[row, k, :n] = image.rotary_ids
    v.lengths[row, k] = n
    # patches are in window order already; windows at the edges are smaller, so that each begins at
    # a slot of its own and leaves some slots empty
    starts = np.cumsum([0, *image.windows[:-1]])
    places = [w * slots + np.arange(size) for w, size in enumerate(image.windows)]
    sources = [start + np.arange(size) for start, size in zip(starts, image.windows, strict=True)]
    place, source = np.concatenate(places), np.concatenate(sources)
    v.window_slots[row, k, place] = source
    v.patch_slots[row, k, source] = place


def window_sizes(patches: int, window: int) -> tuple[int, ...]:
    """Return padded numbers of windows, enough for squares, for the usual aspect ratios (two), and
    for strips as thin as one visual token.

    Args:
      patches: of an image at most.
      window: patches of a full window.
    """
    tokens, side = patches // MERGED, (window / MERGED) ** 0.5  # side: visual tokens of a window
    square, strip = math.ceil(tokens**0.5 / side), math.ceil(tokens / side)
    usual = (square**2, square * (square + 1), (square + 1) ** 2)
    return tuple(sorted({*(min(n, strip) for n in usual), strip}))
