"""Prompts as other trainers give them, a string or a chat, turned into records to be judged.

A chat is a list of messages {"role": …, "content": …} whose content is a text or a list of parts:
{"type": "text", "text": …}, {"type": "image", "image": …}, {"type": "video", "video": …}, or an
image itself. Its last message, which is the user's, is what is judged; a record has one turn, so
earlier messages are not seen.
"""

import os
from collections.abc import Sequence
from typing import Any

from PIL import Image

from r1reward_jax.data.video import DEFAULT, read_video
from r1reward_jax.errors import about
from r1reward_jax.types import InputError, PreferenceRecord, VideoPart

IMAGE_KINDS = (str, os.PathLike, bytes, Image.Image)
"""What an image may be given as."""
EXPECTED = "expected a string, or a list of messages with the keys role and content"


def to_records(prompts: Any, completions: Any) -> list[PreferenceRecord]:
    """Return one record for each prompt and its pair of completions, without label.

    Args:
      prompts: a list of strings and chats.
      completions: for each of them, two strings.

    Raises:
      InputError: anything else; the message names the pair.
    """
    for name, given in {"prompts": prompts, "completions": completions}.items():
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise InputError(f"{name}: expected a list, not {type(given).__name__}")
    if len(prompts) != len(completions):
        raise InputError(
            f"{len(prompts)} prompts and {len(completions)} pairs of completions: expected one "
            "pair for each prompt"
        )
    records = []
    for place, (prompt, pair) in enumerate(zip(prompts, completions, strict=True)):
        with about(f"pair {place}"):
            question, images, video = _read(prompt)
            records.append(PreferenceRecord(str(place), question, _two(pair), None, images, video))
    return records


def _two(pair: Any) -> tuple[str, str]:
    if isinstance(pair, (list, tuple)) and [type(text) for text in pair] == [str, str]:
        return pair[0], pair[1]
    raise InputError(f"completions {pair!r:.60}: expected two strings")


def _read(prompt: Any) -> tuple[str, tuple[Any, ...], VideoPart | None]:
    """Return the question, its images and its video."""
    content = _last_turn(prompt)
    texts, images, videos = [], [], []
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        kind, value = _part(part)
        {"text": texts, "image": images, "video": videos}[kind].append(value)
    if not any(text.strip() for text in texts):
        raise InputError("the prompt has no text; expected a question")
    if len(videos) > 1:
        raise InputError(f"{len(videos)} videos: expected at most one")
    return "\n".join(texts), tuple(images), videos[0] if videos else None


def _last_turn(prompt: Any) -> str | Sequence[Any]:
    """Return the content of the last message, which must be the user's."""
    if isinstance(prompt, str):
        return prompt
    if not isinstance(prompt, (list, tuple)) or not prompt:
        raise InputError(f"the prompt is {prompt!r:.60}: {EXPECTED}")
    wrong = [m for m in prompt if not isinstance(m, dict) or not {"role", "content"} <= m.keys()]
    if wrong:
        raise InputError(f"message {wrong[0]!r:.60}: {EXPECTED}")
    if prompt[-1]["role"] != "user":
        raise InputError(
            f"the last message has the role {prompt[-1]['role']!r}; expected a chat that ends with "
            "the user's message, and what follows it as completions"
        )
    content = prompt[-1]["content"]
    if not isinstance(content, (str, list, tuple)):
        raise InputError(f"content {content!r:.60}: expected a text or a list of parts")
    return content


def _part(part: Any) -> tuple[str, Any]:
    """Return the kind of a part of a message, and what is in it."""
    if isinstance(part, IMAGE_KINDS) and not isinstance(part, str):
        return "image", part
    if not isinstance(part, dict) or part.get("type") not in ("text", "image", "video"):
        raise InputError(
            f"part {part!r:.60}: expected an image, or a dict with the type text, image or video"
        )
    kind = part["type"]
    value = part.get(kind)
    if kind == "video":
        return kind, _video(value, part.get("fps", DEFAULT.fps))
    if not isinstance(value, str if kind == "text" else IMAGE_KINDS):
        what = "a string" if kind == "text" else "a path, bytes or a PIL image"
        raise InputError(f"part {part!r:.60}: expected {what} as its {kind!r}")
    return kind, value


def _video(value: Any, fps: Any) -> VideoPart:
    """Return a video from a path (of a file or a folder of frames), from frames, or as it is."""
    if isinstance(value, VideoPart):
        return value
    if isinstance(value, (str, os.PathLike)):
        return read_video(os.fspath(value), DEFAULT)
    frames = isinstance(value, (list, tuple)) and all(isinstance(f, IMAGE_KINDS) for f in value)
    if not frames or not value or not isinstance(fps, (int, float)) or not fps > 0:
        raise InputError(
            f"video {value!r:.60} at fps {fps!r}: expected a path, or a list of images and a rate"
        )
    return VideoPart(tuple(value), float(fps))
