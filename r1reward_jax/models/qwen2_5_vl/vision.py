"""The windowed vision tower: from patches to merged visual tokens in the decoder's width.

Patches come in window order and padded per image (`types.VisionInputs`). Full-attention layers run
over B*I rows with one length each, so they never leave an image or frame. For window layers the
patches are moved once per group into padded windows of at most 64 slots and attend only there: a
batch of small attentions instead of one large masked one.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from r1reward_jax.models.layers import GatedMLP, Linear, RMSNorm, attention, stack
from r1reward_jax.models.qwen2_5_vl.config import VisionConfig
from r1reward_jax.models.qwen2_5_vl.rope import rotate, vision_angles
from r1reward_jax.types import VisionInputs


class Block(nnx.Module):
    """Pre-norm attention within a row, then a gated MLP."""

    def __init__(self, config: VisionConfig, rngs: nnx.Rngs):
        width, scale = config.hidden_size, (2 * config.depth) ** -0.5
        self.norm1 = RMSNorm(width, 1e-6)
        self.norm2 = RMSNorm(width, 1e-6)
        self.qkv = Linear(width, 3 * width, bias=True, rngs=rngs)
        self.proj = Linear(width, width, bias=True, rngs=rngs, scale=scale)
        self.mlp = GatedMLP(
            width, config.intermediate_size, config.hidden_act, bias=True, rngs=rngs, scale=scale
        )
        self.heads = config.num_heads

    def __call__(
        self,
        x: Float[Array, "R S D"],
        angles: Float[Array, "R S half"],
        lengths: Int[Array, " R"],
    ) -> Float[Array, "R S D"]:
        rows, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(rows, length, 3, self.heads, -1)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        q, k = (rotate(a, angles[:, :, None]) for a in (q, k))
        mixed = attention(q[:, :, :, None], k, v, lengths, causal=False)
        x = x + self.proj(mixed.reshape(rows, length, width))
        return x + self.mlp(x, self.norm2)


class Merger(nnx.Module):
    """Merges four neighbouring patches into one visual token."""

    def __init__(self, config: VisionConfig, rngs: nnx.Rngs):
        merged = config.hidden_size * config.spatial_merge_size**2
        self.norm = RMSNorm(config.hidden_size, 1e-6)
        self.fc1 = Linear(merged, merged, bias=True, rngs=rngs)
        self.fc2 = Linear(merged, config.out_hidden_size, bias=True, rngs=rngs)

    def __call__(self, x: Float[Array, "R P D"]) -> Float[Array, "R Q Z"]:
        rows, patches, width = x.shape
        merge = self.fc1.kernel.shape[0] // width
        x = self.norm(x).reshape(rows, patches // merge, merge * width)
        return self.fc2(jax.nn.gelu(self.fc1(x), approximate=False))


class VisionTower(nnx.Module):
    """Patch embedding, window and full layers in the order of the config, merger."""

    def __init__(self, config: VisionConfig, rngs: nnx.Rngs):
        full = len(config.fullatt_block_indexes)
        self.patch_embed = Linear(config.patch_dim, config.hidden_size, bias=False, rngs=rngs)
        some = lambda n: stack(n, lambda r: Block(config, r), rngs) if n else None  # noqa: E731
        self.window_layers = some(config.depth - full)
        self.full_layers = some(full)
        self.merger = Merger(config, rngs)
        self.config = config

    def __call__(
        self, vision: VisionInputs, *, remat: bool, pin: Callable = lambda x: x
    ) -> Float[Array, "B IQ D"]:
        """Return the visual tokens of each row's images, in window order, [B, I * P / 4, D]; `pin`
        constrains the sharding of the rows."""
        rows, images, patches = vision.patches.shape[:3]
        # each image becomes a row (R = B * I): full attention must not leave it
        vision = jax.tree.map(lambda x: x.reshape(rows * images, *x.shape[2:]), vision)
        x = self.patch_embed(jnp.asarray(vision.patches, self.patch_embed.kernel.dtype))
        x = self._layers(x, vision, remat, pin)
        return self.merger(x).reshape(rows, images * patches // 4, -1)

    def _layers(self, x: Float[Array, "R P D"], vision: VisionInputs, remat: bool, pin: Callable):
        angles = vision_angles(vision.rotary_ids, self.config)
        to_windows, from_windows, window_lengths = _window_moves(vision, self.config)
        window_angles = to_windows(angles)
        window_graph, window_params = nnx.split(self.window_layers)
        full_graph, full_params = nnx.split(self.full_layers)

        def window_layer(x, params):
            layer: Any = nnx.merge(window_graph, params)
            return pin(layer(pin(x), window_angles, window_lengths)), None

        def full_layer(x, params):
            layer: Any = nnx.merge(full_graph, params)
            return pin(layer(pin(x), angles, vision.lengths)), None

        if remat:
            window_layer, full_layer = jax.checkpoint(window_layer), jax.checkpoint(full_layer)

        def windows(x, params):
            return from_windows(jax.lax.scan(window_layer, to_windows(x), params)[0])

        if self.config.groups:  # every size of the hub: one program for all groups
            groups, windowed = self.config.groups
            window_params = jax.tree.map(
                lambda p: p.reshape(groups, windowed, *p.shape[1:]), window_params
            )

            def group(x, params):
                return full_layer(windows(x, params[0]), params[1])

            return jax.lax.scan(group, x, (window_params, full_params))[0]
        of_full, of_windows = _in_turn(full_params), _in_turn(window_params)
        for full, count in self.config.runs:
            if full:
                x, _ = jax.lax.scan(full_layer, x, of_full(count))
            else:
                x = windows(x, of_windows(count))
        return x


def _in_turn(params: Any) -> Callable[[int], Any]:
    """Return a function that gives the next so many layers of stacked parameters."""
    taken = 0

    def take(count: int) -> Any:
        nonlocal taken
        start, taken = taken, taken + count
        return jax.tree.map(lambda p: p[start : start + count], params)

    return take


def _window_moves(vision: VisionInputs, config: VisionConfig):
    """Return functions [R, P, …] -> [R * windows, slots, …] and back, and each window's length."""
    rows, patches = vision.patches.shape[:2]
    slots = min(config.window_patches, patches)

    def to_windows(x):
        x = jnp.pad(x, ((0, 0), (0, 1), (0, 0)))  # index P, an empty slot, reads zeros
        x = jnp.take_along_axis(x, vision.window_slots[..., None], axis=1)
        return x.reshape(-1, slots, x.shape[-1])

    def from_windows(x):
        x = x.reshape(rows, -1, x.shape[-1])
        return jnp.take_along_axis(x, vision.patch_slots[..., None], axis=1)

    filled = (vision.window_slots < patches).reshape(-1, slots)
    return to_windows, from_windows, filled.sum(-1, dtype=jnp.int32)
