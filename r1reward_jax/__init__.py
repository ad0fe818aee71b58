"""R1-Reward in JAX: train, evaluate and serve multimodal reasoning reward models."""

__version__ = "0.1.0"
