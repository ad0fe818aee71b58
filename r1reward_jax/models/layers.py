"""Layers shared by the vision tower and the decoder."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

BLOCK, BLOCKS = 64, 8
"""Queries of an attention block at least, and blocks of a row at most."""


class RMSNorm(nnx.Module):
    """x / rms(x) * scale, the mean square in float32."""

    def __init__(self, size: int, eps: float):
        self.scale = nnx.Param(jnp.ones(size))
        self.eps = eps

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        y = x.astype(jnp.float32)  # the square overflows and loses digits in bf16
        y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + self.eps)
        return self.scale[...] * y.astype(x.dtype)


class Linear(nnx.Module):
    """x @ kernel + bias, in the dtype of the parameters. Random kernels keep the variance of x:
    the hub's 0.02 would let signals of a tiny model die out. `scale` shrinks those that write to
    the residual stream, so that the tokens are not drowned at the start (GPT-2)."""

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool, rngs: nnx.Rngs, scale: float = 1.0
    ):
        std = scale * inputs**-0.5
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (inputs, outputs)) * std)
        self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... Z"]:
        y = x @ self.kernel[...]
        return y if self.bias is None else y + self.bias[...]


class SwiGLU(nnx.Module):
    """down(silu(gate(h)) * up(h)) with h = norm(x)."""

    def __init__(self, width: int, inner: int, *, bias: bool, rngs: nnx.Rngs, scale: float):
        self.gate_proj = Linear(width, inner, bias=bias, rngs=rngs)
        self.up_proj = Linear(width, inner, bias=bias, rngs=rngs)
        self.down_proj = Linear(inner, width, bias=bias, rngs=rngs, scale=scale)

    def __call__(self, x: Float[Array, "... D"], norm: RMSNorm) -> Float[Array, "... D"]:
        # the backward pass keeps x, gate and up, and makes again what is cheap to make from them
        gate, up = jax.checkpoint(lambda x: self._project(norm(x)))(x)
        return jax.checkpoint(lambda gate, up: self.down_proj(jax.nn.silu(gate) * up))(gate, up)

    def _project(self, h: Float[Array, "... D"]):
        return self.gate_proj(h), self.up_proj(h)


def attention(
    q: Float[Array, "B T K G H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    lengths: Int[Array, " B"],
    *,
    causal: bool,
) -> Float[Array, "B T K G H"]:
    """Grouped-query attention to the first `lengths` keys of each row, softmax in float32.

    Queries go in blocks, so that a block's scores stay in the cache and, where attention is
    causal, no key behind the block is touched. Rows without any key average values.
    """
    length = q.shape[1]
    q_BKGTH = jnp.transpose(q * q.shape[-1] ** -0.5, (0, 2, 3, 1, 4))
    k_BKHS, v_BKSH = jnp.transpose(k, (0, 2, 3, 1)), jnp.swapaxes(v, 1, 2)
    size = max(BLOCK, -(-length // BLOCKS))
    mixed = []
    for start in range(0, length, size):
        end = min(start + size, length)
        block = functools.partial(_attend, start=start, end=end, causal=causal)
        # the backward pass recomputes scores, which are larger than all that made them; keys are
        # cut to those seen inside, so that one copy of them is kept for all blocks
        mixed.append(jax.checkpoint(block)(q_BKGTH, k_BKHS, v_BKSH, lengths))
    return jnp.transpose(jnp.concatenate(mixed, axis=3), (0, 3, 1, 2, 4))


def _attend(
    q_BKGTH, k_BKHS, v_BKSH, lengths, *, start: int, end: int, causal: bool
) -> Float[Array, "B K G T H"]:
    """Attention of the queries from start to end; groups and positions are one axis of the
    matmuls."""
    seen = end if causal else k_BKHS.shape[-1]
    mask_BTS = jnp.arange(seen) < lengths[:, None, None]
    if causal:
        mask_BTS = mask_BTS & (jnp.arange(seen) <= jnp.arange(start, end)[:, None])
    q_BKGTH, k_BKHS = q_BKGTH[:, :, :, start:end], k_BKHS[..., :seen]
    v_BKSH = v_BKSH[:, :, :seen]
    rows, heads, groups, length, dim = q_BKGTH.shape
    flat = (rows, heads, groups * length, -1)
    q = q_BKGTH.reshape(flat)
    scores = jnp.einsum("BKXH,BKHS->BKXS", q, k_BKHS, preferred_element_type=jnp.float32)
    scores = scores.reshape(rows, heads, groups, length, -1)
    scores = jnp.where(mask_BTS[:, None, None], scores, -1e30)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    total = weights.sum(-1, keepdims=True)
    weights = weights.astype(v_BKSH.dtype).reshape(flat)
    mixed = jnp.einsum("BKXS,BKSH->BKXH", weights, v_BKSH, preferred_element_type=jnp.float32)
    return (mixed.reshape(q_BKGTH.shape) / total).astype(v_BKSH.dtype)


def stack(count: int, build, rngs: nnx.Rngs):
    """`count` copies of a module as one whose parameters have a leading layer axis."""
    return nnx.split_rngs(splits=count)(nnx.vmap(build, in_axes=0, out_axes=0))(rngs)
