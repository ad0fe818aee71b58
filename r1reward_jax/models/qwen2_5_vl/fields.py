"""The fields of a config.json of this family: what is honoured, what must have one value, and what
means nothing here. An unknown one warns; nothing is read past."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from r1reward_jax.console import warn
from r1reward_jax.models.layers import ACTIVATIONS
from r1reward_jax.types import InputError

Rule = Callable[[Any], str | None]
"""From a value to what was expected instead; None for a value that is right."""
SHOWN = 60
"""Characters of a value that a message repeats."""


def whole(low: int, high: int) -> Rule:
    """Return the rule of a whole number; true and 8.0 are none."""
    right = lambda v: type(v) is int and low <= v <= high  # noqa: E731
    return lambda v: None if right(v) else f"a whole number from {low:,} to {high:,}"


def number(low: float, high: float) -> Rule:
    """Return the rule of a finite number."""
    right = lambda v: type(v) in (int, float) and low <= v <= high  # noqa: E731 (NaN is not)
    return lambda v: None if right(v) else f"a number from {low:g} to {high:g}"


def one_of(*values: Any) -> Rule:
    """Return the rule of what is supported in few values only."""
    shown = " or ".join(map(repr, values))
    # True == 1: types count as well, but 0 may be 0.0
    same = lambda v, w: v == w and isinstance(v, bool) == isinstance(w, bool)  # noqa: E731
    return lambda v: None if any(same(v, w) for w in values) else f"{shown}, nothing else is built"


def optional(rule: Rule) -> Rule:
    """Return a rule that takes null as well."""
    return lambda v: None if v is None else rule(v)


def flag(value: Any) -> str | None:
    """Expect true or false."""
    return None if isinstance(value, bool) else "true or false"


def layers(value: Any) -> str | None:
    """Expect a list of whole numbers."""
    right = isinstance(value, list | tuple) and all(type(v) is int and v >= 0 for v in value)
    return None if right and len(value) <= 1024 else "a list of layers, counted from 0"


def section(value: Any) -> str | None:
    """Expect the frequencies of the three axes."""
    right = isinstance(value, list | tuple) and all(type(v) is int and v >= 0 for v in value)
    return None if right and len(value) == 3 else "a list of three whole numbers"


activation = one_of(*ACTIVATIONS)
token = optional(whole(0, 2**24))
size, depth, heads = whole(1, 2**20), whole(1, 1024), whole(1, 1024)

TEXT: dict[str, Rule] = {
    "vocab_size": whole(1, 2**24),
    "hidden_size": size,
    "intermediate_size": size,
    "num_hidden_layers": depth,
    "num_attention_heads": heads,
    "num_key_value_heads": optional(heads),  # null: as many as heads
    "head_dim": optional(size),  # must be hidden_size / heads, see `config`
    "hidden_act": activation,
    "rms_norm_eps": number(1e-12, 1.0),
    "max_position_embeddings": whole(1, 2**31),
    "rope_theta": optional(number(1.0001, 1e11)),
    "tie_word_embeddings": optional(flag),
    "attention_bias": one_of(True),  # queries, keys and values have biases, their output has none
    "qkv_bias": one_of(True),
    "mlp_bias": one_of(False),
    # sliding windows: refused where a layer has one, see `config`
    "use_sliding_window": optional(flag),
    "sliding_window": optional(whole(1, 2**31)),
    "max_window_layers": optional(whole(0, 2**31)),
    "rope_scaling": optional(lambda v: None if isinstance(v, dict) else "an object"),
    "rope_parameters": optional(lambda v: None if isinstance(v, dict) else "an object"),
    "layer_types": optional(lambda v: None if isinstance(v, list) else "a list"),
    "partial_rotary_factor": optional(one_of(1)),
    "is_causal": optional(one_of(True)),
}
VISION: dict[str, Rule] = {
    "depth": depth,
    "hidden_size": size,
    "num_heads": heads,
    "intermediate_size": size,
    "out_hidden_size": size,
    "hidden_act": activation,
    "fullatt_block_indexes": layers,
    "window_size": whole(1, 2**16),
    "patch_size": whole(1, 1024),
    "spatial_patch_size": whole(1, 1024),  # the patch size again, see `config`
    "temporal_patch_size": one_of(2),  # two frames share a patch: batches are laid out so
    "spatial_merge_size": one_of(2),  # four patches make a visual token
    "in_channels": one_of(3),
    "in_chans": one_of(3),
    "tokens_per_second": whole(1, 1000),
    # `transformers` 5 writes what the tower does in any case
    "rope_parameters": optional(lambda v: None if isinstance(v, dict) else "an object"),
}
TOP: dict[str, Rule] = {
    "model_type": one_of("qwen2_5_vl"),
    "vision_config": lambda v: None if isinstance(v, dict) else "an object",
    "text_config": optional(lambda v: None if isinstance(v, dict) else "an object"),
    "tie_word_embeddings": optional(flag),
    "image_token_id": token,
    "video_token_id": token,
    "vision_start_token_id": token,
    "vision_end_token_id": token,
}


def _because(reason: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), reason)


IRRELEVANT = {
    **_because("training only", "attention_dropout hidden_dropout dropout initializer_range"),
    **_because("training only", "use_bfloat16 tf_legacy_loss problem_type gradient_checkpointing"),
    **_because("training only", "pretraining_tp output_router_logits"),
    **_because(
        "generation",
        """use_cache bos_token_id eos_token_id pad_token_id sep_token_id decoder_start_token_id
        max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty
        temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size
        encoder_no_repeat_ngram_size bad_words_ids num_return_sequences output_scores
        return_dict_in_generate forced_bos_token_id forced_eos_token_id remove_invalid_values
        exponential_decay_length_penalty suppress_tokens begin_suppress_tokens vision_token_id
        cache_implementation generation_config""",
    ),
    **_because(
        "metadata",
        """architectures model_type name_or_path _name_or_path _commit_hash transformers_version
        processor_class tokenizer_class image_processor_type id2label label2id num_labels prefix
        task_specific_params finetuning_task base_model_tp_plan base_model_pp_plan unsloth_version
        unsloth_fixed keys_to_ignore_at_inference return_dict output_hidden_states
        output_attentions is_encoder_decoder is_decoder add_cross_attention
        cross_attention_hidden_size tie_encoder_decoder pruned_heads torchscript
        chunk_size_feed_forward model_name transformers.js_config base_config_key is_composition""",
    ),
    **_because(
        "implementation",
        """_attn_implementation _attn_implementation_autoset attn_implementation
        _attn_implementation_internal _flash_attn_2_enabled _experts_implementation use_flash_attn
        torch_compile""",
    ),
    # the knobs model.param_dtype and model.compute_dtype choose; an export says what it holds
    **_because("dtype", "torch_dtype dtype"),
    # code beside a model is never run
    **_because("code", "auto_map custom_pipelines trust_remote_code"),
}
"""Fields that change nothing here, and why, in a word."""


def fail(name: str, value: Any, expected: str) -> NoReturn:
    """Raise InputError for a field's value."""
    try:
        shown = repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        shown = "a number of thousands of digits"
    shown = shown if len(shown) <= SHOWN else shown[:SHOWN] + " …"
    raise InputError(f"{name} is {shown}, expected {expected}")


def check(values: Mapping[str, Any], rules: Mapping[str, Rule], where: str) -> None:
    """Raise InputError for the first field whose value breaks its rule."""
    for name, rule in rules.items():
        if name in values and (expected := rule(values[name])):
            fail(f"{where}{name}", values[name], expected)


def unknown(names: Iterable[str], where: str) -> None:
    """Warn of fields that nothing reads, in one line, once for a file."""
    found = [str(name)[:SHOWN] for name in names]
    if found:
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        once(f"{where}: unknown, so not applied: {', '.join(found[:8])}{more}")


def once(text: str) -> None:
    """Warn, but not twice of the same: a command reads a config several times."""
    if text not in _warned:
        _warned.add(text)
        warn(text)


_warned: set[str] = set()
