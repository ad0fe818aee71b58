"""A scalar reward head on any language model: one number for a conversation.

    linear  r(x, y) = w . h
    mlp     r(x, y) = w . relu(W h + b)

with h the final hidden state at the last token of the response. There is no last bias: it would
cancel in every comparison. The paper's Table 6 compares with a scalar model whose head has two
layers, and gives neither its width nor its activation, initialisation or learning rate; here W is
D x D, and ReLU stands between, as in most heads of that kind. The head lies beside the weights in
a file of its own, so that the folder stays one of the original model.
"""

import io
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import PartitionSpec as P
from jaxtyping import Float

from r1reward_jax.files import write_whole
from r1reward_jax.model_folder import irregular
from r1reward_jax.models.layers import last_hidden
from r1reward_jax.types import Array, InputError, LanguageModel, Params, PromptBatch

FILE = "reward_head.npz"
TENSOR = "score.weight"
"""Name and shape, [1, D], are those of `transformers`' sequence classifiers."""
LAYERS = {
    "linear": {"weight": TENSOR},
    "mlp": {"kernel": "score.0.weight", "bias": "score.0.bias", "weight": "score.2.weight"},
}
"""Names in the file of what is in the parameters, by the kind of head; those of torch's Sequential
of Linear, ReLU and Linear for two layers. Matrices are [out, in] there."""
HEADS = tuple(LAYERS)
RULES = ((r"^reward_head/", P()),)
"""Sharding of the head; must precede the model's own rules."""

ABOUT = f"""\
A multimodal scalar reward model: `{FILE}` holds the head that makes the reward of a response from
the final hidden state at the last token of a conversation: a row `{TENSOR}`, or two layers
`score.0` and `score.2` with ReLU between them. The language model's own head was not trained for
this."""


def init_head(model: LanguageModel, params: Params, *, seed: int, kind: str = "linear") -> Params:
    """Return `params` with a fresh head.

    Args:
      model: the backbone.
      params: its parameters.
      seed: of the head.
      kind: linear or mlp. The last row is N(0, 1 / (D + 1)) (arXiv 2009.01325, appendix B.1), the
        matrix before it N(0, 2 / D), which keeps the mean square of what ReLU lets through.
    """
    width, rng = _width(model, params), np.random.default_rng(seed)
    head = {"weight": rng.normal(0, (width + 1) ** -0.5, width)}
    if kind == "mlp":
        matrix = rng.normal(0, (2 / width) ** 0.5, (width, width))
        head |= {"kernel": matrix, "bias": np.zeros(width)}
    return params | {"reward_head": {k: jnp.asarray(v, jnp.float32) for k, v in head.items()}}


def kind_of(params: Params) -> str:
    """Return the kind of head that parameters have."""
    return next(
        kind for kind, names in LAYERS.items() if names.keys() == params["reward_head"].keys()
    )


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
    # float32: differences of rewards are small beside the rewards
    last = last_hidden(hidden, inputs.lengths).astype(jnp.float32)
    head = jax.tree.map(lambda p: p.astype(jnp.float32), params["reward_head"])
    if "kernel" in head:
        last = jax.nn.relu(last @ head["kernel"] + head["bias"])
    return last @ head["weight"]


def has_head(folder: str) -> bool:
    """Return whether a Hugging Face folder holds a scalar reward model."""
    return (epath.Path(folder) / FILE).exists()


def save_head(folder: str, params: Params) -> None:
    """Write the head into the folder of its backbone; the first of several processes does."""
    if jax.process_index():
        return
    arrays: dict[str, Any] = {
        stored: _turned(name, np.asarray(params["reward_head"][name], np.float32))
        for name, stored in LAYERS[kind_of(params)].items()
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_whole(epath.Path(folder) / FILE, buffer.getvalue())


def _turned(name: str, value: np.ndarray) -> np.ndarray:
    """Return a head's array in torch's layout."""
    return {"weight": value[None], "kernel": value.T, "bias": value}[name]


def load_head(folder: str, model: LanguageModel, params: Params) -> Params:
    """Return `params` with the head of a folder, of the kind that its file holds.

    Raises:
      InputError: the file holds no head, or one of another width.
    """
    path, width = epath.Path(folder) / FILE, _width(model, params)
    if "://" not in folder and (odd := irregular(Path(folder) / FILE)):
        raise InputError(f"{path}: {odd}")
    try:
        with np.load(io.BytesIO(path.read_bytes())) as stored:
            arrays = {name: stored[name] for name in stored.files}
        kind = next(
            (k for k, names in LAYERS.items() if set(names.values()) == arrays.keys()), None
        )
        if kind is None:
            raise ValueError(f"it holds {', '.join(sorted(arrays)[:5]) or 'nothing'}")
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a reward head ({error!r})") from None
    shapes = {"weight": (1, width), "kernel": (width, width), "bias": (width,)}
    head = {}
    for name, stored_name in LAYERS[kind].items():
        value = arrays[stored_name]
        if value.shape != shapes[name] or value.dtype.kind != "f":
            found = f"{value.dtype} {value.shape}" if value.dtype.kind != "f" else value.shape
            raise InputError(f"{path}: {stored_name} is {found}, expected {shapes[name]}")
        if not np.isfinite(value).all():
            raise InputError(f"{path}: {stored_name} holds numbers that are not finite")
        value = value[0] if name == "weight" else value.T
        head[name] = jnp.asarray(value, jnp.float32)
    return params | {"reward_head": head}


def require_none(folder: str, what: str) -> None:
    """Raise InputError if a folder holds a scalar reward model: `what` would not use its head."""
    if has_head(folder):
        raise InputError(
            f"{folder}: is a scalar reward model ({FILE}); {what} needs a model that writes, and "
            "this one was not trained to. `scalar-rm`, `evaluate` and `compare` take it"
        )
