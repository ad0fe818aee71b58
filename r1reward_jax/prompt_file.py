"""Read the prompt of a published checkpoint from a file: models judge best in the words of their
training."""

from dataclasses import replace
from typing import Any

from r1reward_jax.places import require
from r1reward_jax.prompts import SYSTEM, Template, message_spans
from r1reward_jax.reading import MB, load_json, read_file
from r1reward_jax.types import InputError

LARGEST = 1024 * MB
"""Bytes of a file with a prompt, or of rows of which one is taken."""
FIELDS = ("question", "first", "second", "images")
NEEDED = FIELDS[:3]


def with_prompt_from(template: Template, source: str) -> Template:
    """Return a template whose evaluator prompt comes from a file.

    Args:
      template: what the other prompts come from.
      source: a text with {question}, {first}, {second} and, unless images stand in front, {images};
        or a .jsonl in the schema of the public R1-Reward-RL set, whose first row is taken as the
        example, or `FILE.jsonl:N` for row N, from 1.

    Raises:
      InputError: there is no such file or row, or it is no prompt.
    """
    path, number = _split(source)
    try:
        data = read_file(require(path, "file"), most=LARGEST, expected="a text file")
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except InputError as error:
        raise InputError(f"prompt from {error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"prompt from {source}: {error}; expected a text file") from None
    if not path.endswith(".jsonl"):
        return replace(template, evaluator=_escaped(text.removesuffix("\n"), source))
    rows = [line for line in text.split("\n") if line.strip()]
    if not 1 <= number <= len(rows):
        raise InputError(f"prompt from {source}: row {number} of {len(rows)}")
    try:
        system, evaluator = _of_row(load_json(rows[number - 1]))
    except (LookupError, TypeError, AttributeError):
        raise InputError(
            f"prompt from {source}: not a row of the R1-Reward-RL schema; expected `message`, a "
            "chat of roles and contents, whose parts are texts and images"
        ) from None
    except ValueError as error:
        raise InputError(
            f"prompt from {source}: not a row of the R1-Reward-RL schema ({error})"
        ) from None
    return replace(template, evaluator=evaluator, system=system)


def described(template: Template, source: str) -> str:
    """Return what a person should know about a prompt that was read from `source`."""
    behind = template.evaluator.rpartition("{second}")[2].replace("{images}", "").strip()
    says = "" if behind else "; nothing there says how to answer"
    return f"prompt from {source}: {len(behind):,} characters behind the second response{says}"


def _split(source: str) -> tuple[str, int]:
    """Return the file and the number of the row."""
    path, _, number = source.rpartition(":")
    return (path, int(number)) if path.endswith(".jsonl") and number.isdigit() else (source, 1)


def _of_row(row: dict[str, Any]) -> tuple[str, str]:
    """Return the system message and the evaluator's text, as the row's chat has them."""
    chat = row["message"]
    chat = load_json(chat) if isinstance(chat, str) else chat
    parts = _parts(chat[-1])
    system = [_parts(turn) for turn in chat if turn["role"] == "system"]
    text = "".join(part["text"] for part in parts if part["type"] == "text")
    spans = message_spans(text)
    if spans is None:
        raise ValueError("no sections [Question], [Response 1] and [Response 2]")
    fields = dict(zip(spans, NEEDED, strict=True)) | _images_at(parts)
    evaluator, end = "", 0
    for start, stop in sorted(fields):
        if start < end:
            raise ValueError("images stand inside a question or a response")
        evaluator += _literal(text[end:start]) + "{" + fields[start, stop] + "}"
        end = stop
    evaluator += _literal(text[end:])
    return "".join(part["text"] for part in system[0]) if system else SYSTEM, evaluator


def _parts(turn: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of a message; a plain text is its only part."""
    content = turn["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _images_at(parts: list[dict[str, Any]]) -> dict[tuple[int, int], str]:
    """Return where images and videos stand in the text of a message, if not in front."""
    place, places = 0, set()
    for part in parts:
        if part["type"] == "text":
            place += len(part["text"])
        else:
            places.add(place)
    if len(places) > 1:
        raise ValueError("images stand at several places of the text")
    return {(at, at): "images" for at in places if at}


def _literal(text: str) -> str:
    """Return a text whose braces str.format leaves as they are."""
    return text.replace("{", "{{").replace("}", "}}")


def _escaped(text: str, source: str) -> str:
    """Return a user's text as a format string: braces that are not fields stay as they are."""
    counts = {name: text.count("{" + name + "}") for name in FIELDS}
    wrong = [f"{{{name}}} {counts[name]} times" for name in NEEDED if counts[name] != 1]
    wrong += [f"{{images}} {counts['images']} times"] if counts["images"] > 1 else []
    if wrong:
        raise InputError(
            f"prompt from {source}: {', '.join(wrong)}; expected {{question}}, {{first}} and "
            "{second} once each, and {images} once or not at all"
        )
    text = _literal(text)
    for name in FIELDS:
        text = text.replace("{{" + name + "}}", "{" + name + "}")
    return text
