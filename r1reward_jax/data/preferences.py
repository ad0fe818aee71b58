"""Preference records on disk: jsonl in the schema of the public R1-Reward-RL set.

A row has `message` (a JSON chat whose text is an evaluator prompt with the sections [Question],
[Response 1], [Response 2]), `question`, `answer` (["<answer>2</answer>"]) and `image` (a path
relative to the file, or base64) or `video` (a folder of frames or a file). Our own files add `id`,
`meta` and, once annotated, `completion` and `attempts`; readers of the public schema ignore them.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from etils import epath

from r1reward_jax.data.video import DEFAULT, Sampling, path_of, read_video
from r1reward_jax.prompts import TEMPLATES, evaluator_prompt, parse_verdict, split_message
from r1reward_jax.types import InputError, PreferenceRecord, VideoPart


@dataclass(frozen=True)
class Annotation:
    """What a teacher wrote about a record, in `attempts` tries; `matched` the label or not."""

    record: PreferenceRecord
    completion: str
    attempts: int
    matched: bool


def read_records(path: str, frames: Sampling = DEFAULT) -> list[PreferenceRecord]:
    """All records of a jsonl file. Raises InputError with file and line number."""
    return [record for record, _, _ in _rows(path, frames)]


def read_annotations(path: str, frames: Sampling = DEFAULT) -> list[Annotation]:
    """All annotated records of a jsonl file. Raises InputError with file and line number."""
    found = []
    for record, row, where in _rows(path, frames):
        missing = [name for name in ("completion", "attempts", "matched") if name not in row]
        if missing:
            raise InputError(f"{where}: no {', '.join(missing)}; is the file annotated?")
        if not isinstance(row["completion"], str):
            raise InputError(f"{where}: completion is not a text")
        found.append(Annotation(record, row["completion"], row["attempts"], row["matched"]))
    return found


def write_records(path: str, records: Iterable[PreferenceRecord]) -> None:
    """Write records whose images are paths relative to the file's folder."""
    _write(path, (_to_row(record, path) for record in records))


def write_annotations(path: str, annotations: Iterable[Annotation]) -> None:
    """Write annotated records."""
    _write(
        path,
        (
            _to_row(a.record, path)
            | {"completion": a.completion, "attempts": a.attempts, "matched": a.matched}
            for a in annotations
        ),
    )


def _write(path: str, rows: Iterable[dict[str, Any]]) -> None:
    epath.Path(path).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _to_row(record: PreferenceRecord, path: str) -> dict[str, Any]:
    folder = f"{epath.Path(path).parent}/"
    images = [image_text(image, folder) for image in record.images]
    prompt = evaluator_prompt(record, TEMPLATES["full"])
    content = [{"type": "text", "text": prompt.content[-1]}]
    content += [{"type": "image", "image": image} for image in images]
    video = path_of(record.video).removeprefix(folder) if record.video else ""
    content += [{"type": "video", "video": video}] if video else []
    row = {
        "id": record.id,
        "message": json.dumps([{"role": "user", "content": content}], ensure_ascii=False),
        "question": record.question,
        "answer": [f"<answer>{record.preferred}</answer>"],
        "image": images[0] if images else "",
    }
    row |= {"video": video} if video else {}
    return row | ({"meta": record.meta} if record.meta else {})


def image_text(image: Any, folder: str) -> str:
    """A path relative to the folder, or bytes as a data URL."""
    if isinstance(image, bytes):
        return "data:image;base64," + base64.b64encode(image).decode()
    return str(image).removeprefix(folder)


def _rows(path: str, frames: Sampling) -> Iterator[tuple[PreferenceRecord, dict[str, Any], str]]:
    """(record, row, "file:line") of every line that is not blank."""
    file = epath.Path(path)
    if not file.exists():
        raise InputError(f"{path}: not found; expected a jsonl file of preference records")
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}; expected a jsonl file in UTF-8") from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
            yield to_record(row, where, file.parent, number, frames), row, where
        except (json.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise InputError(f"{where}: not a row of the R1-Reward-RL schema ({problem})") from None


def to_record(
    row: dict[str, Any], where: str, folder: epath.Path, number: int, frames: Sampling
) -> PreferenceRecord:
    content = json.loads(row["message"])[-1]["content"]
    text = "".join(part["text"] for part in content if part["type"] == "text")
    images = tuple(part["image"] for part in content if part["type"] == "image")
    videos = [part["video"] for part in content if part["type"] == "video"]
    if unknown := {part["type"] for part in content} - {"text", "image", "video"}:
        raise InputError(f"{where}: {', '.join(sorted(unknown))} is neither text, image nor video")
    if len(videos) > 1:
        raise InputError(f"{where}: {len(videos)} videos, a record has at most one")
    sections = split_message(text)
    if sections is None:
        raise InputError(
            f"{where}: the message needs the sections [Question]:, [Response 1]: and "
            "[Response 2]:, each exactly once"
        )
    answer = row["answer"][0] if isinstance(row["answer"], list) else row["answer"]
    preferred = parse_verdict(answer)
    if preferred is None:
        raise InputError(f"{where}: answer {answer!r} is neither <answer>1</answer> nor 2")
    if not all(sections[1:]):
        raise InputError(f"{where}: a response is empty")
    return PreferenceRecord(
        id=str(row.get("id", number)),
        question=row.get("question") or sections[0],
        responses=sections[1:],
        preferred=preferred,
        images=tuple(image_of(i, folder, where) for i in images or (row.get("image"),) if i),
        video=_video(videos[0] if videos else row.get("video"), folder, where, frames),
        meta=row.get("meta", {}),
    )


def _video(video: str | None, folder: epath.Path, where: str, frames: Sampling) -> VideoPart | None:
    if not video:
        return None
    try:
        return read_video(str(folder / video), frames)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def image_of(image: str, folder: epath.Path, where: str) -> str | bytes:
    """A path as a path (relative ones below the file's folder), base64 or a data URL as bytes."""
    if len(image) < 1024 and not image.startswith("data:"):
        return str(folder / image)
    try:
        return base64.b64decode(image.split(",", 1)[-1], validate=True)
    except binascii.Error as error:
        raise InputError(f"{where}: image is neither a path nor base64 ({error})") from None
