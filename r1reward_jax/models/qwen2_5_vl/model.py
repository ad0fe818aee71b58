"""Qwen2.5-VL as pure functions of its parameters (`types.LanguageModel`).

The NNX module is split once; hot paths get a plain dict of arrays and the hashable `Model`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import NamedSharding
from jaxtyping import Array, Bool, Float, Int

from r1reward_jax.models.layers import last_hidden
from r1reward_jax.models.qwen2_5_vl.config import Config
from r1reward_jax.models.qwen2_5_vl.text import Decoder
from r1reward_jax.models.qwen2_5_vl.vision import VisionTower
from r1reward_jax.types import Cache, InputError, Params, PromptBatch


class Qwen2_5_VL(nnx.Module):
    """Vision tower and decoder, under the original's names `visual` and `text`."""

    def __init__(self, config: Config, rngs: nnx.Rngs, *, with_vision: bool):
        self.visual = VisionTower(config.vision, rngs) if with_vision else None
        self.text = Decoder(config.text, rngs)

    def embed(self, inputs: PromptBatch, *, remat: bool, pin: Callable) -> Float[Array, "B T D"]:
        """Return token embeddings, with visual tokens in place of the image placeholders."""
        x = self.text.embed_tokens[...][inputs.tokens]
        if inputs.vision is None:
            return x
        if self.visual is None:
            raise InputError("a prompt has images, but the model was loaded without its vision")
        seen = self.visual(inputs.vision, remat=remat, pin=pin).astype(x.dtype)
        # one gather from the row's visual tokens; where -1 says text, token 0 is read and dropped
        index = inputs.vision_index[..., None]
        return jnp.where(index >= 0, jnp.take_along_axis(seen, jnp.maximum(index, 0), axis=1), x)


@dataclass(frozen=True)
class Model:
    """`types.LanguageModel` for one configuration; hashable, so that jit can take it as static."""

    config: Config
    with_vision: bool = True
    """False for the decoder alone, which takes prompts of text."""
    rows: NamedSharding | None = None
    """Sharding of the rows of activations in `hidden` and `prefill`. None leaves it to the
    compiler, which splits activations by features where parameters are split over fsdp, and keeps
    three times as much of them (7B decoder, 16 chips, a row of 2,048 tokens each, compiled for TPU
    v5e: 7.7 GiB of temporaries against 2.6). In `decode` the parameters stay where they are."""

    @property
    def heads(self) -> int:
        """Return the decoder's query heads; a mesh's tensor axis should divide them."""
        return self.config.text.num_attention_heads

    @cached_property
    def _graph(self) -> nnx.GraphDef:
        return nnx.split(nnx.eval_shape(self._new))[0]

    def _new(self, seed: int = 0) -> Qwen2_5_VL:
        return Qwen2_5_VL(self.config, nnx.Rngs(seed), with_vision=self.with_vision)

    def _module(self, params: Params) -> Qwen2_5_VL:
        return nnx.merge(self._graph, params)

    def _pin(self, x: Array) -> Array:
        """Return activations, constrained to the sharding of `rows`."""
        return x if self.rows is None else jax.lax.with_sharding_constraint(x, self.rows)

    def init(self, seed: int) -> Params:
        """Return random float32 parameters: matrices keep the variance, norms are 1, biases 0."""
        return nnx.to_pure_dict(nnx.split(self._new(seed), nnx.Param)[1])

    def abstract_params(self) -> Params:
        """Return shapes and dtypes of the parameters; nothing is allocated."""
        return nnx.to_pure_dict(nnx.split(nnx.eval_shape(self._new), nnx.Param)[1])

    def hidden(
        self, params: Params, inputs: PromptBatch, *, remat: bool = False
    ) -> Float[Array, "B T D"]:
        """Return the final hidden states of whole sequences."""
        module = self._module(params)
        x = module.embed(inputs, remat=remat, pin=self._pin)
        return module.text(x, inputs.positions, inputs.lengths, remat=remat, pin=self._pin)[0]

    def head(self, params: Params) -> Float[Array, "D V"]:
        """Return the output projection."""
        return self._module(params).text.head()

    def prefill(
        self, params: Params, inputs: PromptBatch, *, samples: int, capacity: int
    ) -> tuple[Float[Array, "B D"], Cache]:
        """Return the hidden state at each row's last token, and a cache with room for `capacity`
        new tokens of each of `samples` samples."""
        module = self._module(params)
        x = module.embed(inputs, remat=False, pin=self._pin)
        hidden, kept = module.text(
            x, inputs.positions, inputs.lengths, keep_cache=True, pin=self._pin
        )
        last = last_hidden(hidden, inputs.lengths)
        k, v = kept  # pyright: ignore[reportGeneralTypeIssues] (asked for above)
        layers, rows, heads, _, dim = k.shape
        empty = jnp.zeros((layers, rows, heads, samples, capacity, dim), k.dtype)
        return last, Cache(k, v, inputs.lengths, empty, empty)

    def decode(
        self,
        params: Params,
        tokens: Int[Array, "B A"],
        positions: Int[Array, "B A"],
        slot: Int[Array, ""],
        visible: Bool[Array, "B A C"],
        cache: Cache,
        *,
        unroll: bool = False,
    ) -> tuple[Float[Array, "B A D"], Cache]:
        """Decode one token of every sample, see `types.LanguageModel`."""
        module = self._module(params)
        return module.text.decode(tokens, positions, slot, visible, cache, unroll=unroll)


def create(config: Config, seed: int) -> tuple[Model, Params]:
    """Return a model of this configuration with random float32 parameters."""
    model = Model(config)
    return model, jax.jit(model.init, static_argnums=0)(seed)
