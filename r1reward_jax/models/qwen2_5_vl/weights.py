"""Hugging Face checkpoints in and out: one table of names, safetensors, hub layout.

`torch` keeps a linear layer as [out, in], we as [in, out]; the patch embedding is a convolution
there and a matmul here; layers are separate tensors there and stacked here. Both the hub's names
and the newer `model.visual.*`, `model.language_model.*` prefixes are read; the hub's are written.
"""

import json
import os
import shutil
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from r1reward_jax.models.qwen2_5_vl.config import Config
from r1reward_jax.models.qwen2_5_vl.model import Model
from r1reward_jax.types import InputError, Params

LAYER_NAMES = {
    "visual": {
        "norm1": "norm1",
        "norm2": "norm2",
        "qkv": "attn.qkv",
        "proj": "attn.proj",
        "mlp/gate_proj": "mlp.gate_proj",
        "mlp/up_proj": "mlp.up_proj",
        "mlp/down_proj": "mlp.down_proj",
    },
    "text": {
        "input_layernorm": "input_layernorm",
        "post_attention_layernorm": "post_attention_layernorm",
        "q_proj": "self_attn.q_proj",
        "k_proj": "self_attn.k_proj",
        "v_proj": "self_attn.v_proj",
        "o_proj": "self_attn.o_proj",
        "mlp/gate_proj": "mlp.gate_proj",
        "mlp/up_proj": "mlp.up_proj",
        "mlp/down_proj": "mlp.down_proj",
    },
}
SINGLE_NAMES = {
    "visual/patch_embed": "visual.patch_embed.proj",
    "visual/merger/norm": "visual.merger.ln_q",
    "visual/merger/fc1": "visual.merger.mlp.0",
    "visual/merger/fc2": "visual.merger.mlp.2",
    "text/embed_tokens": "model.embed_tokens.weight",
    "text/norm": "model.norm",
    "text/lm_head": "lm_head",
}
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
    "video_preprocessor_config.json",
    "generation_config.json",
)
SHARD_BYTES = 5 * 10**9


def hub_names(config: Config, path: str) -> str | list[str]:
    """The hub's tensor name of a parameter path, or the list of names of a stacked one."""
    if path in SINGLE_NAMES:
        return SINGLE_NAMES[path]
    module, leaf = path.rsplit("/", 1)
    suffix = "bias" if leaf == "bias" else "weight"
    if module in SINGLE_NAMES:
        return f"{SINGLE_NAMES[module]}.{suffix}"
    tower, stack, inner = module.split("/", 2)
    name = f"{LAYER_NAMES[tower][inner]}.{suffix}"
    if tower == "text":
        return [f"model.layers.{i}.{name}" for i in range(config.text.num_hidden_layers)]
    full = set(config.vision.fullatt_block_indexes)
    wanted = [i for i in range(config.vision.depth) if (i in full) == (stack == "full_layers")]
    return [f"visual.blocks.{i}.{name}" for i in wanted]


def flatten(params: Mapping[str, Any]) -> dict[str, Any]:
    """A nested dict as {"a/b/c": leaf}."""
    return {
        "/".join(str(k.key) for k in path): leaf
        for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]
    }


def to_hub(path: str, value: np.ndarray, config: Config) -> np.ndarray:
    """One (unstacked) tensor from our layout to torch's."""
    if path.endswith("patch_embed/kernel"):
        v = config.vision
        shape = (-1, v.in_channels, v.temporal_patch_size, v.patch_size, v.patch_size)
        return np.ascontiguousarray(value.T).reshape(shape)
    return np.ascontiguousarray(value.T if path.endswith("kernel") else value)


def from_hub(path: str, value: np.ndarray) -> np.ndarray:
    """One tensor from torch's layout to ours."""
    if path.endswith("patch_embed/kernel"):
        return value.reshape(value.shape[0], -1).T
    return value.T if path.endswith("kernel") else value


class _Reader:
    """The tensors of a folder by their hub names, whatever prefix they were saved with."""

    def __init__(self, folder: str):
        self.where = folder
        files = sorted(epath.Path(folder).glob("*.safetensors"))
        if not files:
            raise InputError(f"{folder}: no *.safetensors file")
        self.handles: dict[str, tuple[Any, str]] = {}
        for file in files:
            try:
                handle = safe_open(os.fspath(file), "numpy")
            except SafetensorError as error:
                raise InputError(f"{file}: cannot be read ({error}); is it complete?") from None
            for name in handle.keys():  # noqa: SIM118 (a handle is not a dict)
                self.handles[_hub_name(name)] = (handle, name)

    def __getitem__(self, name: str) -> np.ndarray:
        handle, stored = self.handles[name]
        return handle.get_tensor(stored)


def _hub_name(name: str) -> str:
    name = name.replace("model.language_model.", "model.", 1)
    return name.removeprefix("model.") if name.startswith("model.visual.") else name


def load(folder: str, dtype: Any = None) -> tuple[Model, Params]:
    """Read a Qwen2.5-VL folder.

    Args:
      folder: a Hugging Face folder: config.json and *.safetensors.
      dtype: what to cast floating tensors to; None keeps theirs.

    Raises:
      InputError: no such folder, another model type, or tensors that are missing, left over or of
        another shape, all of them in one message.
    """
    config = Config.load(folder)
    model, reader = Model(config), _Reader(folder)
    abstract = flatten(model.abstract_params())
    problems, values, used = [], {}, set()
    for path, expected in abstract.items():
        names = hub_names(config, path)
        listed = [names] if isinstance(names, str) else names
        used.update(listed)
        missing = [n for n in listed if n not in reader.handles]
        if missing:
            problems += [f"missing {n}" for n in missing]
            continue
        tensors = [from_hub(path, reader[n]) for n in listed]
        wrong = [
            f"{n} is {t.shape}, expected {s}"
            for n, t in zip(listed, tensors, strict=True)
            if t.shape != (s := expected.shape if isinstance(names, str) else expected.shape[1:])
        ]
        problems += wrong
        if not wrong:
            value = tensors[0] if isinstance(names, str) else np.stack(tensors)
            values[path] = jax.numpy.asarray(value, dtype)
    tied = {"lm_head.weight"} if config.text.tie_word_embeddings else set()
    problems += [f"unexpected {n}" for n in sorted(set(reader.handles) - used - tied)]
    if problems:
        shown = "; ".join(problems[:20]) + (" …" if len(problems) > 20 else "")
        raise InputError(f"{folder}: {len(problems)} tensors do not fit the config: {shown}")
    return model, unflatten(values)


def unflatten(flat: Mapping[str, Any]) -> Params:
    """{"a/b/c": leaf} as a nested dict."""
    nested: Params = {}
    for path, leaf in flat.items():
        *parents, last = path.split("/")
        node = nested
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = leaf
    return nested


def save(folder: str, model: Model, params: Params, *, like: str, dtype: Any = None) -> None:
    """Write a Hugging Face folder: weights, config, and tokenizer and processor files of `like`."""
    target = epath.Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    config, tensors = model.config, {}
    for path, leaf in flatten(params).items():
        value = np.asarray(leaf if dtype is None else leaf.astype(dtype))
        names = hub_names(config, path)
        for name, part in [(names, value)] if isinstance(names, str) else zip(names, value):
            tensors[name] = to_hub(path, part, config)
    for old in [*target.glob("*.safetensors"), *target.glob("*.safetensors.index.json")]:
        old.unlink()  # a left-over shard would be read along with the new ones
    _save_shards(target, tensors)
    hf = config.to_hf() | {"torch_dtype": str(next(iter(tensors.values())).dtype)}
    (target / "config.json").write_text(json.dumps(hf, indent=2))
    for name in COPIED_FILES:
        source = epath.Path(like) / name
        if source.exists() and source != target / name:
            shutil.copyfile(os.fspath(source), os.fspath(target / name))


def _save_shards(target: epath.Path, tensors: dict[str, np.ndarray]) -> None:
    shards: list[dict[str, np.ndarray]] = [{}]
    for name, value in tensors.items():
        if sum(v.nbytes for v in shards[-1].values()) + value.nbytes > SHARD_BYTES and shards[-1]:
            shards.append({})
        shards[-1][name] = value
    if len(shards) == 1:
        save_file(tensors, os.fspath(target / "model.safetensors"), {"format": "pt"})
        return
    index = {}
    for i, shard in enumerate(shards, 1):
        file = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, os.fspath(target / file), {"format": "pt"})
        index |= dict.fromkeys(shard, file)
    total = sum(v.nbytes for v in tensors.values())
    body = {"metadata": {"total_size": total}, "weight_map": index}
    (target / "model.safetensors.index.json").write_text(json.dumps(body, indent=2))
