"""Reading and writing records in the public schema."""

import base64
import json

import pytest

from r1reward_jax.data.preferences import (
    Annotation,
    read_annotations,
    read_records,
    write_annotations,
    write_records,
)
from r1reward_jax.types import InputError, PreferenceRecord

MESSAGE = (
    "You compare answers.\n\n###### **Input:**  \n###### [Question]:\nWhat is shown?  \n\n"
    "###### [Response 1]:\nA cat\non a mat.  \n\n###### [Response 2]:\nA {{dog}}.  \n\n"
    "###### **Output Format (strictly follow):**  \n<think>x</think><answer>1/2</answer>"
)


def public_row(**changes):
    content = [
        {"type": "text", "text": changes.pop("text", MESSAGE)},
        {"type": "image", "image": "pictures/cat.jpg"},
    ]
    row = {
        "message": json.dumps([{"role": "user", "content": content}]),
        "question": "What is shown?",
        "answer": ["<answer>2</answer>"],
        "image": "pictures/cat.jpg",
    }
    return row | changes


def write(path, *rows):
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return str(path)


def test_world_survives_the_round_trip(world, tmp_path):
    folder, splits = world
    path = f"{folder}/round_trip.jsonl"
    write_records(path, splits["heldout"])
    assert read_records(path) == splits["heldout"]
    annotations = [
        Annotation(r, "<think>a</think><answer>1</answer>", 3, False) for r in splits["rl"]
    ]
    write_annotations(path, annotations)
    assert read_annotations(path) == annotations


def test_public_layout_is_read(tmp_path):
    (record,) = read_records(write(tmp_path / "a.jsonl", public_row()))
    assert record.question == "What is shown?"
    assert record.responses == ("A cat\non a mat.", "A {{dog}}.")
    assert record.preferred == 2
    assert record.images == (str(tmp_path / "pictures/cat.jpg"),)


def test_base64_images_become_bytes(tmp_path):
    encoded = base64.b64encode(bytes(range(256)) * 8).decode()
    row = public_row(image=encoded)
    content = json.loads(row["message"])
    content[0]["content"][1]["image"] = encoded
    row["message"] = json.dumps(content)
    (record,) = read_records(write(tmp_path / "a.jsonl", row))
    assert record.images == (bytes(range(256)) * 8,)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("{not json", "JSONDecodeError"),
        (public_row(answer=["<answer>3</answer>"]), "neither"),
        (public_row(answer=["1"]), "neither"),
        (public_row(text="no sections"), "sections"),
        (public_row(text=MESSAGE + "\n[Response 2]: again"), "exactly once"),
        ({"question": "?"}, "KeyError"),
        (public_row(text=MESSAGE.replace("A {{dog}}.", "")), "empty"),
    ],
)
def test_bad_rows_name_file_and_line(tmp_path, row, problem):
    path = write(tmp_path / "a.jsonl", public_row(), "", row)
    with pytest.raises(InputError, match=problem) as error:
        read_records(path)
    assert str(error.value).startswith(f"{path}:3:")


def test_missing_file_and_missing_annotation(tmp_path):
    with pytest.raises(InputError, match="not found"):
        read_records(str(tmp_path / "nothing.jsonl"))
    with pytest.raises(InputError, match="annotated"):
        read_annotations(write(tmp_path / "a.jsonl", public_row()))


def test_odd_line_ends_bytes_and_missing_images_survive(tmp_path):
    """U+2028 ends a line for str.splitlines, but not in jsonl."""
    records = [
        PreferenceRecord("a", "one\u2028two\x85three?", ("x", "y"), 1, (b"\x89PNG",)),
        PreferenceRecord("b", "no picture?", ("x", "y"), 2),
    ]
    path = str(tmp_path / "odd.jsonl")
    write_records(path, records)
    assert read_records(path) == records


def test_video_is_refused_and_not_dropped(tmp_path):
    row = public_row()
    row["message"] = row["message"].replace('"image", "image"', '"video", "video"')
    with pytest.raises(InputError, match="video"):
        read_records(write(tmp_path / "a.jsonl", row))
