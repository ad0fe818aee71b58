"""Where each parameter lives on a (data, fsdp, tensor) mesh: one ordered table, first match wins.

Matmuls that read the residual stream are split by output over `tensor`, those that write to it by
input (Megatron style); the other matrix axis is split over `fsdp`. Leading layer axes stay whole.
"""

from jax.sharding import PartitionSpec as P

RULES: tuple[tuple[str, P], ...] = (
    (r"text/embed_tokens$", P("tensor", "fsdp")),
    (r"text/lm_head/kernel$", P("fsdp", "tensor")),
    (r"layers/.*(q_proj|k_proj|v_proj|gate_proj|up_proj|qkv)/kernel$", P(None, "fsdp", "tensor")),
    (r"layers/.*(o_proj|down_proj|/proj)/kernel$", P(None, "tensor", "fsdp")),
    (r"layers/.*(q_proj|k_proj|v_proj|gate_proj|up_proj|qkv)/bias$", P(None, "tensor")),
    (r"layers/.*(norm\w*/scale|proj/bias)$", P()),
    (r"visual/patch_embed/kernel$", P(None, "fsdp")),
    (r"visual/merger/fc1/kernel$", P("fsdp", "tensor")),
    (r"visual/merger/fc1/bias$", P("tensor")),
    (r"visual/merger/fc2/kernel$", P("tensor", "fsdp")),
    (r"(norm/scale|fc2/bias)$", P()),
)
