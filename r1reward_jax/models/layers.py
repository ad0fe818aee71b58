"""Layers that decoders and vision towers of all families are made of."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

BLOCK, BLOCKS = 64, 8
"""Least queries of an attention block, and most blocks of a row."""


class RMSNorm(nnx.Module):
    """Root-mean-square norm, x / rms(x) * scale, with the mean square in float32."""

    def __init__(self, size: int, eps: float):
        self.scale = nnx.Param(jnp.ones(size))
        self.eps = eps

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        y = x.astype(jnp.float32)  # the square overflows and loses digits in bf16
        y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + self.eps)
        return self.scale[...] * y.astype(x.dtype)


class Linear(nnx.Module):
    """Affine map x @ kernel + bias, in the dtype of the parameters.

    Random kernels keep the variance of x: with the hub's standard deviation of 0.02, signals of a
    tiny model would die out. `scale` shrinks kernels that write to the residual stream, as in
    GPT-2, so that at the start of training the embeddings are not drowned.
    """

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool, rngs: nnx.Rngs, scale: float = 1.0
    ):
        std = scale * inputs**-0.5
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (inputs, outputs)) * std)
        self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... Z"]:
        y = x @ self.kernel[...]
        return y if self.bias is None else y + self.bias[...]


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_new": jax.nn.gelu,
    "gelu_pytorch_tanh": jax.nn.gelu,
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "mish": jax.nn.mish,
}
"""Activations by the names of config.json."""


class GatedMLP(nnx.Module):
    """Gated feed-forward layer, down(act(gate(h)) * up(h)) with h = norm(x); SwiGLU with silu."""

    def __init__(
        self, width: int, inner: int, act: str, *, bias: bool, rngs: nnx.Rngs, scale: float
    ):
        self.gate_proj = Linear(width, inner, bias=bias, rngs=rngs)
        self.up_proj = Linear(width, inner, bias=bias, rngs=rngs)
        self.down_proj = Linear(inner, width, bias=bias, rngs=rngs, scale=scale)
        self.act = act

    def __call__(self, x: Float[Array, "... D"], norm: RMSNorm) -> Float[Array, "... D"]:
        # the backward pass keeps x, gate and up, and recomputes what is cheap to make from them
        gate, up = jax.checkpoint(lambda x: self._project(norm(x)))(x)
        act = ACTIVATIONS[self.act]
        return jax.checkpoint(lambda gate, up: self.down_proj(act(gate) * up))(gate, up)

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
    """Return grouped-query attention to the first `lengths` keys of each row, softmax in float32.

    Queries are processed in blocks, so that a block's scores stay in the cache and, where attention
    is causal, no key behind the block is read. Rows without any key return the mean of the values.
    """
    length = q.shape[1]
    q_BKGTH = jnp.transpose(q * q.shape[-1] ** -0.5, (0, 2, 3, 1, 4))
    k_BKHS, v_BKSH = jnp.transpose(k, (0, 2, 3, 1)), jnp.swapaxes(v, 1, 2)
    size = max(BLOCK, -(-length // BLOCKS))
    mixed = []
    for start in range(0, length, size):
        end = min(start + size, length)
        block = functools.partial(_attend, start=start, end=end, causal=causal)
        # the backward pass recomputes scores, which are larger than everything they are made of;
        # keys are sliced inside, so that all blocks keep one copy of them
        mixed.append(jax.checkpoint(block)(q_BKGTH, k_BKHS, v_BKSH, lengths))
    return jnp.transpose(jnp.concatenate(mixed, axis=3), (0, 3, 1, 2, 4))


def _attend(
    q_BKGTH, k_BKHS, v_BKSH, lengths, *, start: int, end: int, causal: bool
) -> Float[Array, "B K G T H"]:
    """Return the attention of the queries from start to end.

    Groups and positions are one axis of the matmuls (X): one large product instead of G small ones.
    """
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
    # not -inf: a row of masked keys alone would give NaN, here and in its gradient
    scores = jnp.where(mask_BTS[:, None, None], scores, -1e30)
    # the maximum is a constant to the gradient: softmax does not depend on it
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    total = weights.sum(-1, keepdims=True)
    weights = weights.astype(v_BKSH.dtype).reshape(flat)
    mixed = jnp.einsum("BKXS,BKSH->BKXH", weights, v_BKSH, preferred_element_type=jnp.float32)
    return (mixed.reshape(q_BKGTH.shape) / total).astype(v_BKSH.dtype)


def last_hidden(hidden: Float[Array, "B T D"], lengths: Int[Array, " B"]) -> Float[Array, "B D"]:
    """Return the hidden state at the last real token of each row."""
    return jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]


def stack(count: int, build, rngs: nnx.Rngs):
    """Return `count` modules as one whose parameters have a leading layer axis, for `lax.scan`."""
    return nnx.split_rngs(splits=count)(nnx.vmap(build, in_axes=0, out_axes=0))(rngs)
