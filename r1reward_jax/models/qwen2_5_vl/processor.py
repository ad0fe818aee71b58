"""Text and images to arrays: the family's tokenizer and image processor, our own chat layout.

Differs from `transformers` in two ways. Text of a prompt is tokenised with special tokens disabled,
so that markup inside a record (`<|im_end|>`, `<|image_pad|>`) stays text. And what depends on image
sizes (M-RoPE positions, window order) is computed here on the host, once.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from r1reward_jax.images import image_name, image_size, open_image
from r1reward_jax.models import packing
from r1reward_jax.models.packing import Buckets, EncodedImage
from r1reward_jax.models.qwen2_5_vl import patches
from r1reward_jax.models.qwen2_5_vl.config import Config
from r1reward_jax.models.qwen2_5_vl.image_settings import family_processor
from r1reward_jax.models.qwen2_5_vl.patches import EncodedMedia
from r1reward_jax.models.qwen2_5_vl.rope import mrope_positions
from r1reward_jax.models.qwen2_5_vl.tokens import load_tokenizer
from r1reward_jax.types import (
    EncodedPrompt,
    ImagePart,
    InputError,
    Prompt,
    PromptBatch,
    PromptSize,
    VideoPart,
)


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
        self.tokenizer = load_tokenizer(folder, self.config)
        self._backend = self.tokenizer.backend_tokenizer
        self._backend.encode_special_tokens = True  # record text is not markup
        settings = max_pixels, self.config.vision
        self._images = family_processor(folder, "image_processor", *settings)
        self._frames = family_processor(folder, "video_processor", *settings)
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

    @property
    def pixels(self) -> tuple[int, int]:
        """The fewest and the most pixels that images are resized to."""
        return self._images.size["shortest_edge"], self._images.size["longest_edge"]

    def with_buckets(self, buckets: Buckets) -> "Processor":
        """Return the same processor for batches of other sizes."""
        resized = copy.copy(self)  # tokenizer and image processor are shared
        resized.buckets = buckets
        return resized

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
        """Return the chat's tokens.

        Args:
          prompt: the chat.
          counts: placeholders, one per visual token, of each image or video.
        """
        ids = [self._im_start, *self._text(f"system\n{prompt.system}"), self._im_end]
        ids += [*self._text("\n"), self._im_start]
        # texts between images are tokenised as one, as the family's template writes them
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

    def measure(self, prompt: Prompt) -> PromptSize:
        """Return how large a prompt is. Images are not decoded, only their headers are read: this
        runs over whole data sets.

        Raises:
          InputError: an image cannot be read.
        """
        counts, sizes, images = [], [], 0
        for part in prompt.content:
            if isinstance(part, str):
                continue
            still = isinstance(part, ImagePart)
            frames = 1 if still else -(-len(part.frames) // 2)  # two frames share a patch in time
            width, height = image_size(part.image if still else next(iter(part.frames)))
            family = self._images if still else self._frames
            try:
                size = family.get_number_of_image_patches(height, width)
            except ValueError as error:  # a strip thinner than the family takes
                what = image_name(part.image) if still else "of a video"
                return PromptSize(0, 0, 0, f"image {what}: {error}")
            sizes.append(size)
            counts.append(frames * size // self.config.vision.spatial_merge_size**2)
            images += frames
        return PromptSize(len(self._layout(prompt, counts)), images, max(sizes, default=0))

    def misfit(self, prompt: Prompt, *, spare: int = 0) -> str | None:
        """Return why a prompt does not fit the largest buckets, or None if it does.

        Args:
          prompt: not encoded yet.
          spare: tokens that must fit behind it.

        Raises:
          InputError: an image cannot be read.
        """
        return self.measure(prompt).misfit(self.buckets, spare)

    def _encode_media(self, part: ImagePart | VideoPart) -> EncodedMedia:
        if isinstance(part, ImagePart):
            return EncodedMedia(self.config.image_token_id, (self.encode_image(part.image),), 0.0)
        vision = self.config.vision
        interval = vision.temporal_patch_size / part.fps * vision.tokens_per_second
        return EncodedMedia(self.config.video_token_id, self.encode_video(part), interval)

    def family_pixels(self, images: Sequence[Any]) -> dict[str, np.ndarray]:
        """Return `pixel_values` and `image_grid_thw` of the family's own image processor."""
        return dict(self._images([open_image(image) for image in images]))

    def encode_image(self, image: Any) -> EncodedImage:
        """Return the patches of an image (path, PIL image or bytes), see `patches`."""
        return patches.encode_image(self._images, image, self.config.vision)

    def encode_video(self, video: VideoPart) -> tuple[EncodedImage, ...]:
        """Return the temporal patches of a video, see `patches`."""
        return patches.encode_video(self._frames, video, self.config.vision)

    def encode_completion(self, text: str) -> list[int]:
        """Return the tokens of an assistant turn, with its end token."""
        return [*self._text(text), self._im_end]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of sampled tokens without the end token. Other special tokens stay in
        it, so that the format reward sees them."""
        ids = list(token_ids)
        if ids and ids[-1] in self.eos_ids:
            ids.pop()
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def fits(self, prompt: EncodedPrompt) -> bool:
        """Return whether the largest bucket has room for the tokens of a prompt."""
        return len(prompt.token_ids) <= max(self.buckets.tokens)

    def width(self, prompts: Sequence[EncodedPrompt]) -> int:
        """Return the padded tokens of a batch. Raises InputError if a prompt is too long."""
        return packing.padded_width(prompts, self.buckets)

    def token_id(self, text: str) -> int:
        """Return the id of a text that is one token. Raises InputError if it is several."""
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
        """Pad prompts, and completions behind them, to a batch of bucket sizes; see `packing`."""
        return packing.collate(
            prompts,
            completions,
            buckets=self.buckets,
            pad_id=self.pad_id,
            window=self.config.vision.window_patches,
            rows=rows,
            capacity=completion_capacity or 0,
        )
