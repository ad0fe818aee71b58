"""What a row shows: its images and its video, whatever their fields are called.

A row whose picture stands in a field that nobody reads would be judged blind. So all usual names
are read, and a field that looks like a picture and is not read is refused by its name.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from r1reward_jax.data.files import Row
from r1reward_jax.data.media import Finder, is_data_url, same_media, values_in
from r1reward_jax.data.tables import NotRead
from r1reward_jax.data.video import IMAGE_SUFFIXES
from r1reward_jax.images import looks_encoded
from r1reward_jax.types import InputError, VideoPart

Media = tuple[tuple[str | bytes, ...], VideoPart | None]
_THINGS = ("image", "img", "picture", "photo")
_ENDS = ("", "s", "_path", "_paths", "_file", "_files", "_url", "_urls", "_bytes", "_base64")
IMAGE_NAMES = frozenset(thing + end for thing in _THINGS for end in _ENDS) | {"imagefile"}
"""Names of fields with images, in small letters."""
VIDEO_NAMES = frozenset("video" + end for end in _ENDS)
_LIKE_MEDIA = re.compile(r"image|img|picture|photo|video|frame", re.IGNORECASE)
_ABOUT_MEDIA = frozenset(
    [
        *("id", "ids", "source", "src", "size", "width", "height", "count", "num", "number"),
        *("caption", "captions", "description", "type", "category", "hash", "license", "format"),
        *("duration", "fps", "resolution", "quality", "style", "title", "text", "label", "tags"),
        *("has", "is", "question", "dataset", "domain"),
    ]
)
"""Words in the name of a field that says something about a picture."""
_SUFFIXES = (*IMAGE_SUFFIXES, ".gif", ".mp4", ".webm", ".mov", ".avi", ".mkv", ".m4v")
_MAY_HOLD = re.compile(
    r"media|multi_?modal|mm_data|file|path|url|figure|visual|screenshot|attachment|clip|jpe?g|png|"
    r"extra|asset",
    re.IGNORECASE,
)
"""Names of fields that hold pictures in some sets, and other things in most."""
_WORDS = frozenset(
    [
        *("id", "prompt", "chosen", "rejected", "query", "response", "text", "output1", "output2"),
        *("better", "question", "answer", "completion", "chosen_reason", "rejected_reason"),
        *("models", "judge", "human_error_analysis"),
    ]
)
"""Fields that hold words, in small letters."""
WHOLE = ("message", "candidates")
"""Fields whose parts are read one by one."""
MARKS = ("<image>", "<video>")
"""What some sets write into texts where an image or a video stands."""


def like_media(name: str) -> bool:
    """Return whether a field's name is that of images or videos, or sounds like it."""
    return name.lower() in IMAGE_NAMES | VIDEO_NAMES or bool(_LIKE_MEDIA.search(name))


def may_hold_media(name: str) -> bool:
    """Return whether a field is worth a look for images or videos."""
    return like_media(name) or bool(_MAY_HOLD.search(name))


def shown(
    fields: Mapping[str, Any],
    row: Row,
    finder: Finder,
    *,
    images: Sequence[Any] = (),
    videos: Sequence[Any] = (),
    of: str = "",
) -> Media:
    """Return the images and the video of a row, or of a part of one.

    Args:
      fields: of the row, or of the part.
      row: for messages.
      finder: looks for the files.
      images: those that the row's message names.
      videos: those that the row's message names.
      of: the part for messages, such as "candidate 1: "; empty for the row.

    Raises:
      InputError: two fields that show different things, a field that looks like a picture and is
        not read, or what `Finder` says.
    """
    read = []
    for what, names, given in (("images", IMAGE_NAMES, images), ("video", VIDEO_NAMES, videos)):
        holders = {"message": values_in(list(given), row)} if given else {}
        for name, value in fields.items():
            if name.lower() in names and not isinstance(value, NotRead):
                holders[name] = values_in(value, row, "an image" if what == "images" else "a video")
        read.append(_one_of({k: v for k, v in holders.items() if v}, what, row, finder))
    _require_read(fields, [*read[0], *read[1]], row, of)
    return finder.images(read[0], row), finder.video(read[1], row)


def _one_of(
    holders: Mapping[str, list[str | bytes]], what: str, row: Row, finder: Finder
) -> list[str | bytes]:
    """Return what several fields hold, if it is the same: one may leave out some, or name the files
    that another holds."""
    if not holders:
        return []
    most = max(len(values) for values in holders.values())
    complete = {name: values for name, values in holders.items() if len(values) == most}
    embedded = [v for v in complete.values() if all(_is_embedded(each) for each in v)]
    found = [v for v in complete.values() if all(finder.finds(each, row) for each in v)]
    chosen = (embedded or found or list(complete.values()))[0]
    for name, values in holders.items():
        same = all(any(same_media(value, other) for other in chosen) for value in values)
        stored = len(values) == most and any(_is_embedded(each) for each in chosen)
        if not same and not stored:
            first = next(k for k, v in complete.items() if v is chosen)
            raise InputError(
                f"{row.name}: {first} and {name} hold different {what}; expected one of them, or "
                "the same in both"
            )
    return chosen


def _is_embedded(value: str | bytes) -> bool:
    return isinstance(value, bytes) or is_data_url(value) or looks_encoded(value)


def _require_read(
    fields: Mapping[str, Any], read: Sequence[str | bytes], row: Row, of: str
) -> None:
    """Raise InputError for a field that looks like a picture and is not among those that are
    read."""
    blind = not read and "candidates" not in fields  # those are looked at one by one
    for name, value in fields.items():
        known = name in WHOLE or name.lower() in IMAGE_NAMES | VIDEO_NAMES
        if known or not (_holds_media(name, value, not read) or (blind and _hides(name, value))):
            continue
        held = list(_texts_in(value))
        if read and all(any(same_media(x, y) for y in read) for x in held):
            continue  # said a second time
        raise InputError(
            f"{row.name}: {of}the field {name} looks like an image or a video and is not read; "
            "expected image, images or video. Rename it, or leave it out"
        )


def _holds_media(name: str, value: Any, blind: bool) -> bool:
    """Return whether a field looks like media. In a row without any other, the name says so;
    else the value must look like a picture, too."""
    if isinstance(value, (bool, int, float, NotRead)) or not value:
        return False
    named = _LIKE_MEDIA.search(name) is not None
    if any(_is_media(each, named) for each in _texts_in(value)):
        return True
    words = re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    return named and blind and not _ABOUT_MEDIA & set(words)


def _hides(name: str, value: Any) -> bool:
    """Return whether a field of a row that shows nothing holds the path or the address of an image
    or a video, whatever it is called, or has one inside: `file_name`, `mm_data.image`."""
    if name.lower() in _WORDS or isinstance(value, NotRead):
        return False
    if isinstance(value, dict):
        named = any(
            str(k).lower() in IMAGE_NAMES | VIDEO_NAMES and _texts_in(v) for k, v in value.items()
        )
        return named or any(_hides(str(k), v) for k, v in value.items())
    texts = [t.partition("?")[0].lower() for t in _texts_in(value) if isinstance(t, str)]
    return any(t.endswith(_SUFFIXES) and len(t) < 512 and not re.search(r"\s", t) for t in texts)


def _texts_in(value: Any) -> list[str | bytes]:
    """Return the texts and bytes in a value, as far as it is one, a list or a struct."""
    if isinstance(value, (str, bytes)):
        return [value] if value else []
    if isinstance(value, (list, tuple)):
        return [text for each in value for text in _texts_in(each)]
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts_in(each)]
    return []


def _is_media(value: str | bytes, named: bool) -> bool:
    if isinstance(value, bytes):
        return True
    if value[:11].lower() in ("data:image/", "data:video/") or looks_encoded(value):
        return True
    # a path, not a sentence that ends with one
    return named and value.lower().endswith(_SUFFIXES) and len(value) < 512 and "\n" not in value


def count_marks(texts: Sequence[str], media: Media, row: Row, finder: Finder) -> None:
    """Note a row whose texts have marks of images or videos that it does not have."""
    images, video = media
    there = {"<image>": len(images), "<video>": int(video is not None)}
    for mark in MARKS:
        count = sum(text.count(mark) for text in texts)
        if count and count != there[mark]:
            finder.note(f"have another number of {mark} in their texts than of what it marks", row)
