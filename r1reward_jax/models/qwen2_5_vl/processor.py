"""Text and images to arrays: the family's tokenizer and image processor, our own chat layout.

Differs from `transformers` in two ways. Text of a prompt is tokenised with special tokens
disabled, so that markup inside a record (`<|im_end|>`, `<|image_pad|>`) stays text. And what
depends on image sizes (M-RoPE positions, window order) is computed here on the host, once.
"""

import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Int
from transformers import AutoTokenizer, Qwen2VLImageProcessorPil

from r1reward_jax.images import image_name, image_size, open_image
from r1reward_jax.models.qwen2_5_vl.config import Config, VisionConfig
from r1reward_jax.models.qwen2_5_vl.rope import mrope_positions, window_order
from r1reward_jax.types import (
    EncodedPrompt,
    ImagePart,
    InputError,
    Prompt,
    PromptBatch,
    VideoPart,
    VisionInputs,
)


@dataclass(frozen=True)
class Buckets:
    """Sizes that batches are padded to, the smallest that fits. Few sizes, few compilations."""

    tokens: tuple[int, ...]
    images: tuple[int, ...]
    patches: tuple[int, ...]

    def __post_init__(self) -> None:
        odd = [n for n in self.patches if n % 4]
        if odd:
            raise InputError(f"buckets.patches {odd}: a visual token has four patches")

    @classmethod
    def fitting(cls, prompts: Sequence[EncodedPrompt]) -> "Buckets":
        """One size each, just large enough for these prompts."""
        images = [len(p.images) for p in prompts]
        patches = [len(image.patches) for p in prompts for image in p.images]
        tokens = max(len(p.token_ids) for p in prompts)
        return cls((tokens,), (max(images),), (max(patches, default=4),))


@dataclass(frozen=True)
class EncodedImage:
    """One image, or one temporal patch of a video, in window order."""

    patches: np.ndarray
    rotary_ids: Int[np.ndarray, "P 2"]
    windows: list[int]
    """Patches of each attention window."""
    home: Int[np.ndarray, " Q"]
    """For each visual token in reading order, its place in window order."""
    grid: tuple[int, int]
    """Rows and columns of patches."""


@dataclass(frozen=True)
class EncodedMedia:
    """What stands between a vision start and a vision end token."""

    token_id: int
    """The placeholder: of images or of videos."""
    frames: tuple[EncodedImage, ...]
    interval: float
    """Time positions between frames."""

    @property
    def grid(self) -> tuple[int, int, int]:
        return (len(self.frames), *self.frames[0].grid)


class Processor:
    """`types.Processor` for Qwen2.5-VL. Thread-safe once built."""

    def __init__(
        self,
        folder: str,
        buckets: Buckets,
        *,
        max_pixels: int | None = None,
        video_rule: str = "max",
    ):
        """Read tokenizer and image settings of a Hugging Face folder.

        Args:
          folder: holds tokenizer, config.json, preprocessor_config.json.
          buckets: padded sizes of batches.
          max_pixels: larger images and frames are shrunk to this many pixels; None takes the
            folder's limit.
          video_rule: "max" or "side", see `rope.mrope_positions`.
        """
        if video_rule not in ("max", "side"):
            raise InputError(f"video_rule is {video_rule!r}, expected max or side")
        self.folder, self.buckets, self.config = folder, buckets, Config.load(folder)
        self.tokenizer = _tokenizer(folder)
        self._backend = self.tokenizer.backend_tokenizer
        self._backend.encode_special_tokens = True  # record text is not markup
        self._images = _image_processor(folder, "image_processor", max_pixels)
        self._frames = _image_processor(folder, "video_processor", max_pixels)
        self._video_rule = video_rule
        ids = self.tokenizer.convert_tokens_to_ids
        self._im_start, self._im_end = ids("<|im_start|>"), ids("<|im_end|>")
        self.pad_id = ids("<|endoftext|>")
        self.eos_ids = (self._im_end, self.pad_id)
        c = self.config
        self.banned_ids = (
            c.image_token_id,
            c.video_token_id,
            c.vision_start_token_id,
            c.vision_end_token_id,
            ids("<|vision_pad|>"),
            self._im_start,
        )

    def with_buckets(self, buckets: Buckets) -> "Processor":
        """The same processor for batches of other sizes."""
        other = copy.copy(self)
        other.buckets = buckets
        return other

    def _text(self, text: str) -> list[int]:
        return self._backend.encode(text, add_special_tokens=False).ids

    def encode(self, prompt: Prompt) -> EncodedPrompt:
        """Tokenise a prompt in the family's chat layout, ready for the assistant's turn."""
        parts = [part for part in prompt.content if not isinstance(part, str)]
        media, c = [self._encode_media(part) for part in parts], self.config
        counts = [sum(len(frame.home) for frame in m.frames) for m in media]
        token_ids = np.asarray(self._layout(prompt, counts), np.int32)
        is_vision = np.isin(token_ids, (c.image_token_id, c.video_token_id))
        positions, delta = mrope_positions(
            is_vision,
            [m.grid for m in media],
            [m.interval for m in media],
            c.vision.spatial_merge_size,
            video_rule=self._video_rule,
        )
        frames = tuple(frame for m in media for frame in m.frames)
        return EncodedPrompt(token_ids, positions, delta, is_vision, frames)

    def _layout(self, prompt: Prompt, counts: Sequence[int]) -> list[int]:
        """The chat's tokens, with so many placeholders for each image or video."""
        ids = [self._im_start, *self._text(f"system\n{prompt.system}"), self._im_end]
        ids += [*self._text("\n"), self._im_start]
        text, c, left = "user\n", self.config, iter(counts)
        for part in prompt.content:
            if isinstance(part, str):
                text += part
                continue
            token = c.image_token_id if isinstance(part, ImagePart) else c.video_token_id
            ids += [*self._text(text), c.vision_start_token_id]
            ids += [token] * next(left) + [c.vision_end_token_id]
            text = ""
        ids += [*self._text(text), self._im_end, *self._text("\n"), self._im_start]
        return ids + self._text("assistant\n")

    def misfit(self, prompt: Prompt, *, spare: int = 0) -> str | None:
        """Why a prompt, and `spare` tokens, is larger than the largest bucket of tokens, images or
        patches; None if it is not. Of images only the head is read.

        Raises:
          InputError: an image cannot be read.
        """
        counts, patches, images = [], [], 0
        for part in prompt.content:
            if isinstance(part, str):
                continue
            still = isinstance(part, ImagePart)
            frames = 1 if still else -(-len(part.frames) // 2)
            width, height = image_size(part.image if still else next(iter(part.frames)))
            try:
                size = (self._images if still else self._frames).get_number_of_image_patches(
                    height, width
                )
            except ValueError as error:  # a strip that the family refuses
                return f"image {image_name(part.image) if still else 'of a video'}: {error}"
            patches.append(size)
            counts.append(frames * size // self.config.vision.spatial_merge_size**2)
            images += frames
        sizes = {
            "tokens": len(self._layout(prompt, counts)) + spare,
            "images": images,
            "patches": max(patches, default=0),
        }
        for name, size in sizes.items():
            largest = max(getattr(self.buckets, name))
            if size > largest:
                of = {"tokens": "", "images": " (pairs of frames too)", "patches": " of an image"}
                return f"{size} {name}{of[name]}, the largest of buckets.{name} is {largest}"
        return None

    def _encode_media(self, part: ImagePart | VideoPart) -> EncodedMedia:
        if isinstance(part, ImagePart):
            return EncodedMedia(self.config.image_token_id, (self.encode_image(part.image),), 0.0)
        vision = self.config.vision
        interval = vision.temporal_patch_size / part.fps * vision.tokens_per_second
        return EncodedMedia(self.config.video_token_id, self.encode_video(part), interval)

    def family_pixels(self, images: Sequence[Any]) -> dict[str, np.ndarray]:
        """`pixel_values` and `image_grid_thw` as the family's own image processor gives them."""
        return dict(self._images([open_image(image) for image in images]))

    def encode_image(self, image: Any) -> EncodedImage:
        """Resize, normalise and cut an image (path, PIL image or bytes) into patches."""
        opened = open_image(image)
        try:
            out = self.family_pixels([opened])
        except ValueError as error:  # a strip that the family refuses
            raise InputError(f"image {image_name(image)}: {error}") from None
        _, rows, columns = (int(x) for x in np.asarray(out["image_grid_thw"])[0])
        return self._in_window_order(np.asarray(out["pixel_values"], np.float32), rows, columns)

    def encode_video(self, video: VideoPart) -> tuple[EncodedImage, ...]:
        """The temporal patches of a video: two frames each, the last one doubled if need be.

        Raises:
          InputError: no frames, frames of different sizes, or one that cannot be read.
        """
        frames = [open_image(frame) for frame in video.frames]
        sizes = {frame.size for frame in frames}
        if len(sizes) != 1:
            raise InputError(f"a video needs frames of one size, found {sorted(sizes) or 'none'}")
        if not video.fps > 0:
            raise InputError(f"a video's fps must be positive, not {video.fps}")
        try:
            out = self._frames(frames)
        except ValueError as error:
            raise InputError(f"video of {frames[0].size} pixels: {error}") from None
        _, rows, columns = (int(x) for x in np.asarray(out["image_grid_thw"])[0])
        v = self.config.vision
        # each frame alone fills both halves of a temporal patch; pairs share one
        pixels = np.asarray(out["pixel_values"], np.float32).reshape(
            len(frames), rows * columns, v.in_channels, v.temporal_patch_size, -1
        )
        pixels = np.concatenate([pixels, pixels[-1:]]) if len(frames) % 2 else pixels
        pairs = np.stack([pixels[0::2, :, :, 0], pixels[1::2, :, :, 1]], axis=3)
        return tuple(
            self._in_window_order(pair.reshape(rows * columns, -1), rows, columns) for pair in pairs
        )

    def _in_window_order(self, patches: np.ndarray, rows: int, columns: int) -> EncodedImage:
        """Patches in the family's order (2 x 2 cells, reading order) as the tower takes them."""
        merge = self.config.vision.spatial_merge_size
        order, windows = window_order(rows, columns, self.config.vision)
        cells = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1)
        cells = cells.reshape(rows // merge, merge, columns // merge, merge, 2)
        cells = cells.transpose(0, 2, 1, 3, 4).reshape(-1, merge**2, 2)
        home = np.argsort(order).astype(np.int32)
        patches = patches.reshape(len(order), merge**2, -1)[order].reshape(patches.shape)
        ids = cells[order].reshape(-1, 2).astype(np.int32)
        return EncodedImage(patches, ids, windows, home, (rows, columns))

    def encode_completion(self, text: str) -> list[int]:
        """Tokens of an assistant turn, with its end token."""
        return [*self._text(text), self._im_end]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of sampled tokens without the end token; other special tokens show, so that the
        format reward sees them."""
        ids = list(token_ids)
        if ids and ids[-1] in self.eos_ids:
            ids.pop()
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def fits(self, prompt: EncodedPrompt) -> bool:
        """Whether the largest bucket has room for a prompt."""
        return len(prompt.token_ids) <= max(self.buckets.tokens)

    def width(self, prompts: Sequence[EncodedPrompt]) -> int:
        """Padded tokens of a batch of these prompts. Raises InputError if one is too long."""
        return _bucket("prompt tokens", self.buckets.tokens, [len(p.token_ids) for p in prompts])

    def token_id(self, text: str) -> int:
        """The id of a text that is one token. Raises InputError if it is several."""
        ids = self._text(text)
        if len(ids) != 1:
            raise InputError(f"{text!r} is {len(ids)} tokens for {self.folder}, expected one")
        return ids[0]

    def collate(
        self,
        prompts: Sequence[EncodedPrompt],
        completions: Sequence[Sequence[int]] | None = None,
        *,
        rows: int | None = None,
        completion_capacity: int | None = None,
    ) -> PromptBatch:
        """Pad prompts (and completions after them) to a batch of bucket sizes.

        Args:
          prompts: encoded prompts, at most `rows` of them.
          completions: token ids that follow each prompt.
          rows: rows of the batch; missing ones are filled with one pad token each.
          completion_capacity: room for completions behind the prompt bucket, in tokens.

        Raises:
          InputError: a prompt or completion is longer than its bucket. Nothing is ever cut.
        """
        rows = rows or len(prompts)
        completions = completions or [()] * len(prompts)
        capacity = completion_capacity or 0
        width = self.width(prompts)
        longest = max((len(c) for c in completions), default=0)
        if longest > capacity:
            raise InputError(
                f"a completion has {longest} tokens, the batch has room for {capacity}"
            )
        tokens = np.full((rows, width + capacity), self.pad_id, np.int32)
        lengths, delta = np.ones(rows, np.int32), np.zeros(rows, np.int32)
        positions = np.tile(
            np.arange(width + capacity, dtype=np.int32)[None, :, None], (rows, 1, 3)
        )
        for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            n = len(prompt.token_ids)
            lengths[i], delta[i] = n + len(completion), prompt.rope_delta
            tokens[i, :n], tokens[i, n : lengths[i]] = prompt.token_ids, completion
            positions[i] += prompt.rope_delta
            positions[i, :n] = prompt.positions
        vision, index = self._vision(prompts, rows, width + capacity)
        return PromptBatch(tokens, lengths, positions, delta, index, vision)

    def _vision(self, prompts, rows: int, width: int) -> tuple[VisionInputs | None, np.ndarray]:
        index = np.full((rows, width), -1, np.int32)
        every = [image for p in prompts for image in p.images]
        if not every:
            return None, index
        images = _bucket("images of a row", self.buckets.images, [len(p.images) for p in prompts])
        patches = _bucket(
            "patches of an image", self.buckets.patches, [len(i.patches) for i in every]
        )
        slots = min(self.config.vision.window_patches, patches)
        sizes = window_sizes(patches, self.config.vision)
        windows = _bucket("windows of an image", sizes, [len(i.windows) for i in every])
        v = VisionInputs(
            np.zeros((rows, images, patches, every[0].patches.shape[-1]), np.float32),
            np.zeros((rows, images, patches, 2), np.int32),
            np.full((rows, images, windows * slots), patches, np.int32),
            np.zeros((rows, images, patches), np.int32),
            np.zeros((rows, images), np.int32),
        )
        for row, prompt in enumerate(prompts):
            homes = []
            for k, image in enumerate(prompt.images):
                _place_image(v, row, k, image, slots)
                homes.append(k * (patches // 4) + image.home)
            if homes:
                index[row, : len(prompt.is_vision)][prompt.is_vision] = np.concatenate(homes)
        return v, index


def _place_image(v: VisionInputs, row: int, k: int, image: EncodedImage, slots: int) -> None:
    """Write one image into the (numpy) arrays of a batch."""
    n = len(image.patches)
    v.patches[row, k, :n] = image.patches
    v.rotary_ids[row, k, :n] = image.rotary_ids
    v.lengths[row, k] = n
    starts = np.cumsum([0, *image.windows[:-1]])
    places = [w * slots + np.arange(size) for w, size in enumerate(image.windows)]
    sources = [start + np.arange(size) for start, size in zip(starts, image.windows, strict=True)]
    place, source = np.concatenate(places), np.concatenate(sources)
    v.window_slots[row, k, place] = source
    v.patch_slots[row, k, source] = place


def window_sizes(patches: int, config: VisionConfig) -> tuple[int, ...]:
    """Padded numbers of windows for images of at most so many patches: enough for squares, for
    the usual aspect ratios (two), and for strips as thin as one visual token."""
    tokens = patches // config.spatial_merge_size**2
    side = config.window_patches**0.5 / config.spatial_merge_size  # visual tokens of a window
    square, strip = math.ceil(tokens**0.5 / side), math.ceil(tokens / side)
    usual = (square**2, square * (square + 1), (square + 1) ** 2)
    return tuple(sorted({*(min(n, strip) for n in usual), strip}))


def _bucket(what: str, sizes: tuple[int, ...], needed: Sequence[int]) -> int:
    longest = max(needed, default=0)
    fitting = [s for s in sizes if s >= longest]
    if not fitting:
        raise InputError(f"{what}: {longest} is more than the largest bucket of {sizes}")
    return min(fitting)


def _tokenizer(folder: str) -> Any:
    if not (epath.Path(folder) / "tokenizer.json").exists():
        raise InputError(f"{folder}/tokenizer.json: not found; expected a Hugging Face folder")
    try:
        return AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # tokenizers raises no narrower type
        raise InputError(f"{folder}: the tokenizer cannot be read ({error})") from None


def _read_json(path: epath.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from None


def _image_processor(folder: str, kind: str, max_pixels: int | None) -> Qwen2VLImageProcessorPil:
    """With the settings of the folder; videos fall back on those of images.

    Args:
      folder: a Hugging Face folder.
      kind: image_processor or video_processor.
      max_pixels: a smaller limit; None for the folder's.
    """
    stored = _processor_settings(folder, kind)
    size = stored.get("size") or {}
    smallest = stored.get("min_pixels") or size.get("shortest_edge") or 3136
    largest = stored.get("max_pixels") or size.get("longest_edge") or 12_845_056
    colours = {
        k: stored[k] for k in ("image_mean", "image_std", "resample") if stored.get(k) is not None
    }
    return Qwen2VLImageProcessorPil(
        min_pixels=smallest, max_pixels=min(largest, max_pixels or largest), **colours
    )


def _processor_settings(folder: str, kind: str) -> dict[str, Any]:
    """Of the folder's own files: `transformers` 5 writes one for all, older releases one each."""
    root = epath.Path(folder)
    both = root / "processor_config.json"
    parts = _read_json(both) if both.exists() else {}
    files = {
        "image_processor": root / "preprocessor_config.json",
        "video_processor": root / "video_preprocessor_config.json",
    }
    for name in (kind, "image_processor"):
        if name in parts:
            return parts[name]
        if files[name].exists():
            return _read_json(files[name])
    raise InputError(
        f"{files['image_processor']}: not found, and no processor_config.json either; expected a "
        "Hugging Face Qwen2.5-VL folder"
    )
