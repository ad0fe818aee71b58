"""Run the reference implementation in transformers, for comparisons where torch is installed."""

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from r1reward_jax.models.qwen2_5_vl.processor import Processor
from r1reward_jax.types import EncodedPrompt, ImagePart, InputError, Prompt, VideoPart


def available() -> bool:
    """Return whether torch is installed."""
    return importlib.util.find_spec("torch") is not None


def load(folder: str, dtype: str, device: str = "cpu") -> Any:
    """Return the original model of a Hugging Face folder, ready for inference.

    Args:
      folder: with config.json and safetensors.
      dtype: of the weights, for instance float32.
      device: torch's name of it.
    """
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=getattr(torch, dtype))
    model.eval()
    return model.to(device)  # pyright: ignore[reportArgumentType]


def inputs(
    prompt: Prompt, encoded: EncodedPrompt, processor: Processor, completion: Sequence[int] = ()
) -> dict[str, Any]:
    """Return keyword arguments of the original's forward for one prompt with its completion.

    Raises:
      InputError: the prompt holds a video; the family's video processor needs torchvision.
    """
    import torch

    if any(isinstance(part, VideoPart) for part in prompt.content):
        raise InputError("the original is compared on text and images only, not on video")
    ids = np.asarray([*encoded.token_ids, *completion], np.int64)
    found = {"input_ids": torch.tensor(ids)[None]}
    images = [part.image for part in prompt.content if isinstance(part, ImagePart)]
    if images:
        out = processor.family_pixels(images)
        found |= {name: torch.tensor(np.asarray(out[name])) for name in out}
        is_image = ids == processor.config.image_token_id
        found["mm_token_type_ids"] = torch.tensor(is_image)[None].int()
    return found


def logits(
    model: Any,
    prompt: Prompt,
    encoded: EncodedPrompt,
    processor: Processor,
    completion: Sequence[int] = (),
) -> Float[np.ndarray, "T V"]:
    """Return the logits of a prompt with its completion in float32."""
    import torch

    with torch.no_grad():
        out = model(**inputs(prompt, encoded, processor, completion))
    return out.logits[0].float().numpy()
