"""Export a Hugging Face folder: sharded safetensors, config, tokenizer, processor, model card.

Shards are gathered and written one after the other, so that no more than one is in memory. The
folder may be in a bucket (`gs://`).
"""

import json
import os
import re
import stat
from typing import Any, NamedTuple

import jax
import ml_dtypes  # noqa: F401 (numpy learns bfloat16)
import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict
from huggingface_hub import CardData, ModelCard, ModelCardData, split_state_dict_into_shards_factory
from jax.experimental import multihost_utils
from safetensors.numpy import save as serialize
from safetensors.numpy import save_file
from yaml import YAMLError

from r1reward_jax.console import progress
from r1reward_jax.files import is_remote, write_whole
from r1reward_jax.model_folder import read_json
from r1reward_jax.models import checksums, reward_head
from r1reward_jax.models.qwen2_5_vl.model import Model
from r1reward_jax.models.qwen2_5_vl.weights import hub_names, to_hub
from r1reward_jax.types import InputError, Params

COPIED_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "generation_config.json",
    "LICENSE",
)
SHARD_BYTES = 5 * 10**9
TEMPLATES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
OWN_TAG = "r1reward-jax"
CARD = """\
# {name}

{about}

Trained with r1reward-jax, an implementation of R1-Reward
([arXiv 2505.02835](https://arxiv.org/abs/2505.02835)), from `{base}`. The license
of `{base}` {terms}.
"""
ABOUT = """\
A multimodal reasoning reward model: it reads a question, images and two responses, reasons in
`<think>` and names the better response, 1 or 2, in `<answer>`."""


def save(
    folder: str,
    model: Model,
    params: Params,
    *,
    like: str,
    dtype: Any = None,
    about: str | None = None,
) -> None:
    """Write a Hugging Face folder.

    Args:
      folder: made if needed; weights that lie there are replaced.
      model: of the parameters.
      params: on any mesh; all processes must call, the first one writes.
      like: the folder that the run started from; its tokenizer, processor and generation files
        are copied, and the model card names it.
      dtype: of the weights; None keeps theirs.
      about: what the model card says of the model; None for a reasoning reward model.
    """
    target, first = epath.Path(folder), jax.process_index() == 0
    leaves = flatten_dict(params, sep="/")
    stored = np.dtype(dtype) if dtype else None
    if first:
        target.mkdir(parents=True, exist_ok=True)
        for partial in target.glob("*.safetensors.part"):
            partial.unlink()  # of a save that was interrupted
    tensors = _tensors(model, leaves, stored)
    split = split_state_dict_into_shards_factory(
        tensors,  # pyright: ignore[reportArgumentType] (any values: it asks for their size only)
        get_storage_size=lambda tensor: tensor.size,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=SHARD_BYTES,
    )
    # all processes gather each shard, though only the first writes: gathering is collective
    for file, names in progress(split.filename_to_tensors.items(), "saving"):
        shard = {name: _value(model, leaves, tensors[name], stored) for name in names}
        if first:
            _write_tensors(target / f"{file}.part", shard)
    if not first:
        return
    # before the weights: a save that is interrupted leaves a folder that says what is missing
    hf = _config(model, epath.Path(like) / "config.json", str(stored or _main_dtype(leaves)))
    write_whole(target / "config.json", json.dumps(hf, indent=2))
    # only now: a left-over shard, or the reward head of another model, would be read as well
    for pattern in ("*.safetensors", "*.safetensors.index.json", reward_head.FILE):
        for old in target.glob(pattern):
            if old.name not in split.filename_to_tensors:
                old.unlink()
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        write_whole(target / "model.safetensors.index.json", json.dumps(index, indent=2))
    for file in split.filename_to_tensors:
        (target / f"{file}.part").replace(target / file)
    for name in COPIED_FILES:
        source = epath.Path(like) / name
        if source.exists() and source != target / name:
            write_whole(target / name, source.read_bytes())
    _write_chat_template(target)
    if epath.Path(like) != target:  # a model that is its own base was not trained by us
        (target / "README.md").write_text(_card(target.name, epath.Path(like), about or ABOUT))


def _config(model: Model, like: epath.Path, dtype: str) -> dict[str, Any]:
    """Return the config.json to write: that of the base with all its fields, also those that mean
    nothing here, where it describes this model; the fields that are known where it does not.

    Args:
      model: what is saved.
      like: config.json of the base; it may be missing.
      dtype: of the weights, the one thing that a save can change.
    """
    try:
        hf = read_json(like) if like.exists() else {}
        if not hf or type(model.config).from_hf(hf, str(like)) != model.config:
            hf = model.config.to_hf()
    except InputError:
        hf = model.config.to_hf()
    for part in (hf, hf.get("text_config"), hf.get("vision_config")):
        for name in ("torch_dtype", "dtype"):
            if isinstance(part, dict) and part.get(name) is not None:
                part[name] = dtype
    return hf if "torch_dtype" in hf or "dtype" in hf else {**hf, "torch_dtype": dtype}


def _write_chat_template(target: epath.Path) -> None:
    """Write the chat template where the processors of all releases of `transformers` look: in
    chat_template.jinja since 4.52, in chat_template.json before. Tokenizers alone may have it."""
    raw, old, tokenizer = (target / name for name in TEMPLATES)
    template = raw.read_text() if raw.exists() else None
    for path in (old, tokenizer):
        if template is None and path.exists():
            template = read_json(path).get("chat_template")
    if not isinstance(template, str):  # none, or a list of named ones
        return
    if not raw.exists():
        write_whole(raw, template)
    if not old.exists():
        write_whole(old, json.dumps({"chat_template": template}, indent=2))


class _Tensor(NamedTuple):
    """A tensor of the hub's layout, and where its numbers are."""

    path: str
    layer: int | None
    """Index into a stacked parameter; None for all of it."""
    size: int
    """Bytes, as it is stored."""


def _tensors(model: Model, leaves: dict[str, Any], stored: np.dtype | None) -> dict[str, _Tensor]:
    """Return every tensor by its hub name."""
    tensors = {}
    for path, leaf in leaves.items():
        names, size = hub_names(model.config, path), np.dtype(stored or leaf.dtype).itemsize
        if isinstance(names, str):
            tensors[names] = _Tensor(path, None, leaf.size * size)
            continue
        part = leaf.size // len(names) * size
        tensors |= {name: _Tensor(path, layer, part) for layer, name in enumerate(names)}
    return tensors


def _write_tensors(path: epath.Path, tensors: dict[str, np.ndarray]) -> None:
    """Write a safetensors file with its digest; one in a bucket passes through memory, a local one
    does not."""
    local = os.fspath(path)
    if is_remote(local):
        path.write_bytes(checksums.seal_bytes(serialize(tensors, checksums.METADATA)))
        return
    with open(local, "wb") as file:  # with the mode that the umask asks for, unlike save_file
        mode = os.fstat(file.fileno()).st_mode
    save_file(tensors, local, checksums.METADATA)
    os.chmod(local, stat.S_IMODE(mode))
    checksums.seal(local)


def _main_dtype(leaves: dict[str, Any]) -> np.dtype:
    """Return the dtype that most numbers have."""
    sizes: dict[np.dtype, int] = {}
    for leaf in leaves.values():
        sizes[np.dtype(leaf.dtype)] = sizes.get(np.dtype(leaf.dtype), 0) + leaf.size
    return max(sizes, key=lambda d: sizes[d])


def _value(
    model: Model, leaves: dict[str, Any], tensor: _Tensor, stored: np.dtype | None
) -> np.ndarray:
    """Return a tensor as it is written."""
    leaf = leaves[tensor.path]
    value = _host(leaf, tensor.layer).astype(stored or leaf.dtype)
    return to_hub(tensor.path, value, model.config)


def _host(leaf: Any, layer: int | None) -> np.ndarray:
    """Return a parameter, or one layer of it, as one host array."""
    value = leaf if layer is None else leaf[layer]
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        value = multihost_utils.process_allgather(value, tiled=True)
    return np.asarray(value)


def _card(name: str, like: epath.Path, about: str) -> str:
    """Return the model card. Base model and license come from the card of `like`: from its own base
    if it is one of ours, so that a chain of runs names where it began."""
    given = _card_data(like / "README.md")
    ours = OWN_TAG in (given.get("tags") or ())
    base = (given.get("base_model") if ours else None) or _hub_name_of(like)
    license, named = given.get("license"), given.get("license_name") or given.get("license")
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-text-to-text",
        base_model=base,
        license=license or "other",
        license_name=given.get("license_name"),
        license_link=given.get("license_link"),
        tags=["reward-model", "r1-reward", OWN_TAG],
    )
    terms = f"applies: {named}" if named else "applies; its folder did not say which"
    text = CARD.format(name=name, about=about, base=base, terms=terms)
    return f"---\n{data}\n---\n\n{text}"


def _card_data(path: epath.Path) -> CardData:
    """Return the metadata of a model card; none of one that is missing or cannot be parsed, for a
    card that we did not write must not stop a save."""
    try:
        return ModelCard(path.read_text(), ignore_metadata_errors=True).data
    except (OSError, ValueError, YAMLError):
        return CardData()


def _hub_name_of(folder: epath.Path) -> str:
    """Return Owner/Name of a folder in the hub's cache (models--Owner--Name/snapshots/…), and the
    name of any other folder."""
    path = os.path.abspath(os.fspath(folder)) if "://" not in os.fspath(folder) else str(folder)
    cached = re.search(r"models--(.+?)--(.+?)/snapshots/", path + "/")
    return f"{cached.group(1)}/{cached.group(2)}" if cached else path.rstrip("/").split("/")[-1]
