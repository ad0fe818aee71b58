"""The original in transformers (torch, CPU, float32), fed with the family's own processing."""

import sys

import numpy as np
import pytest

from r1reward_jax.models.qwen2_5_vl import original
from r1reward_jax.types import Prompt, VideoPart


def load_original(folder: str):
    """The original model of a folder. Skips where torch is not installed."""
    if sys.version_info >= (3, 12):
        pytest.skip("torch is a test dependency on Python 3.11 only; see the golden file")
    return original.load(folder, "float32")


def family_video_patches(processor, frames) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Pixel values and grid of a video: frames resized and normalised by the family's image
    processor, then cut as its video processor does (written down anew: that one needs
    torchvision)."""
    out = processor._frames(list(frames))
    rows, columns = (int(x) for x in out["image_grid_thw"][0][1:])
    cells = out["pixel_values"].reshape(
        len(frames), rows // 2, columns // 2, 2, 2, 3, 2, 14, 14
    )  # frame, row pair, column pair, row, column, channel, time, y, x
    pixels = cells[:, :, :, :, :, :, 0].transpose(0, 5, 1, 3, 6, 2, 4, 7)
    pixels = pixels.reshape(len(frames), 3, rows * 14, columns * 14)
    if len(frames) % 2:
        pixels = np.concatenate([pixels, pixels[-1:]])
    time = len(pixels) // 2
    view = pixels.reshape(time, 2, 3, rows // 2, 2, 14, columns // 2, 2, 14)
    patches = view.transpose(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(time * rows * columns, -1)
    return np.ascontiguousarray(patches), (time, rows, columns)


def original_inputs(prompt, encoded, processor) -> dict:
    """Keyword arguments of the original's forward for one prompt."""
    import torch

    still = Prompt(prompt.system, tuple(p for p in prompt.content if not isinstance(p, VideoPart)))
    inputs = original.inputs(still, encoded, processor)
    videos = [p for p in prompt.content if isinstance(p, VideoPart)]
    if videos:
        cut = [family_video_patches(processor, v.frames) for v in videos]
        inputs["pixel_values_videos"] = torch.tensor(np.concatenate([p for p, _ in cut]))
        inputs["video_grid_thw"] = torch.tensor([g for _, g in cut])
        inputs["second_per_grid_ts"] = torch.tensor([2 / v.fps for v in videos])
        kinds = np.zeros(len(encoded.token_ids), int)
        kinds[encoded.token_ids == processor.config.image_token_id] = 1
        kinds[encoded.token_ids == processor.config.video_token_id] = 2
        inputs["mm_token_type_ids"] = torch.tensor(kinds)[None].int()
    return inputs


def original_logits(folder: str, prompts, encoded, processor) -> list[np.ndarray]:
    """Logits [T, V] of each prompt, one at a time."""
    model = load_original(folder)
    import torch

    with torch.no_grad():
        return [
            model(**original_inputs(p, e, processor)).logits[0].numpy()
            for p, e in zip(prompts, encoded)
        ]
