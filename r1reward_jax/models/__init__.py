"""Model ports. `MODELS` maps the `model_type` of a config.json to its port; a port offers
`Config`, `Model`, `load`, `save`, `Processor`, `Buckets`, `RULES` and `original`. What families
share stands beside them: `layers`, `packing`, `reward_head`."""

import json
from types import ModuleType

from etils import epath

from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.types import InputError

MODELS = {"qwen2_5_vl": qwen2_5_vl}


def port_of(folder: str) -> ModuleType:
    """Return the port for a Hugging Face folder. Raises InputError if there is none."""
    path = epath.Path(folder) / "config.json"
    if not folder or not path.exists():
        raise InputError(f"{path}: not found; give the folder of a Hugging Face checkpoint")
    try:
        kind = json.loads(path.read_text()).get("model_type")
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path}: not a config.json ({error})") from None
    if kind not in MODELS:
        inside = epath.Path(folder) / "exported"
        hint = f"did you mean {inside}?" if inside.exists() else f"known: {list(MODELS)}"
        raise InputError(f"{path}: model_type {kind!r} is not supported; {hint}")
    return MODELS[kind]
