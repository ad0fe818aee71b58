"""A folder's tokenizer, which must fit the model's vocabulary."""

import os
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from r1reward_jax.console import adopt_logger
from r1reward_jax.model_folder import FETCH, POINTER
from r1reward_jax.models.qwen2_5_vl.config import Config
from r1reward_jax.types import InputError

adopt_logger("transformers")
PLACES = {
    "<|image_pad|>": "image_token_id",
    "<|video_pad|>": "video_token_id",
    "<|vision_start|>": "vision_start_token_id",
    "<|vision_end|>": "vision_end_token_id",
}
"""Tokens whose ids the config names as well."""
NEEDED = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|vision_pad|>", *PLACES)
FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json")


def load_tokenizer(folder: str, config: Config) -> Any:
    """Return the tokenizer of a Hugging Face folder; code beside it is not run.

    Args:
      folder: holds tokenizer.json, or vocab.json and merges.txt.
      config: of the model.

    Raises:
      InputError: the files are missing or cannot be read, the tokenizer has more tokens than the
        model, or lacks those that chats and images are laid out with.
    """
    root = Path(folder)
    if "://" not in os.fspath(folder):
        _look(root)
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        ids: dict[str, int] = tokenizer.get_vocab()
    except Exception as error:  # tokenizers raises no narrower type
        why = " ".join(str(error).split())[:300]
        raise InputError(f"{folder}: the tokenizer cannot be read ({why})") from None
    rows = config.text.vocab_size
    largest = max(ids, key=lambda token: ids[token], default="")
    if not largest or ids[largest] >= rows:
        last = f", the last one {largest!r} with id {ids[largest]:,}" if largest else ""
        raise InputError(
            f"{folder}: the tokenizer has {len(ids):,} tokens{last}, but the model's embedding has "
            f"{rows:,} rows (vocab_size); resize the embedding, or take the model's own tokenizer"
        )
    if missing := [token for token in NEEDED if token not in ids]:
        raise InputError(
            f"{folder}: the tokenizer lacks {', '.join(missing)}, which Qwen2.5-VL's chats need; "
            "take the model's own tokenizer"
        )
    for token, name in PLACES.items():
        if ids[token] != (place := getattr(config, name)):
            raise InputError(
                f"{folder}: {token} is token {ids[token]:,} of the tokenizer, but config.json says "
                f"{name} {place:,}"
            )
    return tokenizer


def _look(root: Path) -> None:
    """Raise InputError unless the files are there, and themselves."""
    whole = (root / "tokenizer.json").exists()
    parts = [n for n in ("vocab.json", "merges.txt") if not (root / n).exists()]
    if not whole and len(parts) == 2:
        raise InputError(f"{root}/tokenizer.json: not found; expected a Hugging Face folder")
    if not whole and parts:
        raise InputError(f"{root}/{parts[0]}: not found, and no tokenizer.json either")
    for name in FILES:
        if (root / name).is_file():
            with (root / name).open("rb") as file:
                if file.read(len(POINTER)) == POINTER:
                    raise InputError(f"{root}/{name}: {FETCH}")
