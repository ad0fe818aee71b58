"""A folder's tokenizer, which must fit the model's vocabulary."""

import os
from pathlib import Path
from typing import Any

from etils import epath
from transformers import AutoTokenizer

from r1reward_jax.console import adopt_logger
from r1reward_jax.model_folder import FETCH, POINTER, read_json
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
    # what is written counts as well: releases of tokenizers differ in the id that they give a token
    # whose text is in the vocabulary already
    written = dict(ids)
    for token, place in _written(folder).items():
        written[token] = max(place, written.get(token, 0))
    last = max(written, key=lambda token: written[token], default="")
    if not last or written[last] >= rows:
        which = f", the last one {last[:40]!r} with id {written[last]:,}" if last else ""
        raise InputError(
            f"{folder}: the tokenizer has {len(ids):,} tokens{which}, but the model's embedding "
            f"has {rows:,} rows (vocab_size); resize it, or take the model's own tokenizer"
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


def _written(folder: str) -> dict[str, int]:
    """Return the ids that the files give added tokens."""
    found = {}
    root = epath.Path(folder)
    for name, key in (
        ("tokenizer.json", "added_tokens"),
        ("tokenizer_config.json", "added_tokens_decoder"),
        ("added_tokens.json", None),
    ):
        body = read_json(root / name) if (root / name).exists() else {}
        inner = body if key is None else body.get(key) or {}
        if isinstance(inner, list):
            pairs = [(t.get("content"), t.get("id")) for t in inner if isinstance(t, dict)]
        elif key is None:
            pairs = list(inner.items())
        else:
            pairs = [
                (t.get("content"), int(i))
                for i, t in inner.items()
                if isinstance(t, dict) and i.isdecimal() and len(i) < 20
            ]
        for token, place in pairs:
            if isinstance(token, str) and type(place) is int:
                found[token] = max(place, found.get(token, 0))
    return found


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
