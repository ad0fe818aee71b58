"""Qwen2.5-VL: configuration, model, processor, weights and sharding rules."""

from r1reward_jax.models.packing import Buckets
from r1reward_jax.models.qwen2_5_vl import original
from r1reward_jax.models.qwen2_5_vl.config import Config
from r1reward_jax.models.qwen2_5_vl.loading import load
from r1reward_jax.models.qwen2_5_vl.model import Model, create
from r1reward_jax.models.qwen2_5_vl.processor import Processor
from r1reward_jax.models.qwen2_5_vl.saving import save
from r1reward_jax.models.qwen2_5_vl.sharding import RULES

__all__ = ["Buckets", "Config", "Model", "Processor", "RULES", "create", "load", "original", "save"]
