"""Layers shared by the vision tower and the decoder."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float


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

    def __call__(self, x: Float[Array, "... A"]) -> Float[Array, "... Z"]:
        y = x @ self.kernel[...]
        return y if self.bias is None else y + self.bias[...]


class SwiGLU(nnx.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, width: int, inner: int, *, bias: bool, rngs: nnx.Rngs, scale: float):
        self.gate_proj = Linear(width, inner, bias=bias, rngs=rngs)
        self.up_proj = Linear(width, inner, bias=bias, rngs=rngs)
        self.down_proj = Linear(inner, width, bias=bias, rngs=rngs, scale=scale)

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        return self.down_proj(jax.nn.silu(self.gate_proj(x)) * self.up_proj(x))


def attention(
    q: Float[Array, "B T K G H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    mask: Bool[Array, "B T S"],
) -> Float[Array, "B T K G H"]:
    """Grouped-query attention, softmax in float32. Rows without any key average all values."""
    scale = q.shape[-1] ** -0.5
    scores = jnp.einsum("BTKGH,BSKH->BKGTS", q * scale, k, preferred_element_type=jnp.float32)
    scores = jnp.where(mask[:, None, None], scores, -1e30)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("BKGTS,BSKH->BTKGH", weights, v)


def stack(count: int, build, rngs: nnx.Rngs):
    """`count` copies of a module as one whose parameters have a leading layer axis."""
    return nnx.split_rngs(splits=count)(nnx.vmap(build, in_axes=0, out_axes=0))(rngs)
