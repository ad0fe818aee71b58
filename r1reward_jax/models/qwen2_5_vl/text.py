"""The decoder: pre-norm grouped-query attention with M-RoPE, a gated MLP, stacked layers.

One block serves training, prefill and decode: it projects and rotates, then calls the attention
function that it is given.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from r1reward_jax.models.layers import GatedMLP, Linear, RMSNorm, attention, stack
from r1reward_jax.models.qwen2_5_vl.config import TextConfig
from r1reward_jax.models.qwen2_5_vl.rope import rotate, text_angles
from r1reward_jax.types import Cache


class Block(nnx.Module):
    """One decoder layer over [B, T, D]."""

    def __init__(self, config: TextConfig, rngs: nnx.Rngs):
        width, dim = config.hidden_size, config.head_dim
        keys = config.num_key_value_heads * dim
        scale = (2 * config.num_hidden_layers) ** -0.5
        self.input_layernorm = RMSNorm(width, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(width, config.rms_norm_eps)
        self.q_proj = Linear(width, config.num_attention_heads * dim, bias=True, rngs=rngs)
        self.k_proj = Linear(width, keys, bias=True, rngs=rngs)
        self.v_proj = Linear(width, keys, bias=True, rngs=rngs)
        self.o_proj = Linear(
            config.num_attention_heads * dim, width, bias=False, rngs=rngs, scale=scale
        )
        self.mlp = GatedMLP(
            width, config.intermediate_size, config.hidden_act, bias=False, rngs=rngs, scale=scale
        )
        self.kv_heads, self.head_dim = config.num_key_value_heads, dim
        self.rope_scale = config.rope.attention_factor

    def __call__(
        self, x: Float[Array, "B T D"], angles: Float[Array, "B T half"], attend: Callable
    ) -> Float[Array, "B T D"]:
        rows, length, width = x.shape
        # normed inputs are cheap to recompute: the backward pass keeps x alone
        q, k, v = jax.checkpoint(self._project)(x)
        q_BTKGH = q.reshape(rows, length, self.kv_heads, -1, self.head_dim)
        k_BTKH = k.reshape(rows, length, self.kv_heads, self.head_dim)
        v_BTKH = v.reshape(rows, length, self.kv_heads, self.head_dim)
        q_BTKGH = rotate(q_BTKGH, angles[:, :, None, None], self.rope_scale)
        k_BTKH = rotate(k_BTKH, angles[:, :, None], self.rope_scale)
        mixed = attend(q_BTKGH, k_BTKH, v_BTKH)
        x = x + self.o_proj(mixed.reshape(rows, length, -1))
        return x + self.mlp(x, self.post_attention_layernorm)

    def _project(self, x: Float[Array, "B T D"]):
        h = self.input_layernorm(x)
        return self.q_proj(h), self.k_proj(h), self.v_proj(h)


class Decoder(nnx.Module):
    """Embedding, layers, final norm and output head."""

    def __init__(self, config: TextConfig, rngs: nnx.Rngs):
        shape = (config.vocab_size, config.hidden_size)
        self.embed_tokens = nnx.Param(jax.random.normal(rngs.params(), shape) * shape[1] ** -0.5)
        self.layers = stack(config.num_hidden_layers, lambda r: Block(config, r), rngs)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        tied = config.tie_word_embeddings
        self.lm_head = None if tied else Linear(*shape[::-1], bias=False, rngs=rngs)
        self.config = config

    def head(self) -> Float[Array, "D V"]:
        """Return the output projection; the transposed embedding where the two are tied."""
        return self.embed_tokens[...].T if self.lm_head is None else self.lm_head.kernel[...]

    def __call__(
        self,
        x: Float[Array, "B T D"],
        positions: Int[Array, "B T 3"],
        lengths: Int[Array, " B"],
        *,
        remat: bool = False,
        keep_cache: bool = False,
        pin: Callable = lambda x: x,
    ):
        """Return final hidden states [B, T, D] of embedded rows, and (k, v) [L, B, K, T, H] if
        `keep_cache`; `pin` constrains the sharding of the rows."""
        angles = text_angles(positions, self.config)
        graph, params = nnx.split(self.layers)

        def layer(x, params):
            kept = []

            def attend(q, k, v):
                kept.extend(jnp.swapaxes(a, 1, 2) for a in (k, v))
                return attention(q, k, v, lengths, causal=True)

            x = nnx.merge(graph, params)(pin(x), angles, attend)
            return pin(x), tuple(kept) if keep_cache else None

        x, cache = jax.lax.scan(jax.checkpoint(layer) if remat else layer, x, params)
        return self.norm(x), cache

    def decode(
        self,
        tokens: Int[Array, "B A"],
        positions: Int[Array, "B A"],
        slot: Int[Array, ""],
        visible: Bool[Array, "B A C"],
        cache: Cache,
        *,
        unroll: bool,
    ) -> tuple[Float[Array, "B A D"], Cache]:
        """Return hidden states of one new token per sample. Its keys and values are written to
        `slot` of the sample's own cache, of which it attends to what is `visible`."""
        x = self.embed_tokens[...][tokens]
        # completions are text: one position on all three axes
        angles = text_angles(jnp.repeat(positions[..., None], 3, axis=-1), self.config)
        prompt_mask = jnp.arange(cache.prompt_k.shape[3]) < cache.prompt_lengths[:, None]
        graph, params = nnx.split(self.layers)

        def layer(carry, scanned):
            x, ks, vs = carry
            params, index, prompt_k, prompt_v = scanned
            kept = []

            def attend(q, k, v):
                where = (index, 0, 0, 0, slot, 0)
                new_k = jax.lax.dynamic_update_slice(ks, _slot(k), where)
                new_v = jax.lax.dynamic_update_slice(vs, _slot(v), where)
                kept.extend((new_k, new_v))
                own = (new_k[index], new_v[index], visible)
                return two_part_attention(q, (prompt_k, prompt_v, prompt_mask), own)

            x = nnx.merge(graph, params)(x, angles, attend)
            return (x, *kept), None

        scanned = (params, jnp.arange(cache.k.shape[0]), cache.prompt_k, cache.prompt_v)
        (x, k, v), _ = jax.lax.scan(layer, (x, cache.k, cache.v), scanned, unroll=unroll)
        return self.norm(x), cache._replace(k=k, v=v)


def _slot(x: Float[Array, "B A K H"]) -> Float[Array, "1 B K A 1 H"]:
    """Return one token's keys or values in the shape of one slot of one layer of the cache."""
    return jnp.swapaxes(x, 1, 2)[None, :, :, :, None]


def two_part_attention(q, prompt, own) -> Float[Array, "B A K G H"]:
    """Attend to a prompt that all samples of a row share and to each sample's own tokens.

    One softmax spans both parts; their scores are joined in the float32 maximum and sum, so that
    the prompt's keys are never copied per sample.

    Args:
      q: [B, A, K, G, H].
      prompt: keys, values [B, K, S, H] and mask [B, S].
      own: keys, values [B, K, A, C, H] and mask [B, A, C].
    """
    prompt_k, prompt_v, prompt_mask = prompt
    own_k, own_v, own_mask = own
    q = q * q.shape[-1] ** -0.5
    f32 = jnp.float32
    a = jnp.einsum("BAKGH,BKSH->BKAGS", q, prompt_k, preferred_element_type=f32)
    b = jnp.einsum("BAKGH,BKACH->BKAGC", q, own_k, preferred_element_type=f32)
    a = jnp.where(prompt_mask[:, None, None, None], a, -1e30)
    b = jnp.where(own_mask[:, None, :, None], b, -1e30)
    top = jnp.maximum(a.max(-1, keepdims=True), b.max(-1, keepdims=True))
    a, b = jnp.exp(a - top), jnp.exp(b - top)
    total = a.sum(-1) + b.sum(-1)
    # sums of exponentials are not normalised yet: float16 would overflow
    mix = functools.partial(jnp.einsum, preferred_element_type=f32)
    mixed = mix("BKAGS,BKSH->BKAGH", a.astype(prompt_v.dtype), prompt_v)
    mixed = mixed + mix("BKAGC,BKACH->BKAGH", b.astype(own_v.dtype), own_v)
    mixed = (mixed / total[..., None]).astype(q.dtype)
    return jnp.swapaxes(mixed, 1, 2)
