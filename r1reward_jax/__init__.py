"""R1-Reward in JAX: train and evaluate multimodal reasoning reward models."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from r1reward_jax.reward_model import RewardModel as RewardModel

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`r1reward_jax.RewardModel`, imported when it is asked for: it takes seconds."""
    if name == "RewardModel":
        from r1reward_jax.reward_model import RewardModel

        return RewardModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
