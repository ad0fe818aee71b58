"""Model ports. `MODELS` maps the `model_type` of a config.json to its port; a port offers
`Config`, `Model`, `load`, `save`, `Processor`, `Buckets`, `RULES` and `original`. What families
share stands beside them: `layers`, `packing`, `reward_head`."""

from types import ModuleType

from etils import epath

from r1reward_jax.model_folder import read_json, require_model
from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.types import InputError

MODELS = {"qwen2_5_vl": qwen2_5_vl}
OTHERS = {
    "qwen2": "a model of text only",
    "qwen3": "a model of text only",
    "llama": "a model of text only",
    "qwen2_5_vl_text": "the decoder alone, without its vision tower",
    "qwen2_5_vl_vision": "the vision tower alone",
    "qwen2_vl": "the family before",
    "qwen3_vl": "the family after",
}
"""What is often given instead."""


def port_of(folder: str) -> ModuleType:
    """Return the port for a Hugging Face folder. Raises InputError if there is none."""
    if not folder:
        raise InputError("no model: give the folder of a Hugging Face checkpoint, or ORG/NAME")
    require_model(folder)
    path = epath.Path(folder) / "config.json"
    kind = read_json(path).get("model_type")
    if not isinstance(kind, str) or kind not in MODELS:
        shown = repr(kind)[:60]
        hint = OTHERS.get(kind, "another model") if isinstance(kind, str) else "no model type"
        raise InputError(
            f"{path}: model_type {shown} is not supported: {hint}; supported: "
            f"{', '.join(MODELS)} (Qwen2.5-VL and what is trained from it)"
        )
    return MODELS[kind]
