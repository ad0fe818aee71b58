"""Model ports. `MODELS` maps the `model_type` of a config.json to its port."""

from r1reward_jax.models import qwen2_5_vl

MODELS = {"qwen2_5_vl": qwen2_5_vl}
