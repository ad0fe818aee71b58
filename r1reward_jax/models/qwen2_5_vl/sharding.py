"""Shard parameters over a (data, fsdp, tensor) mesh by one ordered table; the first match wins.

Matmuls that read the residual stream are split by output over `tensor`, those that write to it by
input (Megatron style); the other matrix axis is split over `fsdp`. Leading layer axes stay whole.
"""

from jax.sharding import PartitionSpec as P

_READ = r"layers/(mlp/)?(q_proj|k_proj|v_proj|gate_proj|up_proj|qkv)"
_WRITE = r"layers/(mlp/)?(o_proj|down_proj|proj)"

RULES: tuple[tuple[str, P], ...] = (
    (r"text/embed_tokens$", P("tensor", "fsdp")),
    (r"text/lm_head/kernel$", P("fsdp", "tensor")),
    (_READ + r"/kernel$", P(None, "fsdp", "tensor")),
    (_READ + r"/bias$", P(None, "tensor")),
    (_WRITE + r"/kernel$", P(None, "tensor", "fsdp")),
    (_WRITE + r"/bias$", P()),
    (r"layers/\w*norm\w*/scale$", P()),
    (r"visual/patch_embed/kernel$", P(None, "fsdp")),
    (r"visual/merger/fc1/kernel$", P("fsdp", "tensor")),
    (r"visual/merger/fc1/bias$", P("tensor")),
    (r"visual/merger/fc2/kernel$", P("tensor", "fsdp")),
    (r"visual/merger/fc2/bias$", P()),
    (r"(text|merger)/norm/scale$", P()),
)
