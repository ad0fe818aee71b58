"""Rotary positions: M-RoPE ids and vision layout on the host, rotations on the device.

M-RoPE (Qwen2-VL, arXiv 2409.12191, section 2.1): each token has three positions (time, height,
width); frequency i of the head turns with the axis that `mrope_section` gives it. Text has three
equal positions; text after an image starts at the previous maximum + 1.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from r1reward_jax.models.qwen2_5_vl.config import TextConfig, VisionConfig


def mrope_positions(
    is_vision: np.ndarray,
    grids: Sequence[tuple[int, int, int]],
    intervals: Sequence[float],
    merge: int,
    *,
    video_rule: str,
) -> tuple[Int[np.ndarray, "T 3"], int]:
    """Return the positions of a prompt, and the delta from index to position behind it.

    Args:
      is_vision: bool [T], true on image and video placeholder tokens.
      grids: (temporal patches, rows, columns) in patches of each image or video, in order.
      intervals: time positions between the temporal patches of each; fractions are truncated.
      merge: patches merged along each side (2).
      video_rule: where text continues behind a video. "max": at the largest position so far + 1, on
        all three axes, the rule of transformers up to 4.51, with which the hub's models were
        trained (4.57 has the same rule, but casts the seconds per grid to whole ones first, so
        times differ where `2 / fps` is no whole number); "side": at the video's start + its longer
        side (transformers 5).

    Returns:
      int32 [T, 3] and `rope_delta`.
    """
    positions = np.zeros((len(is_vision), 3), np.int32)
    index, start = 0, 0
    for grid, interval in zip(grids, intervals, strict=True):
        first = index + int(np.argmax(is_vision[index:]))
        positions[index:first] = start + np.arange(first - index)[:, None]
        start += first - index
        t, h, w = grid[0], grid[1] // merge, grid[2] // merge
        # float32 as in the original, so that products truncate to the same integers
        times = (np.arange(t, dtype=np.float32) * np.float32(interval)).astype(np.int32)
        cells = np.stack(np.meshgrid(times, np.arange(h), np.arange(w), indexing="ij"), -1)
        index = first + t * h * w
        positions[first:index] = start + cells.reshape(-1, 3)
        start = int(positions[first:index].max()) + 1 if video_rule == "max" else start + max(h, w)
    rest = len(is_vision) - index
    positions[index:] = start + np.arange(rest)[:, None]
    return positions, int(positions.max()) + 1 - len(is_vision)


def text_angles(positions: Int[Array, "... 3"], config: TextConfig) -> Float[Array, "... half"]:
    """Return the rotation angle of each frequency, float32 [..., head_dim / 2]."""
    frequency = config.rope.frequencies(config.head_dim // 2, config.rope_theta)
    axis = np.repeat(np.arange(3), config.mrope_section)
    return positions[..., axis].astype(jnp.float32) * frequency


def vision_angles(ids: Int[Array, "... 2"], config: VisionConfig) -> Float[Array, "... half"]:
    """Return the angles of the tower's 2-D rotary embedding: half turn with rows, half with
    columns."""
    quarter = config.hidden_size // config.num_heads // 4
    frequency = 1.0 / 10_000.0 ** (np.arange(quarter, dtype=np.float32) / quarter)
    angles = ids[..., None].astype(jnp.float32) * frequency
    return angles.reshape(*angles.shape[:-2], 2 * quarter)


def rotate(
    x: Float[Array, "... H"], angles: Float[Array, "... half"], scale: float = 1.0
) -> Float[Array, "... H"]:
    """Rotate the pairs (x[i], x[i + H/2]) by `angles`, in float32, and multiply them by `scale`
    (yarn's attention factor); return them in x's dtype."""
    a, b = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    if scale != 1.0:
        cos, sin = cos * scale, sin * scale
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1).astype(x.dtype)


def window_order(rows: int, columns: int, config: VisionConfig) -> tuple[np.ndarray, list[int]]:
    """Return the order of one frame's merged patches by attention window, and patches per window.

    Windows are squares of `window_size` pixels from the top left; those on the right and bottom
    edges are smaller. Both results count what the tower sees: merged patches for the order,
    patches (4 times as many) for the sizes.
    """
    merge = config.spatial_merge_size
    side = config.window_size // config.patch_size // merge
    index = np.arange(rows // merge * (columns // merge)).reshape(rows // merge, columns // merge)
    windows = [
        index[r : r + side, c : c + side].ravel()
        for r in range(0, index.shape[0], side)
        for c in range(0, index.shape[1], side)
    ]
    return np.concatenate(windows), [len(w) * merge**2 for w in windows]
