"""Configuration of Qwen2.5-VL, read from and written to the hub's config.json.

The hub keeps the decoder's fields at the top level and `rope_scaling.mrope_section`; newer
`transformers` releases nest them under `text_config` with `rope_parameters`. Both are read, the
hub's form is written. `fields` says which fields count, and what is refused.
"""

import itertools
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from etils import epath

from r1reward_jax.model_folder import read_json, require_model
from r1reward_jax.models.qwen2_5_vl import fields as known
from r1reward_jax.models.qwen2_5_vl import rope_scaling
from r1reward_jax.models.qwen2_5_vl.rope_scaling import RopeScaling
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
    hidden_act: str = "silu"

    @property
    def patch_dim(self) -> int:
        """Return the numbers of one flattened patch: E of the vision inputs."""
        return self.in_channels * self.temporal_patch_size * self.patch_size**2

    @property
    def window_patches(self) -> int:
        """Return the patches of a full attention window (64)."""
        return (self.window_size // self.patch_size) ** 2

    @property
    def groups(self) -> tuple[int, int] | None:
        """Return (groups, window layers before the full layer of each), (4, 7) in all hub sizes;
        None where layers do not form equal groups."""
        groups = len(self.fullatt_block_indexes)
        size = self.depth // max(groups, 1)
        regular = tuple(range(size - 1, self.depth, size)) if size > 1 else ()
        if not groups or self.depth % groups or self.fullatt_block_indexes != regular:
            return None
        return groups, size - 1

    @property
    def runs(self) -> tuple[tuple[bool, int], ...]:
        """Return the layers as runs of one kind, in order: (whether full, how many)."""
        full = [i in self.fullatt_block_indexes for i in range(self.depth)]
        return tuple((kind, len(list(run))) for kind, run in itertools.groupby(full))


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
    hidden_act: str = "silu"
    rope: RopeScaling = field(default_factory=RopeScaling)

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
        for name, width, heads, of in (
            ("hidden_size", text.hidden_size, text.num_attention_heads, 2),
            ("vision_config.hidden_size", vision.hidden_size, vision.num_heads, 4),
        ):
            if width % heads or width // heads % of:
                raise InputError(
                    f"{name} is {width}, expected a multiple of {of} x {heads} attention heads"
                )
        if sum(text.mrope_section) * 2 != text.head_dim:
            raise InputError(f"mrope_section {text.mrope_section} must sum to {text.head_dim // 2}")
        if text.num_attention_heads % text.num_key_value_heads:
            raise InputError(
                f"num_attention_heads {text.num_attention_heads} must be a multiple of "
                f"num_key_value_heads {text.num_key_value_heads}"
            )
        if vision.out_hidden_size != text.hidden_size:
            raise InputError(
                f"vision_config.out_hidden_size {vision.out_hidden_size} must equal the text "
                f"hidden_size {text.hidden_size}"
            )
        if vision.window_size < vision.patch_size * vision.spatial_merge_size:
            raise InputError(
                f"vision_config.window_size {vision.window_size} must hold a visual token of "
                f"{vision.spatial_merge_size} x {vision.patch_size} pixels"
            )

    @classmethod
    def load(cls, folder: str) -> "Config":
        """Read `folder/config.json`.

        Raises:
          InputError: the folder is of another kind, the model of another type, or a field is wrong.
        """
        require_model(folder)
        path = epath.Path(folder) / "config.json"
        return cls.from_hf(read_json(path), str(path))

    @classmethod
    def from_hf(cls, hf: dict[str, Any], where: str = "config.json") -> "Config":
        """Return the configuration of a config.json's content; messages call it `where`."""
        known.check({"model_type": None, **hf}, known.TOP, f"{where}: ")
        if not isinstance(hf.get("vision_config"), dict):
            raise InputError(f"{where}: no vision_config; is it the whole model's?")
        for name in ("quantization_config", "compression_config"):
            if hf.get(name):
                how = hf[name].get("quant_method") if isinstance(hf[name], dict) else None
                raise InputError(
                    f"{where}: {name} ({str(how or 'of an unknown kind')[:40]}): quantised weights "
                    "are not read; take the model in bfloat16 or float16"
                )
        if hf.get("auto_map"):
            known.once(f"{where}: auto_map: the model's own code is not run")
        text, vision = _text_fields(hf, where), {**hf["vision_config"]}
        _warn_of_unknown(hf, where)
        known.check(vision, known.VISION, f"{where}: vision_config.")
        vision = _vision_fields(vision, where)
        try:
            names = [f.name for f in fields(cls) if f.name.endswith("_token_id")]
            given = {**text, **hf}
            ids = {k: given[k] for k in names if type(given.get(k)) is int}
            config = cls(_pick(TextConfig, text), _pick(VisionConfig, vision), **ids)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        rows = config.text.vocab_size
        for name in names[:4]:
            if getattr(config, name) >= rows:
                known.fail(f"{where}: {name}", getattr(config, name), f"less than {rows:,} tokens")
        return config

    def to_hf(self) -> dict[str, Any]:
        """Return the hub's flat config.json."""
        text = asdict(self.text)
        del text["rope"]
        section = list(text.pop("mrope_section"))
        vision = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self.vision).items()}
        ids = {f.name: getattr(self, f.name) for f in fields(self) if f.name.endswith("_token_id")}
        return {
            "architectures": ["Qwen2_5_VLForConditionalGeneration"],
            "model_type": "qwen2_5_vl",
            "use_sliding_window": False,
            "rope_scaling": {**self.text.rope.to_hf(), "mrope_section": section},
            **text,
            **ids,
            "vision_config": {"model_type": "qwen2_5_vl", **vision},
        }


def _text_fields(hf: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the decoder's fields, checked, defaults filled in.

    Where both layouts are in one file, releases of `transformers` differ in which one they read, so
    the two must agree.
    """
    known.check(hf, known.TEXT, f"{where}: ")
    nested = hf.get("text_config") or {}
    known.check(nested, known.TEXT, f"{where}: text_config.")
    for name in known.TEXT.keys() - {"rope_scaling", "rope_parameters", "tie_word_embeddings"}:
        if name in hf and name in nested and hf[name] != nested[name]:
            raise InputError(
                f"{where}: {name} is {hf[name]!r} at the top and {nested[name]!r} in text_config; "
                "which one is the model's?"
            )
    text = {**TEXT_DEFAULTS, **hf, **nested}
    longest = text["max_position_embeddings"]
    ropes = [
        _rope(part, longest, f"{where}: {name}")
        for name, part in (("", hf), ("text_config.", nested))
        if any(part.get(k) for k in ("rope_scaling", "rope_parameters"))
    ]
    if len(set(ropes)) > 1:
        raise InputError(f"{where}: rope_scaling at the top and that of text_config differ")
    scaling, sections, theta = ropes[0] if ropes else (RopeScaling(), (16, 24, 24), None)
    if theta and text.get("rope_theta") and theta != text["rope_theta"]:
        raise InputError(
            f"{where}: rope_theta is {text['rope_theta']!r} and, inside rope_parameters, {theta!r}"
        )
    text |= {"rope": scaling, "mrope_section": sections}
    text["rope_theta"] = float(text.get("rope_theta") or theta or 1e6)
    text["rms_norm_eps"] = float(text["rms_norm_eps"])
    if text["num_key_value_heads"] is None:
        text["num_key_value_heads"] = text["num_attention_heads"]
    tied = hf.get("tie_word_embeddings"), nested.get("tie_word_embeddings")
    text["tie_word_embeddings"] = bool(tied[1] if tied[0] is None else tied[0])
    _refuse_windows(text, where)
    dim = text["hidden_size"] // text["num_attention_heads"]
    if text.get("head_dim") not in (None, dim):
        known.fail(f"{where}: head_dim", text["head_dim"], f"hidden_size / heads, {dim}")
    return text


def _rope(
    part: dict[str, Any], longest: int, where: str
) -> tuple[RopeScaling, tuple, float | None]:
    """Return the scaling, the frequencies of each axis and theta of one of the two layouts."""
    both = {k: part[k] for k in ("rope_scaling", "rope_parameters") if part.get(k)}
    rope = {k: v for inner in both.values() for k, v in inner.items()}
    for name, inner in both.items():
        if wrong := [k for k in inner if rope[k] is not inner[k] and rope[k] != inner[k]]:
            raise InputError(
                f"{where}rope_scaling and rope_parameters differ in {wrong[0]} ({name})"
            )
    name = f"{where}{next(iter(both))}"
    own = {"mrope_section": known.section, "rope_theta": known.TEXT["rope_theta"]}
    known.check(rope, own, f"{name}.")
    sections = tuple(rope.get("mrope_section", (16, 24, 24)))
    return rope_scaling.read(rope, longest, name), sections, rope.get("rope_theta")


def _refuse_windows(text: dict[str, Any], where: str) -> None:
    """Raise InputError if a layer of the decoder attends to a sliding window only."""
    count = text["num_hidden_layers"]
    types = text.get("layer_types")
    if types is not None and (len(types) != count or set(map(str, types)) != {"full_attention"}):
        other = sorted({str(t)[:40] for t in types} - {"full_attention"})
        raise InputError(
            f"{where}: layer_types: expected full_attention for each of {count} layers, found "
            f"{', '.join(other) or f'{len(types)} of them'}"
        )
    first = text.get("max_window_layers", TEXT_DEFAULTS["num_hidden_layers"])
    window = text.get("sliding_window", 4096)
    if types is None and text.get("use_sliding_window") and window and (first or 0) < count:
        raise InputError(
            f"{where}: use_sliding_window is true: layers from {first or 0} on see {window} tokens "
            "only; sliding windows are not supported (the hub's Qwen2.5-VL has none)"
        )


def _vision_fields(vision: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the tower's fields with defaults filled in, and fullatt_block_indexes in order."""
    vision = {**VISION_DEFAULTS, **vision}
    for name in ("in_chans", "in_channels"):
        vision["in_channels"] = vision.get(name) or vision["in_channels"]
    if vision.get("spatial_patch_size", vision["patch_size"]) != vision["patch_size"]:
        known.fail(
            f"{where}: vision_config.spatial_patch_size",
            vision["spatial_patch_size"],
            f"patch_size, {vision['patch_size']}",
        )
    rope = vision.get("rope_parameters") or {}
    theta, kind = rope.get("rope_theta", 1e4), rope.get("rope_type", "axial")
    if theta != 1e4 or kind not in ("axial", "default"):
        known.fail(f"{where}: vision_config.rope_parameters", rope, "axial with rope_theta 10000")
    given = set(vision["fullatt_block_indexes"])
    if beyond := sorted(i for i in given if i >= vision["depth"]):
        known.once(
            f"{where}: vision_config.fullatt_block_indexes: {beyond[:8]} are no layers of "
            f"{vision['depth']}, so only the others are full (as in transformers)"
        )
    vision["fullatt_block_indexes"] = sorted(given - set(beyond))
    return vision


def _warn_of_unknown(hf: dict[str, Any], where: str) -> None:
    """Warn of fields that are in no table."""
    top = known.IRRELEVANT.keys() | known.TOP.keys() | known.TEXT.keys()
    quantised = {"quantization_config", "compression_config"}  # null, or refused
    found = [k for k in hf if k not in top | quantised]
    nested, vision = hf.get("text_config") or {}, hf["vision_config"]
    text = known.IRRELEVANT.keys() | known.TEXT.keys() | quantised
    found += [f"text_config.{k}" for k in nested if k not in text]
    tower = known.IRRELEVANT.keys() | known.VISION.keys() | quantised
    found += [f"vision_config.{k}" for k in vision if k not in tower]
    known.unknown(found, where)


def _pick(cls: type, values: dict[str, Any]) -> Any:
    """Return a dataclass of the fields that `values` has."""
    wanted = {f.name: values[f.name] for f in fields(cls) if f.name in values}
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in wanted.items()})
