"""Export as a Hugging Face folder: sharded safetensors, config, tokenizer, processor, model card.

Shards are gathered and written one after the other, so that no more than one is in memory.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from typing import Any

import jax
import ml_dtypes  # noqa: F401 (numpy learns bfloat16)
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from safetensors.numpy import save_file

from r1reward_jax.console import progress
from r1reward_jax.models import reward_head
from r1reward_jax.models.qwen2_5_vl.model import Model
from r1reward_jax.models.qwen2_5_vl.weights import flatten, hub_names, to_hub
from r1reward_jax.types import Params

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
)
SHARD_BYTES = 5 * 10**9
CARD = """\
---
library_name: transformers
pipeline_tag: image-text-to-text
base_model: {base}
{license}
tags: [reward-model, r1-reward, r1reward-jax]
---

# {name}

{about}

Trained with r1reward-jax, an implementation of R1-Reward
([arXiv 2505.02835](https://arxiv.org/abs/2505.02835)), from `{base}`. {terms}
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
    target = epath.Path(folder)
    leaves = flatten(params)
    stored = np.dtype(dtype) if dtype else None
    first = jax.process_index() == 0
    if first:
        target.mkdir(parents=True, exist_ok=True)
        for left in target.glob("*.safetensors.part"):
            left.unlink()  # of a save that was interrupted
    shards = _plan(model, leaves, stored)
    index = {}
    for number, shard in enumerate(progress(shards, "saving"), 1):
        tensors = {
            name: _stored(model, leaves[path], path, at, stored) for name, path, at, _ in shard
        }
        file = "model.safetensors"
        if len(shards) > 1:
            file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        index |= dict.fromkeys(tensors, file)
        if first:
            save_file(tensors, os.fspath(target / f"{file}.part"), {"format": "pt"})
    if not first:
        return
    # only now: a left-over shard, or the reward head of another model, would be read along
    for pattern in ("*.safetensors", "*.safetensors.index.json", reward_head.FILE):
        for old in target.glob(pattern):
            old.unlink()
    for file in sorted(set(index.values())):
        (target / f"{file}.part").rename(target / file)
    if len(shards) > 1:
        total = sum(size for shard in shards for *_, size in shard)
        body = {"metadata": {"total_size": total}, "weight_map": index}
        (target / "model.safetensors.index.json").write_text(json.dumps(body, indent=2))
    hf = model.config.to_hf() | {"torch_dtype": str(stored or _main_dtype(leaves))}
    (target / "config.json").write_text(json.dumps(hf, indent=2))
    for name in COPIED_FILES:
        source = epath.Path(like) / name
        if source.exists() and source != target / name:
            shutil.copyfile(os.fspath(source), os.fspath(target / name))
    if epath.Path(like) != target:  # a model that is its own base was not trained by us
        (target / "README.md").write_text(_card(target.name, epath.Path(like), about or ABOUT))


def _tensors(model: Model, leaves: dict[str, Any]) -> Iterator[tuple[str, str, int | None, int]]:
    """(hub name, path, layer or None, numbers in it) of every tensor."""
    for path, leaf in leaves.items():
        names = hub_names(model.config, path)
        if isinstance(names, str):
            yield names, path, None, leaf.size
        else:
            yield from ((n, path, i, leaf.size // len(names)) for i, n in enumerate(names))


def _main_dtype(leaves: dict[str, Any]) -> np.dtype:
    """That of most numbers."""
    sizes: dict[np.dtype, int] = {}
    for leaf in leaves.values():
        sizes[np.dtype(leaf.dtype)] = sizes.get(np.dtype(leaf.dtype), 0) + leaf.size
    return max(sizes, key=lambda d: sizes[d])


def _plan(model: Model, leaves: dict[str, Any], stored: np.dtype | None) -> list[list[tuple]]:
    """Tensors of each shard, with their bytes."""
    shards: list[list[tuple]] = [[]]
    for name, path, layer, size in _tensors(model, leaves):
        size *= np.dtype(stored or leaves[path].dtype).itemsize
        if shards[-1] and sum(t[-1] for t in shards[-1]) + size > SHARD_BYTES:
            shards.append([])
        shards[-1].append((name, path, layer, size))
    return shards


def _stored(
    model: Model, leaf: Any, path: str, layer: int | None, dtype: np.dtype | None
) -> np.ndarray:
    """A tensor as it is written."""
    return to_hub(path, _host(leaf, layer).astype(dtype or leaf.dtype), model.config)


def _host(leaf: Any, layer: int | None) -> np.ndarray:
    """A parameter, or one layer of it, as one host array."""
    value = leaf if layer is None else leaf[layer]
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        value = multihost_utils.process_allgather(value, tiled=True)
    return np.asarray(value)


def _card(name: str, like: epath.Path, about: str) -> str:
    """The model card. Base model and license come from the card of `like`: from its own base if
    it is one of ours, so that a chain of runs names where it began."""
    card = like / "README.md"
    text = card.read_text() if card.exists() else ""
    found = dict(re.findall(r"^(license\w*|base_model): *(.+?) *$", text, re.MULTILINE))
    base = found.get("base_model", "") if "r1reward-jax" in text else ""
    base = base or _hub_name_of(like)
    license = {k: v for k, v in found.items() if k.startswith("license")} or {"license": "other"}
    said = found.get("license_name", found.get("license"))
    terms = f"The license of `{base}` applies: {said}."
    if said is None:
        terms = f"The license of `{base}` applies; its folder did not say which."
    lines = "\n".join(f"{k}: {v}" for k, v in license.items())
    return CARD.format(name=name, base=base, license=lines, terms=terms, about=about)


def _hub_name_of(folder: epath.Path) -> str:
    """Owner/Name of a folder in the hub's cache (models--Owner--Name/snapshots/…), else its
    name."""
    path = os.path.abspath(os.fspath(folder)) if "://" not in os.fspath(folder) else str(folder)
    cached = re.search(r"models--(.+?)--(.+?)/snapshots/", path + "/")
    return f"{cached.group(1)}/{cached.group(2)}" if cached else path.rstrip("/").split("/")[-1]
