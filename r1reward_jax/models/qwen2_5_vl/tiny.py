"""Make a tiny base checkpoint in the true Hugging Face layout: random weights, own tokenizer.

The tokenizer is a byte-level BPE with the family's pre-tokenisation, special tokens and chat
layout, trained on texts that the caller gives; no other code treats it differently.
"""

import json
from typing import Any

from etils import epath
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.normalizers import NFC
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from r1reward_jax.models.qwen2_5_vl.config import Config, TextConfig, VisionConfig
from r1reward_jax.models.qwen2_5_vl.model import create
from r1reward_jax.models.qwen2_5_vl.saving import save

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_config(
    vocab_size: int,
    token_ids: dict[str, int],
    *,
    hidden_size: int,
    layers: int,
    heads: int,
    kv_heads: int,
    mlp: int,
    vision_hidden_size: int,
    vision_layers: int,
    vision_heads: int,
    vision_mlp: int,
    rope_theta: float,
) -> Config:
    """Return a Qwen2.5-VL of these sizes; only the last vision layer attends beyond windows.

    `rope_theta` should be small: with the family's 1e6 a narrow head has no frequency left that
    turns between the rows and columns of a small image.
    """
    half = hidden_size // heads // 2
    height = width = 3 * half // 8
    text = TextConfig(
        vocab_size,
        hidden_size,
        mlp,
        layers,
        heads,
        kv_heads,
        (half - height - width, height, width),
        rope_theta,
        tie_word_embeddings=True,
    )
    vision = VisionConfig(
        vision_layers,
        vision_hidden_size,
        vision_heads,
        vision_mlp,
        hidden_size,
        (vision_layers - 1,),
    )
    return Config(
        text,
        vision,
        token_ids["<|image_pad|>"],
        token_ids["<|video_pad|>"],
        token_ids["<|vision_start|>"],
        token_ids["<|vision_end|>"],
        token_ids["<|endoftext|>"],
        token_ids["<|im_end|>"],
    )


def train_tokenizer(texts: list[str], vocab_size: int) -> Tokenizer:
    """Return a byte-level BPE of at most `vocab_size` tokens, special tokens included."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = NFC()  # pyright: ignore[reportAttributeAccessIssue]
    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
    steps = [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)  # pyright: ignore
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS),  # pyright: ignore[reportCallIssue]
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),  # pyright: ignore[reportCallIssue]
        show_progress=False,  # pyright: ignore[reportCallIssue]
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in SPECIAL_TOKENS])
    return tokenizer


def write_processor_files(folder: str, tokenizer: Tokenizer, *, max_pixels: int) -> None:
    """Write tokenizer, image settings and generation defaults into a Hugging Face folder."""
    target = epath.Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    ids = {t: tokenizer.token_to_id(t) for t in SPECIAL_TOKENS}
    files = {
        "tokenizer_config.json": {
            "tokenizer_class": "Qwen2Tokenizer",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "additional_special_tokens": list(SPECIAL_TOKENS[1:]),
            "model_max_length": 131072,
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
        "preprocessor_config.json": {
            "image_processor_type": "Qwen2VLImageProcessor",
            "min_pixels": 3136,
            "max_pixels": max_pixels,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
        },
        "generation_config.json": {
            "bos_token_id": ids["<|endoftext|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
            "do_sample": False,
        },
    }
    for name, body in files.items():
        (target / name).write_text(json.dumps(body, indent=2))
    (target / "tokenizer.json").write_text(tokenizer.to_str(pretty=True))


def make_checkpoint(
    folder: str,
    texts: list[str],
    *,
    vocab_size: int,
    seed: int,
    max_pixels: int,
    sizes: dict[str, Any],
) -> None:
    """Write a tiny base checkpoint with random weights to `folder`.

    Args:
      folder: created if needed.
      texts: what the tokenizer is trained on.
      vocab_size: upper limit of tokens.
      seed: of the weights.
      max_pixels: images above are shrunk.
      sizes: keyword arguments of `tiny_config`.
    """
    tokenizer = train_tokenizer(texts, vocab_size)
    write_processor_files(folder, tokenizer, max_pixels=max_pixels)
    ids = {t: tokenizer.token_to_id(t) or 0 for t in SPECIAL_TOKENS}
    rows = -(-tokenizer.get_vocab_size() // 8) * 8  # a padded vocabulary, as the hub's models have
    model, params = create(tiny_config(rows, ids, **sizes), seed)
    save(folder, model, params, like=folder)
