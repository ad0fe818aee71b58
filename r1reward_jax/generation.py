"""How a published checkpoint is to be sampled: what `evaluate` takes of its generation_config.json,
and what it leaves.

Taken are the repetition penalty, which changes greedy verdicts, and the length limit; where the
file has no limit, that of the code that R1-Reward was evaluated with. Not taken are temperature,
top_p and top_k: the first completion is greedy (the published files say so with a temperature of
1e-6), and votes are drawn as `eval.temperature` and `rollout.top_p` say.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from etils import epath

from r1reward_jax.errors import InputError

FILE = "generation_config.json"
RECIPE_TOKENS = 4096
"""Longest completion in the inference code of R1-Reward's authors."""
_TAKEN = {"repetition_penalty": "rollout.repetition_penalty"}
_VOTES = ("temperature", "top_p", "top_k")
_IDLE = {
    "num_beams": 1,
    "num_beam_groups": 1,
    "no_repeat_ngram_size": 0,
    "length_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "diversity_penalty": 0.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "penalty_alpha": None,
    "min_p": None,
    "min_length": 0,
    "min_new_tokens": None,
    "bad_words_ids": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "sequence_bias": None,
    "guidance_scale": None,
    "stop_strings": None,
}
"""Fields that would change what is written, with the values at which they do not."""


@dataclass(frozen=True)
class Generation:
    """What is taken of a checkpoint's own settings."""

    mode: str
    """checkpoint or config: whose settings count."""
    taken: Mapping[str, Any] = field(default_factory=dict)
    """Knob -> value."""
    origin: Mapping[str, str] = field(default_factory=dict)
    """Knob -> where the value is from."""
    left: Mapping[str, Any] = field(default_factory=dict)
    """Field of the file -> value that is not taken."""

    def told(self, knobs: Mapping[str, Any]) -> str:
        """Return in words what was taken; knobs that have another value by now were set by hand."""
        used = {k: v for k, v in self.taken.items() if knobs[k] == v}
        words = [f"{knob}={value} ({self.origin[knob]})" for knob, value in used.items()]
        words += [f"{k}={knobs[k]} (set here)" for k in self.taken if k not in used]
        left = [f"{name} {value}" for name, value in self.left.items()]
        own = "those of the config" if self.mode == "config" else "nothing to take"
        return f"generation settings: {', '.join(words) or own}" + (
            f"; not taken from {FILE}: {', '.join(left)}" if left else ""
        )


def generation_of(folder: str, mode: str, *, exported: bool) -> Generation:
    """Return what is taken of a model's generation settings.

    Args:
      folder: of the model.
      mode: "checkpoint" takes them, "config" does not, "auto" does for a model that was trained
        elsewhere.
      exported: whether the model's folder says how it was trained here.

    Raises:
      InputError: the file cannot be read, or has values of other types; or "checkpoint" without it.
    """
    path = epath.Path(folder) / FILE
    if not path.exists():
        if mode == "checkpoint":
            raise InputError(f"eval.generation=checkpoint: {folder} has no {FILE}")
        return Generation("config")
    stored = _read(path)
    left = {name: stored[name] for name in _VOTES if stored.get(name) is not None}
    left |= {n: stored[n] for n, idle in _IDLE.items() if stored.get(n) not in (None, idle)}
    if mode == "config" or (mode == "auto" and exported):
        ours = {name: stored[name] for name in (*_TAKEN, "max_new_tokens") if stored.get(name)}
        return Generation("config", left=ours | left)
    taken, origin = {}, {}
    for name, knob in _TAKEN.items():
        if (value := stored.get(name)) is not None:
            taken[knob], origin[knob] = _positive(path, name, value, float), FILE
    limit, source = stored.get("max_new_tokens"), FILE
    if limit is None and not exported:
        limit, source = RECIPE_TOKENS, "R1-Reward's release"
    if limit is not None:
        taken["rollout.max_new_tokens"] = _positive(path, "max_new_tokens", limit, int)
        origin["rollout.max_new_tokens"] = source
    return Generation("checkpoint", taken, origin, left)


def _read(path: epath.Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text())
        if not isinstance(stored, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: {error}; correct the file, or leave it out with eval.generation=config"
        ) from None
    return stored


def _positive(path: epath.Path, name: str, value: Any, kind: type) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value < 1e6 or (kind is int and value != int(value)):
        raise InputError(f"{path}: {name} is {value!r}; expected a positive number")
    return kind(value)
