"""A scalar reward head on any language model: one number for a conversation.

    r(x, y) = w . h,    h the final hidden state at the last token of the response

There is no bias: it would cancel in every comparison. The head lies beside the weights in a file of
its own, so that the folder stays one of the original model.
"""

import io
import zipfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import PartitionSpec as P
from jaxtyping import Float

from r1reward_jax.models.layers import last_hidden
from r1reward_jax.types import Array, InputError, LanguageModel, Params, PromptBatch

FILE = "reward_head.npz"
TENSOR = "score.weight"
"""Name and shape, [1, D], are those of `transformers`' sequence classifiers."""
RULES = ((r"^reward_head/", P()),)
"""Sharding of the head; must precede the model's own rules."""

ABOUT = f"""\
A multimodal scalar reward model: `{FILE}` holds a row `{TENSOR}`, whose product with the final
hidden state at the last token of a conversation is the reward of the response. The language
model's own head was not trained for this."""


def init_head(model: LanguageModel, params: Params, *, seed: int) -> Params:
    """Return `params` with a fresh head, N(0, 1 / (D + 1)) (arXiv 2009.01325, appendix B.1)."""
    width = _width(model, params)
    weight = np.random.default_rng(seed).normal(0, (width + 1) ** -0.5, width)
    return params | {"reward_head": {"weight": jnp.asarray(weight, jnp.float32)}}


def _width(model: LanguageModel, params: Params) -> int:
    """Return D, from the shape of the language model's head; nothing is computed."""
    return jax.eval_shape(model.head, without_head(params)).shape[0]


def without_head(params: Params) -> Params:
    """Return the parameters of the model alone."""
    return {name: part for name, part in params.items() if name != "reward_head"}


def scores(
    model: LanguageModel, params: Params, inputs: PromptBatch, *, dtype: Any, remat: bool = False
) -> Float[Array, " B"]:
    """Return the reward of each row in float32.

    Args:
      model: the backbone.
      params: its parameters and the head's.
      inputs: prompts, each followed by a response and its end token.
      dtype: of the backbone's forward pass.
      remat: recompute layers in the backward pass.
    """
    backbone = jax.tree.map(lambda p: p.astype(dtype), without_head(params))
    hidden = model.hidden(backbone, inputs, remat=remat)
    last = last_hidden(hidden, inputs.lengths)
    # float32: differences of rewards are small beside the rewards
    return last.astype(jnp.float32) @ params["reward_head"]["weight"].astype(jnp.float32)


def has_head(folder: str) -> bool:
    """Return whether a Hugging Face folder holds a scalar reward model."""
    return (epath.Path(folder) / FILE).exists()


def save_head(folder: str, params: Params) -> None:
    """Write the head into the folder of its backbone; the first of several processes does."""
    if jax.process_index():
        return
    arrays: dict[str, Any] = {TENSOR: np.asarray(params["reward_head"]["weight"], np.float32)[None]}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    (epath.Path(folder) / FILE).write_bytes(buffer.getvalue())


def load_head(folder: str, model: LanguageModel, params: Params) -> Params:
    """Return `params` with the head of a folder.

    Raises:
      InputError: the file holds no head, or one of another width.
    """
    path, width = epath.Path(folder) / FILE, _width(model, params)
    try:
        with np.load(io.BytesIO(path.read_bytes())) as stored:
            weight = stored[TENSOR]
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a reward head ({error!r})") from None
    if weight.shape != (1, width):
        raise InputError(f"{path}: {TENSOR} is {weight.shape}, expected {(1, width)}")
    if not np.isfinite(weight).all():
        raise InputError(f"{path}: {TENSOR} holds numbers that are not finite")
    return params | {"reward_head": {"weight": jnp.asarray(weight[0], jnp.float32)}}
