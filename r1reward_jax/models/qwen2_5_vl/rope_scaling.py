"""Scaling of the decoder's rotary frequencies, as a config.json asks for it.

    default (mrope)  f_i = theta^(-i / half)
    linear           f_i / factor                       (position interpolation, arXiv 2306.15595)
    yarn             between f_i and f_i / factor, by how often i turns within the original length;
                     cosines and sines times an attention factor           (arXiv 2309.00071)
    llama3           the same idea with a ramp over wavelengths

All three are fixed numbers for all lengths, as `transformers` applies them together with M-RoPE.
`dynamic` and `longrope` have frequencies that change with the longest row of a batch, so that a
response would be judged differently beside a longer one: refused by name.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from r1reward_jax.models.qwen2_5_vl.fields import fail, flag, number, optional, unknown, whole
from r1reward_jax.types import InputError

KEYS = {
    "linear": {"factor"},
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"},
    "yarn": {
        "factor",
        "original_max_position_embeddings",
        "attention_factor",
        "beta_fast",
        "beta_slow",
        "mscale",
        "mscale_all_dim",
        "truncate",
    },
}
"""What each type reads, beside its type, mrope_section and rope_theta."""
COMMON = {"type", "rope_type", "mrope_section", "rope_theta", "partial_rotary_factor"}
RULES = {
    "factor": optional(number(1.0, 1e6)),
    "original_max_position_embeddings": optional(whole(1, 2**31)),
    "attention_factor": optional(number(1e-6, 1e6)),
    "beta_fast": optional(number(1e-6, 1e9)),
    "beta_slow": optional(number(1e-6, 1e9)),
    "mscale": optional(number(0.0, 1e6)),
    "mscale_all_dim": optional(number(0.0, 1e6)),
    "low_freq_factor": number(1e-6, 1e6),
    "high_freq_factor": number(1e-6, 1e6),
    "truncate": optional(flag),
}


@dataclass(frozen=True)
class RopeScaling:
    """How frequencies are scaled. Fields that a type does not read keep their defaults."""

    kind: str = "default"
    factor: float = 1.0
    original: int = 0
    """Positions that the model was trained on before it was scaled."""
    attention_factor: float = 1.0
    """Multiplies cosines and sines."""
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0

    def frequencies(self, half: int, theta: float) -> Float[np.ndarray, " half"]:
        """Return the turns in radians per position of each of `half` frequencies, float32."""
        plain = 1.0 / theta ** (np.arange(half, dtype=np.float32) / half)
        if self.kind == "linear":
            return plain / np.float32(self.factor)
        if self.kind == "yarn":
            kept = 1 - self._ramp(half, theta)
            return plain / np.float32(self.factor) * (1 - kept) + plain * kept
        if self.kind == "llama3":
            return self._llama3(plain)
        return plain

    def _ramp(self, half: int, theta: float) -> Float[np.ndarray, " half"]:
        """Return how far each frequency is interpolated: 0 for fast ones, 1 for slow ones."""

        def turning(turns: float) -> float:  # the (fractional) frequency that turns so often
            return half * math.log(self.original / (turns * 2 * math.pi)) / math.log(theta)

        low, high = turning(self.beta_fast), turning(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, 2 * half - 1)
        high += 0.001 if low == high else 0  # the original's, against a division by zero
        ramp = (np.arange(half, dtype=np.float32) - np.float32(low)) / np.float32(high - low)
        return np.clip(ramp, 0, 1)

    def _llama3(self, plain: Float[np.ndarray, " half"]) -> Float[np.ndarray, " half"]:
        turns = self.original * plain / (2 * math.pi)  # within the original length
        low, high = self.low_freq_factor, self.high_freq_factor
        smooth = (turns - low) / (high - low)
        between = (1 - smooth) * plain / self.factor + smooth * plain
        scaled = np.where(turns < low, plain / self.factor, plain)
        return np.where((turns >= low) & (turns <= high), between, scaled).astype(np.float32)

    def to_hf(self) -> dict[str, Any]:
        """Return the fields of `rope_scaling`, both spellings of the type."""
        if self.kind == "default":
            return {"type": "mrope"}
        fields: dict[str, Any] = {"type": self.kind, "rope_type": self.kind, "factor": self.factor}
        if self.kind == "linear":
            return fields
        fields["original_max_position_embeddings"] = self.original
        if self.kind == "llama3":
            two = {"low_freq_factor": self.low_freq_factor}
            return fields | two | {"high_freq_factor": self.high_freq_factor}
        return fields | {
            "attention_factor": self.attention_factor,
            "beta_fast": self.beta_fast,
            "beta_slow": self.beta_slow,
            "truncate": self.truncate,
        }


def read(rope: dict[str, Any], longest: int, where: str) -> RopeScaling:
    """Return the scaling of a config.json's `rope_scaling` or `rope_parameters`.

    Args:
      rope: its content; empty for none.
      longest: max_position_embeddings, which stands in for an original length that is not given.
      where: what messages call it.

    Raises:
      InputError: a type that is not supported, two that contradict, or a number out of range.
    """
    kind = _kind(rope, where)
    layers = [name for name in rope if name.endswith("_attention")]
    if layers:
        fail(f"{where}.{layers[0]}", rope[layers[0]], "one scaling for all layers")
    if rope.get("partial_rotary_factor", 1) != 1:
        fail(f"{where}.partial_rotary_factor", rope["partial_rotary_factor"], "1")
    # linear scaling needs no original length; it is often copied from an example of yarn
    read_past = {"original_max_position_embeddings"} if kind == "linear" else set()
    unknown([k for k in rope if k not in COMMON | KEYS.get(kind, set()) | read_past], where)
    if kind == "default":
        return RopeScaling()
    values = {k: rope[k] for k in KEYS[kind] if k in rope}
    for name, value in values.items():
        if expected := RULES[name](value):
            fail(f"{where}.{name}", value, expected)
        if type(value) is int and not name.startswith("original"):
            values[name] = float(value)
    missing = sorted(k for k in KEYS[kind] if k == "factor" or RULES[k](None))
    for name in missing:
        if name not in values:
            raise InputError(f"{where}.{name}: missing; rope type {kind} needs it")
    original = values.get("original_max_position_embeddings") or longest
    factor = values.get("factor") or longest / original
    if kind == "linear":
        return RopeScaling(kind, float(factor))
    if kind == "llama3":
        low, high = values["low_freq_factor"], values["high_freq_factor"]
        if low >= high:
            fail(f"{where}.low_freq_factor", low, f"less than high_freq_factor, {high}")
        return RopeScaling(
            kind, float(factor), original, low_freq_factor=low, high_freq_factor=high
        )
    fast, slow = values.get("beta_fast") or 32.0, values.get("beta_slow") or 1.0
    if fast < slow:
        fail(f"{where}.beta_fast", fast, f"at least beta_slow, {slow}")
    scale = values.get("attention_factor") or _attention_factor(factor, values)
    truncate = values.get("truncate", True)
    return RopeScaling(kind, float(factor), original, float(scale), fast, slow, bool(truncate))


def _attention_factor(factor: float, values: dict[str, Any]) -> float:
    """Return yarn's multiplier of cosines and sines where a config gives none."""
    scale = lambda weight: 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0  # noqa: E731
    one, all_ = values.get("mscale"), values.get("mscale_all_dim")
    return scale(one) / scale(all_) if one and all_ else scale(1.0)


def _kind(rope: dict[str, Any], where: str) -> str:
    """Return the type. `transformers` 4.51 reads `type`, 5 reads `rope_type`: they must agree."""
    given = {k: rope[k] for k in ("type", "rope_type") if rope.get(k) is not None}
    # mrope says only that a token has three positions, which is so in any case
    kinds = {"default" if v == "mrope" else v for v in map(str, given.values())} or {"default"}
    if len(kinds) > 1:
        both = " but ".join(f"{k} {v!r}" for k, v in given.items())
        raise InputError(f"{where}: {both}; releases of transformers differ in which one counts")
    (kind,) = kinds
    if kind != "default" and kind not in KEYS:
        raise InputError(
            f"{where}: rope type {kind!r} is not supported, only default (mrope), "
            f"{', '.join(sorted(KEYS))}"
            + (
                "; its frequencies depend on the longest row of a batch"
                if kind in ("dynamic", "longrope", "su")
                else ""
            )
        )
    return kind
