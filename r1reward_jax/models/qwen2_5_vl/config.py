"""Configuration of Qwen2.5-VL, read from and written to the hub's config.json.

The hub keeps the decoder's fields at the top level and `rope_scaling.mrope_section`; newer
`transformers` releases nest them under `text_config` with `rope_parameters`. Both are read, the
hub's form is written.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from etils import epath

from r1reward_jax.types import InputError

# What `transformers`' configuration classes take where a config.json is silent; releases around
# 4.50 left out whatever equals these.
VISION_DEFAULTS = {
    "depth": 32,
    "hidden_size": 3584,
    "num_heads": 16,
    "intermediate_size": 3420,
    "out_hidden_size": 3584,
    "fullatt_block_indexes": (7, 15, 23, 31),
    "window_size": 112,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "in_channels": 3,
    "tokens_per_second": 4,
}
TEXT_DEFAULTS = {
    "vocab_size": 152064,
    "hidden_size": 8192,
    "intermediate_size": 29568,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 32768,
}


@dataclass(frozen=True)
class VisionConfig:
    """The vision tower. Sizes are in channels, patches or pixels as named."""

    depth: int
    hidden_size: int
    num_heads: int
    intermediate_size: int
    out_hidden_size: int
    fullatt_block_indexes: tuple[int, ...]
    window_size: int = 112
    patch_size: int = 14
    temporal_patch_size: int = 2
    spatial_merge_size: int = 2
    in_channels: int = 3
    tokens_per_second: int = 2

    @property
    def patch_dim(self) -> int:
        """Return the numbers of one flattened patch: E of the vision inputs."""
        return self.in_channels * self.temporal_patch_size * self.patch_size**2

    @property
    def window_patches(self) -> int:
        """Return the patches of a full attention window (64)."""
        return (self.window_size // self.patch_size) ** 2

    @property
    def groups(self) -> tuple[int, int]:
        """Return (groups, window layers before the full layer of each): (4, 7) in all hub sizes."""
        groups = len(self.fullatt_block_indexes)
        size = self.depth // max(groups, 1)
        regular = tuple(range(size - 1, self.depth, size)) if size else ()
        if not groups or self.depth % groups or self.fullatt_block_indexes != regular:
            raise InputError(
                f"vision_config.fullatt_block_indexes {list(self.fullatt_block_indexes)} of depth "
                f"{self.depth}: expected equal groups of window layers that each end in a full one"
            )
        return groups, size - 1


@dataclass(frozen=True)
class TextConfig:
    """The decoder."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    mrope_section: tuple[int, int, int]
    rope_theta: float = 1_000_000.0
    rms_norm_eps: float = 1e-6
    max_position_embeddings: int = 128_000
    tie_word_embeddings: bool = False

    @property
    def head_dim(self) -> int:
        """Return H."""
        return self.hidden_size // self.num_attention_heads


@dataclass(frozen=True)
class Config:
    """A whole Qwen2.5-VL."""

    text: TextConfig
    vision: VisionConfig
    image_token_id: int = 151655
    video_token_id: int = 151656
    vision_start_token_id: int = 151652
    vision_end_token_id: int = 151653
    bos_token_id: int = 151643
    eos_token_id: int = 151645

    def __post_init__(self) -> None:
        text, vision = self.text, self.vision
        if sum(text.mrope_section) * 2 != text.head_dim:
            raise InputError(f"mrope_section {text.mrope_section} must sum to {text.head_dim // 2}")
        if text.num_attention_heads % text.num_key_value_heads:
            raise InputError("num_attention_heads must be a multiple of num_key_value_heads")
        if vision.out_hidden_size != text.hidden_size:
            raise InputError("vision_config.out_hidden_size must equal the text hidden_size")
        _ = vision.groups

    @classmethod
    def load(cls, folder: str) -> "Config":
        """Read `folder/config.json`. Raises InputError if it is missing or of another model."""
        path = epath.Path(folder) / "config.json"
        if not path.exists():
            raise InputError(f"{path}: not found; expected a Hugging Face Qwen2.5-VL folder")
        return cls.from_hf(json.loads(path.read_text()), str(path))

    @classmethod
    def from_hf(cls, hf: dict[str, Any], where: str = "config.json") -> "Config":
        """Return the configuration of a config.json's content; messages call it `where`."""
        if hf.get("model_type") != "qwen2_5_vl":
            raise InputError(
                f"{where}: model_type is {hf.get('model_type')!r}, expected qwen2_5_vl"
            )
        if "vision_config" not in hf:
            raise InputError(f"{where}: no vision_config; is it the whole model's?")
        text = {**TEXT_DEFAULTS, **hf, **hf.get("text_config", {})}
        vision = {**VISION_DEFAULTS, **hf["vision_config"]}
        vision["in_channels"] = vision.get("in_chans", vision["in_channels"])
        rope = text.get("rope_scaling") or text.get("rope_parameters") or {}
        text["mrope_section"] = rope.get("mrope_section", (16, 24, 24))
        text["rope_theta"] = text.get("rope_theta") or rope.get("rope_theta", 1e6)
        text["tie_word_embeddings"] = bool(
            hf.get("tie_word_embeddings", text.get("tie_word_embeddings", False))
        )
        names = [f.name for f in fields(cls) if f.name.endswith("_token_id")]
        ids = {k: text[k] for k in names if isinstance(text.get(k), int)}
        return cls(
            text=_pick(TextConfig, text, where),
            vision=_pick(VisionConfig, vision, where),
            **ids,
        )

    def to_hf(self) -> dict[str, Any]:
        """Return the hub's flat config.json."""
        text = asdict(self.text)
        section = list(text.pop("mrope_section"))
        vision = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self.vision).items()}
        ids = {f.name: getattr(self, f.name) for f in fields(self) if f.name.endswith("_token_id")}
        return {
            "architectures": ["Qwen2_5_VLForConditionalGeneration"],
            "model_type": "qwen2_5_vl",
            "hidden_act": "silu",
            "use_sliding_window": False,
            "rope_scaling": {"type": "mrope", "mrope_section": section},
            **text,
            **ids,
            "vision_config": {"model_type": "qwen2_5_vl", "hidden_act": "silu", **vision},
        }


def _pick(cls: type, values: dict[str, Any], where: str) -> Any:
    """Return a dataclass of the fields that `values` has. Raises InputError if one is missing."""
    known = {f.name: values[f.name] for f in fields(cls) if f.name in values}
    known = {k: tuple(v) if isinstance(v, list) else v for k, v in known.items()}
    try:
        return cls(**known)
    except TypeError as error:
        raise InputError(f"{where}: {cls.__name__}: {error}") from None
