"""Translate names and layouts of Hugging Face checkpoints, by one table for `loading` and `saving`.

`torch` keeps a linear layer as [out, in], we as [in, out]; the patch embedding is a convolution
there and a matmul here; layers are separate tensors there and stacked here. Both the hub's names
and the newer `model.visual.*`, `model.language_model.*` prefixes are read; the hub's are written.
"""

import numpy as np

from r1reward_jax.models.qwen2_5_vl.config import Config

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


def hub_names(config: Config, path: str) -> str | list[str]:
    """Return the hub's tensor name of a parameter path, or the list of names of a stacked one.

    A path is that of `flax.traverse_util.flatten_dict(params, sep="/")`.
    """
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


def to_hub(path: str, value: np.ndarray, config: Config) -> np.ndarray:
    """Return one (unstacked) tensor in torch's layout instead of ours."""
    if path.endswith("patch_embed/kernel"):
        v = config.vision
        shape = (-1, v.in_channels, v.temporal_patch_size, v.patch_size, v.patch_size)
        return np.ascontiguousarray(value.T).reshape(shape)
    return np.ascontiguousarray(value.T if path.endswith("kernel") else value)
