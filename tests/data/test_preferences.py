"""Reading records for training, in any layout and container, and writing them."""

import base64
import io
import json

import pytest
from PIL import Image

from r1reward_jax.data.preferences import (
    Annotation,
    read_annotations,
    read_preferences,
    read_records,
    write_annotations,
    write_records,
)
from r1reward_jax.images import open_image
from r1reward_jax.types import InputError, PreferenceRecord
from tests.data.test_benchmarks import hub, multimodal, released
from tests.data.test_benchmarks import write as write_rows

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
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/cat.jpg").touch()
    (record,) = read_records(write(tmp_path / "a.jsonl", public_row()))
    assert record.question == "What is shown?"
    assert record.responses == ("A cat\non a mat.", "A {{dog}}.")
    assert record.preferred == 2
    assert record.images == (str(tmp_path / "pictures/cat.jpg"),)


def test_base64_images_become_bytes(tmp_path):
    """Whatever they hold, where they are too long for a path."""
    encoded = base64.b64encode(bytes(range(256)) * 16).decode()
    row = public_row(image=encoded)
    content = json.loads(row["message"])
    content[0]["content"][1]["image"] = encoded
    row["message"] = json.dumps(content)
    (record,) = read_records(write(tmp_path / "a.jsonl", row))
    assert record.images == (bytes(range(256)) * 16,)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("{not json", "one row on each line"),
        (public_row(answer=["<answer>3</answer>"]), "neither"),
        (public_row(answer=["3"]), "neither"),
        (public_row(text="no sections"), "sections"),
        (public_row(text=MESSAGE + "\n[Response 2]: again"), "exactly once"),
        ({"question": "?"}, "no field message, answer; a row of the layout rl has"),
        (public_row(message="3"), "message is 3; expected a chat"),
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


def icon():
    """A picture of one colour: less than 1,024 characters of base64."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    return file.getvalue()


LAYOUTS = {
    "released": lambda **changed: released(image="cat.png", **changed),
    "hub": lambda **changed: hub(image="cat.png", **changed),
    "multimodal": lambda **changed: multimodal(Better="Output1", Image="cat.png", **changed),
    "rl": lambda **changed: (
        public_row(id="a", image="cat.png", **changed)
        | {"message": public_row()["message"].replace("pictures/cat.jpg", "cat.png")}
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_reads_what_evaluation_reads(layout, tmp_path):
    """The same records from a json list, jsonl with a BOM and CRLF, and parquet."""
    (tmp_path / "cat.png").write_bytes(icon())
    rows = [LAYOUTS[layout](), LAYOUTS[layout]()]
    paths = [write_rows(tmp_path / f"rows{suffix}", rows) for suffix in (".json", ".parquet")]
    (tmp_path / "dos.jsonl").write_text("\ufeff" + "\r\n".join(map(json.dumps, rows)) + "\r\n")
    (tmp_path / "folder").mkdir()
    for part, row in enumerate(rows):  # a table in two parts, as the hub stores them
        write_rows(tmp_path / f"folder/train-0000{part}-of-00002.parquet", [row])
    (tmp_path / "folder/cat.png").write_bytes(icon())
    paths += [str(tmp_path / "dos.jsonl"), str(tmp_path / "folder")]
    found = [read_preferences(path) for path in paths]
    assert found[0] == found[1] == found[2] and len(found[0]) == 2
    assert [r.responses for r in found[3]] == [r.responses for r in found[0]]
    record = found[0][0]
    assert record.images == (str(tmp_path / "cat.png"),)
    assert record.responses[record.preferred - 1].lower().startswith("a ")
    more = {"completion": "<think>a</think><answer>1</answer>", "attempts": 2, "matched": False}
    path = write_rows(tmp_path / "sft.parquet", [row | more for row in rows])
    assert read_annotations(path) == [Annotation(r, *more.values()) for r in found[0]]
    with pytest.raises(
        InputError, match=r"row 1 \(id .*\): no field completion, attempts, matched"
    ):
        read_annotations(paths[0])
    path = write_rows(tmp_path / "wrong.json", [row | more | {"completion": 3} for row in rows])
    with pytest.raises(InputError, match=r"row 1 \(id .*\): completion is 3; expected str"):
        read_annotations(path)


def test_short_base64_is_no_path(tmp_path):
    """A picture of one colour was taken for a path that is missing."""
    text = base64.b64encode(icon()).decode()
    assert len(text) < 1024
    row = public_row(image=text)
    row["message"] = row["message"].replace("pictures/cat.jpg", text)
    rows = [
        row,
        public_row(
            image=text,
            message=json.dumps([{"content": [json.loads(row["message"])[0]["content"][0]]}]),
        ),
    ]
    for record in read_records(write(tmp_path / "a.jsonl", *rows)):
        assert record.images == (icon(),) and open_image(record.images[0]).size == (64, 64)
    name = base64.b64encode(icon()[:24]).decode()
    assert "/" not in name
    (tmp_path / name).write_bytes(icon())
    (record,) = read_records(write(tmp_path / "a.jsonl", released(image=name)))
    assert record.images == (str(tmp_path / name),)  # a file, whatever it is called


def test_missing_images_are_listed_at_once(tmp_path):
    rows = [released(f"r{i}", image=f"{i}.png") for i in range(7)]
    path = write(tmp_path / "a.jsonl", *rows)
    with pytest.raises(InputError, match=r"7 images.*a.jsonl:5 \(id r4\): 4.png; and 2 more"):
        read_preferences(path)
    kept = read_records(path, require_files=False)
    # beside the file, and not wherever the command is started
    assert [record.images for record in kept] == [(str(tmp_path / f"{i}.png"),) for i in range(7)]


def test_training_refuses_candidates(tmp_path):
    row = {"query": "mug", "candidates": [{"text": "a"}, {"text": "b"}], "preferred": 1}
    path = write(tmp_path / "shop.jsonl", row)
    assert read_records(path)[0].preferred == 1
    row |= {"completion": "", "attempts": 1, "matched": True}
    for read, file in ((read_preferences, path), (read_annotations, write(tmp_path / "b", row))):
        with pytest.raises(InputError, match="training needs a question and two responses"):
            read(file)
