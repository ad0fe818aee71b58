"""Read the chat that a row's `message` is: texts, images and videos of its last turn.

Sets write it as JSON text or as a list, its content as parts or as a plain text, and images as
`image`, `image_url` or a struct.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from r1reward_jax.data.files import Row
from r1reward_jax.data.media import HOLDERS, Finder, values_in
from r1reward_jax.reading import load_json, shortened, surrogate_in
from r1reward_jax.types import InputError

EXPECTED = 'expected a chat such as [{"role": "user", "content": "…"}], as a list or as JSON text'
KINDS = {
    **dict.fromkeys(("text", "input_text"), "text"),
    **dict.fromkeys(("image", "image_url", "input_image"), "image"),
    **dict.fromkeys(("video", "video_url", "input_video"), "video"),
}
"""What the types of parts stand for."""
HELD = (*HOLDERS, "video_url", "source")
"""Fields of parts that may hold an image or a video."""
WORDS = ("type", "text", "detail")
"""Further fields of parts; `detail` is for servers."""
READ = {*WORDS, *HELD}


@dataclass
class Parts:
    """What the last turn of a chat shows."""

    texts: list[str] = field(default_factory=list)
    images: list[str | bytes] = field(default_factory=list)
    videos: list[str | bytes] = field(default_factory=list)
    empty: int = 0
    """Parts that say only that an image stands there."""
    unread: list[str] = field(default_factory=list)
    """Fields of these parts that may hold the image, in a form that is not read."""


def last_turn(row: Row, finder: Finder) -> Parts:
    """Return what the last turn of a row's message shows.

    Raises:
      InputError: the message is no chat, a part is neither text, image nor video, or an earlier
        turn shows images, which would not be seen.
    """
    turns = _turns(row)
    for turn in turns[:-1]:
        earlier = _parts(turn, row, finder)
        if earlier.images or earlier.videos or earlier.empty:
            raise InputError(
                f"{row.name}: an earlier turn of the message has images or videos; only the last "
                "turn is shown, put them there"
            )
        if turn.get("role") != "system":
            finder.note("have earlier turns, which are not shown", row)
    return _parts(turns[-1], row, finder)


def _turns(row: Row) -> list[dict[str, Any]]:
    message = row.fields["message"]
    if isinstance(message, str):
        try:
            chat = load_json(message)
        except ValueError as error:
            if "[Question]:" in message:  # the prompt itself
                return [{"role": "user", "content": message}]
            raise InputError(f"{row.name}: message: {error}; {EXPECTED}") from None
        if half := surrogate_in(chat, "message"):
            raise InputError(f"{row.name}: half of a character in {half}; write it whole")
    else:
        chat = message
    turns: Any = [chat] if isinstance(chat, dict) else chat
    turned = isinstance(turns, list) and turns
    if not turned or not all(isinstance(t, dict) and "content" in t for t in turns):
        raise InputError(f"{row.name}: message is {_said(message)}; {EXPECTED}")
    return turns


def _said(value: Any) -> str:
    return shortened(value)[:80] if isinstance(value, str) else f"a {type(value).__name__}"


def _parts(turn: Mapping[str, Any], row: Row, finder: Finder) -> Parts:
    content, parts = turn["content"], Parts()
    if not isinstance(content, (str, list)):
        raise InputError(f"{row.name}: content is {_said(content)}; expected a text or parts")
    for part in [content] if isinstance(content, str) else content:
        part = {"type": "text", "text": part} if isinstance(part, str) else part
        kind = _kind(part, row)
        if kind == "text":
            if not isinstance(part.get("text"), str):
                raise InputError(f"{row.name}: a part of type text holds no text")
            parts.texts.append(part["text"])
            continue
        held = {name: part[name] for name in part if name in HELD}
        if not isinstance(held.get("source"), dict):  # a word, such as where the image is from
            held.pop("source", None)
        values = [v for value in held.values() for v in values_in(value, row, f"a part's {kind}")]
        if not values:
            parts.unread += [
                n
                for n, v in part.items()
                if n not in held and n not in WORDS and not _is_setting(v)
            ]
        parts.empty += not values
        (parts.images if kind == "image" else parts.videos).extend(values)
        if unread := [n for n in part if n not in READ and part[n] is not None]:
            finder.note(f"have settings in their messages that are not used ({unread[0]})", row)
    return parts


def _is_setting(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float))


def _kind(part: Any, row: Row) -> str:
    """Return what a part is: text, image or video."""
    if isinstance(part, dict):
        if part.get("type") in KINDS:
            return KINDS[part["type"]]
        if "type" not in part:
            return next((k for k in ("text", "image", "video") if part.get(k)), "text")
    said = part.get("type") if isinstance(part, dict) else type(part).__name__
    raise InputError(f"{row.name}: {shortened(str(said))} is neither text, image nor video")
