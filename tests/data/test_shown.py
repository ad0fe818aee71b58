"""Rows as people have them: where pictures stand, how labels and chats are written. Nothing is
judged blind in silence, and training and evaluation read the same."""

import base64
import gzip
import io
import json
import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from r1reward_jax.data.benchmarks import read_benchmark
from r1reward_jax.data.preferences import read_annotations, read_preferences, write_records
from r1reward_jax.data.relevance import read_relevance
from r1reward_jax.data.video import Sampling
from r1reward_jax.images import open_image
from r1reward_jax.types import InputError, VideoPart

FRAMES = Sampling(most=4)
TEXT = "Compare.\n[Question]: What?\n[Response 1]: a cat\n[Response 2]: a dog"


def picture(color="red"):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(file, "PNG")
    return file.getvalue()


PICTURE = picture()
ENCODED = base64.b64encode(PICTURE).decode()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a b.png").write_bytes(PICTURE)
    (tmp_path / "images/a.png").write_bytes(PICTURE)
    (tmp_path / "images/b.png").write_bytes(picture("blue"))
    (tmp_path / "clip").mkdir()
    for i in range(3):
        (tmp_path / f"clip/{i}.png").write_bytes(picture("blue"))
    return tmp_path


def chat(*parts):
    return [{"role": "user", "content": [{"type": "text", "text": TEXT}, *parts]}]


def row(**fields):
    base = {"id": "1", "message": json.dumps(chat()), "question": "What?"}
    return base | {"answer": ["<answer>1</answer>"]} | fields


def plain(**fields):
    return {"id": "1", "prompt": "What?", "chosen": "a cat", "rejected": "a dog"} | fields


def written(folder, *rows, name="rows.jsonl"):
    if name.endswith(".parquet"):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), folder / name)
    elif name.endswith(".json"):
        (folder / name).write_text(json.dumps(list(rows)))
    else:
        (folder / name).write_text("".join(json.dumps(each) + "\n" for each in rows))
    return str(folder / name)


def read(path):
    """Training, the cold start and an evaluation read the same record."""
    (trained,) = read_preferences(path, FRAMES)
    _, (judged,), _ = read_benchmark(path, "", FRAMES)
    judged.meta.pop("group")
    assert trained == judged
    return trained


def colours(images):
    return [np.asarray(open_image(image))[0, 0].tolist() for image in images]


RED = [255, 0, 0]
IMAGES = {
    "image": "images/a.png",
    "images": ["images/a.png"],
    "image_path": "images/a.png",
    "image_paths": ["images/a.png"],
    "img": "images/a.png",
    "Image": "images/a.png",
    "IMAGES": ["images/a.png"],
    "picture": "images/a.png",
    "photos": ["images/a.png"],
    "img_path": {"path": "images/a.png"},
    "image_url": {"url": f"data:image/png;base64,{ENCODED}"},
    "image_bytes": ENCODED,
    "image_base64": [ENCODED],
}


@pytest.mark.parametrize("make", [row, plain])
@pytest.mark.parametrize("name", IMAGES)
def test_pictures_are_found_under_every_usual_name(folder, make, name):
    record = read(written(folder, make(**{name: IMAGES[name]})))
    assert colours(record.images) == [RED]


VALUES = {
    "base64 with line breaks": base64.encodebytes(PICTURE).decode(),
    "url-safe base64": base64.urlsafe_b64encode(PICTURE).decode(),
    "without padding": ENCODED.rstrip("="),
    "a struct of base64": {"bytes": ENCODED, "path": None},
    "a struct with a path": {"bytes": None, "path": "images/a.png"},
    "a list of structs": [{"path": "images/a.png"}],
    "a list as text": '["images/a.png"]',
    "backslashes": "images\\a.png",
    "a file URL": "file://{folder}/images/a%20b.png",
    "a file URL of localhost": "file://localhost{folder}/images/a.png",
    "an absolute path": "{folder}/images/a.png",
    "with an archive's folder": "archive/images/a.png",
    "OpenAI": {"image_url": {"url": f"data:image/png;base64,{ENCODED}"}},
}


@pytest.mark.parametrize("value", VALUES)
def test_pictures_are_known_however_they_are_written(folder, value):
    given = VALUES[value]
    if isinstance(given, str):
        given = given.replace("{folder}", str(folder))
    assert colours(read(written(folder, row(image=given))).images) == [RED]
    # and as a part of the message
    parts = [{"type": "image", "image": given}]
    if isinstance(given, dict):
        parts.append({"type": "image"} | given)
    if isinstance(given, dict) and "image_url" in given:
        parts.append({"type": "image_url"} | given)
    for part in parts:
        assert colours(read(written(folder, row(message=chat(part)))).images) == [RED]


def test_pictures_in_tables(folder):
    for value in (
        PICTURE,
        {"bytes": PICTURE, "path": "a.png"},
        [PICTURE],
        ENCODED,
        ["images/a.png"],
    ):
        for name in ("image", "images"):
            path = written(folder, row(**{name: value}), name="rows.parquet")
            assert colours(read(path).images) == [RED]


VIDEOS = {
    "video": "clip",
    "videos": ["clip"],
    "video_path": "clip",
    "video_paths": ["{folder}/clip"],
    "Video": {"path": "clip"},
    "video_url": "file://{folder}/clip",
}


@pytest.mark.parametrize("name", VIDEOS)
def test_videos_are_found_under_every_usual_name(folder, name):
    value = json.loads(json.dumps(VIDEOS[name]).replace("{folder}", str(folder)))
    for made in (row(**{name: value}), row(message=chat({"type": "video", "video": value}))):
        record = read(written(folder, made))
        assert record.video is not None and len(record.video.frames) == 3


def test_a_list_of_frames_is_a_video_in_its_order(folder):
    frames = [f"clip/{i}.png" for i in (2, 0, 1)]
    record = read(written(folder, row(video=frames)))
    assert record.video == VideoPart(tuple(str(folder / frame) for frame in frames), 2.0)
    with pytest.raises(InputError, match="one by one cannot be written"):
        write_records(str(folder / "out.jsonl"), [record])


UNREAD = {
    "frames": ["clip/0.png"],
    "image_list": ["images/a.png"],
    "main_image": "images/a.png",
    "pic_data": PICTURE.hex() and ENCODED,
    "screenshot": f"data:image/png;base64,{ENCODED}",
    "input_photo": "images/a.png",
    "videoclip": "clip",
    "image_name": "a.png",
    "media": {"bytes": ENCODED},
    "file_name": "images/a.png",
    "url": "https://example.org/a.JPG?size=3",
    "attachments": [{"name": "clip.mp4"}],
    "mm_data": {"image": ["images/a"]},
    "meta": {"source": {"path": "images/a.png"}},
}


@pytest.mark.parametrize("make", [row, plain])
@pytest.mark.parametrize("name", UNREAD)
def test_a_picture_that_nobody_reads_is_refused_by_its_field(folder, make, name):
    path = written(folder, make(**{name: UNREAD[name]}))
    for reader in (
        lambda: read_preferences(path, FRAMES),
        lambda: read_benchmark(path, "", FRAMES),
    ):
        with pytest.raises(
            InputError, match=rf"rows.jsonl:1 \(id 1\): the field {name} looks like"
        ):
            reader()


def test_bytes_that_nobody_reads_are_refused_in_tables(folder):
    for value in (PICTURE, {"bytes": PICTURE}, [PICTURE]):
        path = written(folder, row(thing=value), name="rows.parquet")
        with pytest.raises(InputError, match="the field thing looks like an image"):
            read_preferences(path, FRAMES)
    path = written(folder, row(file_name="images/a.png"), name="rows.parquet")
    with pytest.raises(InputError, match="the field file_name looks like an image"):
        read_preferences(path, FRAMES)


def test_a_source_in_a_message_is_read(folder):
    source = {"type": "base64", "media_type": "image/png", "data": ENCODED}
    for part in ({"source": source}, {"image": "images/a.png", "source": "coco"}):
        record = read(written(folder, row(message=chat({"type": "image"} | part))))
        assert colours(record.images) == [RED]


def test_paths_beside_a_picture_are_not_refused(folder):
    others = {"file_name": "images/b.png", "meta": {"image": "images/b.png"}}
    assert len(read(written(folder, row(image="images/a.png", **others))).images) == 1
    part = {"type": "image", "min_pixels": 4, "index": "first"}
    read(written(folder, row(message=chat(part), images=["images/a.png"])))
    # nor words that happen to end like one
    read(written(folder, plain(prompt="Open a.png", chosen="a.png", note="See the file a.png")))


ABOUT = {
    "image_id": "000123",
    "image_source": "coco",
    "image_width": 640,
    "num_frames": 16,
    "has_image": True,
    "image_caption": "a cat on a mat",
    "imageSize": [8, 8],
    "image_list": [],
    "video_duration": "3 s",
}


@pytest.mark.parametrize("name", ABOUT)
def test_words_about_pictures_are_no_pictures(folder, name):
    record = read(written(folder, row(image="images/a.png", **{name: ABOUT[name]})))
    assert len(record.images) == 1
    assert not read(written(folder, row(**{name: ABOUT[name]}))).images


def test_the_same_picture_twice_is_one(folder):
    for more in (
        {"images": ["images/a.png"]},
        {"image_path": "elsewhere/a.png"},
        {"images": ["images/a.png", "images/b.png"]},
        {"image_bytes": ENCODED},
        {"cover_photo": "images/a.png"},
    ):
        record = read(written(folder, row(image="images/a.png", **more)))
        assert colours(record.images)[0] == RED
        assert len(record.images) == max(1, len(more.get("images", [])))
    for old in ("old/a.png", "file://host/a.png", "https://example.org/a.png"):
        given = row(image="images/a.png", message=chat({"type": "image", "image": old}))
        assert colours(read(written(folder, given)).images) == [RED]
        given = row(image=old, message=chat({"type": "image", "image": "images/a.png"}))
        assert colours(read(written(folder, given)).images) == [RED]


def test_two_pictures_that_differ_are_refused(folder):
    for more in (
        {"images": ["images/b.png"]},
        {"message": chat({"type": "image", "image": "images/b.png"})},
    ):
        with pytest.raises(InputError, match="hold different images; expected one of them"):
            read(written(folder, row(image="images/a.png", **more)))


def test_candidates_are_read_alike(folder):
    def relevance(first, **more):
        candidates = [{"text": "x", **first}, {"text": "y", "images": ["images/b.png"]}]
        return {"query": "q", "candidates": candidates, "preferred": 1, **more}

    for name in ("image", "images", "image_path"):
        (record,) = read_relevance(written(folder, relevance({name: "images/a.png"})))
        assert colours(record.candidates[0].images) == [RED]
    for bad, said in (
        (relevance({"main_img": "images/a.png"}), "candidate 1: the field main_img looks like"),
        (relevance({}, image="images/a.png"), "each candidate has its own"),
        (relevance({}, meta=[1]), "meta is list"),
    ):
        with pytest.raises(InputError, match=said):
            read_relevance(written(folder, bad))


# ----------------------------------------------------------------------- told


def notes(folder, *rows):
    return read_benchmark(written(folder, *rows), "", FRAMES)[2]


def test_what_is_odd_is_counted_and_told(folder, capsys):
    seen, mark = row(image="images/a.png"), chat()
    mark[0]["content"][0]["text"] = TEXT.replace("What?", "<image>\n<image> What?")
    (said,) = notes(folder, seen, row(message=mark, image="images/a.png"))
    assert said.startswith("1 rows have another number of <image> in their texts")
    assert "rows.jsonl:2 (id 1)" in said
    (said,) = notes(folder, seen, plain() | row())
    assert said.startswith("1 rows have no image and no video; the first is")
    settings = {"type": "image", "image": "images/a.png", "max_pixels": 9}
    (said,) = notes(folder, row(message=chat(settings)))
    assert "have settings in their messages that are not used (max_pixels)" in said
    earlier = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi"}]
    system = [{"role": "system", "content": "Be strict."}]
    assert not notes(folder, row(message=system + chat(), image="images/a.png"))
    (said,) = notes(folder, row(message=earlier + chat(), image="images/a.png"))
    assert "have earlier turns, which are not shown" in said
    (said,) = notes(folder, row(message=chat({"type": "image"})))
    assert "have another number of images than parts of their message ask for" in said
    read_preferences(written(folder, seen, row()), FRAMES)
    read_preferences(written(folder, seen, row()), FRAMES)
    assert capsys.readouterr().err.count("have no image and no video") == 1


def test_pictures_of_earlier_turns_are_refused(folder):
    earlier = [{"role": "user", "content": [{"type": "image", "image": "images/a.png"}]}]
    with pytest.raises(InputError, match="an earlier turn of the message has images"):
        read(written(folder, row(message=earlier + chat())))


def test_files_outside_of_the_folder_are_told_or_refused(folder):
    data = folder / "data"
    data.mkdir()
    os.symlink(folder / "images/b.png", data / "link.png")
    (data / "in.png").write_bytes(PICTURE)
    values = ["in.png", f"{folder}/images/a.png", "../images/b.png", "link.png"]
    path = written(data, *(row(image=value) for value in values))
    _, records, (said,) = read_benchmark(path, "", FRAMES)
    assert said.startswith("3 of 4 images or videos lie outside of the data folder")
    assert f"(first: {folder}/images/a.png)" in said and "shown in report.html" in said
    for reader in (
        read_benchmark,
        lambda path, _, frames, outside: read_preferences(path, frames, outside=outside),
    ):
        with pytest.raises(InputError, match="3 of 4 images .*link.png; data.outside=true"):
            reader(path, "", FRAMES, outside=False)
    # the folder that was given is one of its own
    assert read_benchmark(path, str(folder), FRAMES)[2] == []


# ------------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    "address", ["https://example.org/a.png", "HTTP://example.org/a", "x://a", "file://host/a.png"]
)
def test_addresses_are_one_line(folder, address):
    for made in (
        row(image=address),
        row(images=[address]),
        row(video=address),
        row(message=chat({"type": "image_url", "image_url": {"url": address}})),
        plain(image={"path": address}),
    ):
        with pytest.raises(InputError) as error:
            read(written(folder, made))
        said = str(error.value)
        assert said.startswith(f"{folder}/rows.jsonl:1 (id 1): {address}: ") and "\n" not in said
        assert "addresses are not downloaded; give a file" in said or "on this machine" in said


# ----------------------------------------------------------- labels and chats


@pytest.mark.parametrize(
    "answer", [2, 2.0, "2", " 2 ", ["2"], [2], "<answer>2</answer>", ["<answer>2</answer>"]]
)
def test_labels_as_numbers(folder, answer):
    assert read(written(folder, row(answer=answer))).preferred == 2


@pytest.mark.parametrize("answer", [True, 0, 3, 1.5, None, [], ["1", "2"], {"a": 1}, "B", [[1]]])
def test_labels_that_are_none(folder, answer):
    with pytest.raises(InputError, match=r"rows.jsonl:1 \(id 1\): answer .* is neither"):
        read(written(folder, row(answer=answer)))


CHATS = {
    "a list": chat(),
    "JSON of a list": json.dumps(chat()),
    "one message": chat()[0],
    "a plain text as content": [{"role": "user", "content": TEXT}],
    "texts as parts": [{"role": "user", "content": [TEXT]}],
    "parts without type": [{"role": "user", "content": [{"text": TEXT}]}],
    "the prompt alone": TEXT,
    "OpenAI's types": [{"role": "user", "content": [{"type": "input_text", "text": TEXT}]}],
}


@pytest.mark.parametrize("name", CHATS)
def test_chats_however_they_are_written(folder, name):
    record = read(written(folder, row(message=CHATS[name], image="images/a.png")))
    assert record.responses == ("a cat", "a dog") and len(record.images) == 1
    annotated = {"completion": "<answer>1</answer>", "attempts": 1, "matched": True}
    path = written(folder, row(message=CHATS[name], image="images/a.png", **annotated))
    (annotation,) = read_annotations(path, FRAMES)
    assert annotation.record == record


BAD = {
    "a number": (row(message=3), "message is a int; expected a chat"),
    "nothing": (row(message=None), "message is a NoneType"),
    "no turns": (row(message="[]"), "message is \\[\\]; expected a chat"),
    "a word": (row(message="hello"), "message: Expecting value; expected a chat"),
    "content": (row(message=[{"role": "user", "content": 3}]), "content is a int"),
    "a part": (row(message=chat({"type": "audio", "audio": "a"})), "audio is neither text, image"),
    "a number as part": (row(message=chat(7)), "int is neither text"),
    "no text": (row(message=chat({"type": "text", "text": 3})), "holds no text"),
    "deep": (row(message="[" * 100_000), "message: brackets are nested too deeply"),
    "question": (row(question={"a": 1}), "question is dict; expected a text"),
    "meta": (row(meta="x"), "meta is str; expected an object"),
    "meta list": (row(meta=[]), "meta is list; expected an object"),
    "id": (row(id=[1]), "id is list; expected a text or a number"),
    "a file's id": (
        row(message=chat({"type": "input_image", "file_id": "x"})),
        "of the message is given by file_id, which is not read; expected a path",
    ),
    "an image": (row(image=3.5), "an image is float; expected a path"),
    "a struct": (row(image={"name": "a.png"}), "a struct of name; expected a path"),
    "a prompt": (plain(prompt=["a"]), "the question is \\['a'\\]; expected a text"),
    "video bytes": (row(video=f"data:video/mp4;base64,{ENCODED}"), "expected the path of a file"),
    "two videos": (row(videos=["clip", "clip2"]), "2 videos, a record has at most one"),
}


@pytest.mark.parametrize("name", BAD)
def test_rows_that_make_no_sense_are_told_in_words(folder, name):
    made, said = BAD[name]
    path = written(folder, made)
    for reader in (
        lambda: read_preferences(path, FRAMES),
        lambda: read_benchmark(path, "", FRAMES),
    ):
        with pytest.raises(InputError, match=said) as error:
            reader()
        assert f"{path}:1" in str(error.value) and len(str(error.value)) < 700
        assert "Error" not in str(error.value) and "\n" not in str(error.value)


# ---------------------------------------------------------------- odd files


def test_byte_order_marks_and_lists(folder):
    plain_record = read(written(folder, row(image="images/a.png")))
    text = json.dumps(row(image="images/a.png"))
    for name, content in {
        "a.jsonl": f"\ufeff{text}\n\n \ufeff\n",
        "b.json": f"\ufeff [\n{text}\n]",
        "c.jsonl": f"\r\n{text}\r\n",
        "d.json": text,
    }.items():
        (folder / name).write_bytes(content.encode())
        assert read(str(folder / name)) == plain_record


ODD = {
    "brackets": ('{"a": ' + "[" * 100_000, ":1: brackets are nested too deeply"),
    "brackets in a list": ("[" * 100_000, "brackets are nested too deeply"),
    "a long number": ('{"a": ' + "1" * 10_000 + "}", ":1: a whole number of too many digits"),
    "half a character": (
        json.dumps(row(question="a\ud83d")),
        ":1: half of a character in question",
    ),
    "in meta": (json.dumps(row(meta={"group": "\udc00"})), r"in meta.group \(\\udc00\)"),
    "in a name": (json.dumps(row(**{"x\ud800": 1})), "in a field's name"),
    "in the chat": (
        json.dumps(row(message=chat({"type": "text", "text": "\ud83d"}))),
        "in message",
    ),
    "in its JSON": (
        json.dumps(row(message=json.dumps(chat({"type": "text", "text": "\ud83d"})))),
        "half of a character in message",
    ),
    "NUL": ("\0\0\0", ":1: Expecting value"),
    "a long line": ("x" * 2_000_000, ":1: Expecting value"),
    "not UTF-8": (b'{"a": "\xff"}', ":1: invalid start byte; expected json or jsonl in UTF-8"),
    "UTF-16": (json.dumps(row()).encode("utf-16"), "UTF-16 or another encoding; save"),
    "gzip": (gzip.compress(json.dumps(row()).encode()), "odd.jsonl: compressed by gzip; unpack"),
    "a pointer": ("version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    "a page": ("<!DOCTYPE html><html>", "HTML or XML, perhaps the page of a download"),
    "a long id": (json.dumps(row(id="x" * 100_000, answer="")), r"…\ \(100,000 characters\)"),
    "a long answer": (json.dumps(row(answer="x" * 100_000)), "is neither"),
    "a long name": (json.dumps({"x" * 100_000: 1}), "unknown fields"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_one_short_line(folder, name):
    content, said = ODD[name]
    path = folder / "odd.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for reader in (read_preferences, lambda path: read_benchmark(path, "", FRAMES)):
        with pytest.raises(InputError, match=said) as error:
            reader(str(path))
        assert str(path) in str(error.value) and len(str(error.value)) < 1500


def test_data_that_are_no_files(folder):
    os.mkfifo(folder / "pipe.jsonl")
    for name in (str(folder / "pipe.jsonl"), "/dev/zero", "https://example.org/a.jsonl"):
        for reader in (read_preferences, lambda path: read_benchmark(path, "", FRAMES)):
            with pytest.raises(InputError):
                reader(name)


def test_lines_have_a_limit(folder, monkeypatch):
    monkeypatch.setattr("r1reward_jax.data.files.MOST_LINE", 1000)
    path = folder / "giant.jsonl"
    path.write_bytes(b"")
    os.truncate(path, 2**35)  # nothing but zeros
    with pytest.raises(InputError, match="giant.jsonl:1: a line of more than"):
        read_preferences(str(path))
    monkeypatch.setattr("r1reward_jax.data.files.MOST_BYTES", 1000)
    with pytest.raises(InputError, match="34,359,738,368 bytes"):
        read_preferences(str(path))


def test_a_short_list_asks_for_no_more_memory_than_it_is(folder):
    """Reading at most 4 GB once asked for 4 GB, which a limit of the process may not give."""
    path = folder / "list.json"
    path.write_text("[" * 100_000)
    tracemalloc.start()
    with pytest.raises(InputError, match="nested too deeply"):
        read_preferences(str(path))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 100 * 2**20


# -------------------------------------------------------------------- tables


def dictionary_bomb(folder, column, rows=300, size=2_000_000):
    """A table in which all rows have the same long text: kilobytes that unfold to gigabytes."""
    import pyarrow
    import pyarrow.parquet

    base = [row(id=str(i), image="images/a.png") for i in range(rows)]
    table = pyarrow.Table.from_pylist(base)
    indices = pyarrow.array(np.zeros(rows, np.int32))
    bomb = pyarrow.DictionaryArray.from_arrays(indices, pyarrow.array(["y" * size]))
    if column in table.column_names:
        table = table.drop([column])
    table = table.append_column(column, bomb.cast(pyarrow.string()) if rows < 10 else bomb)
    path = folder / "bomb.parquet"
    pyarrow.parquet.write_table(table, path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 100_000
    return str(path)


@pytest.mark.parametrize("column", ["unread", "question"])
def test_columns_that_unfold_are_held_once(folder, column):
    """0.6 GB, if every row had its own."""
    import resource

    path = dictionary_bomb(folder, column)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records = read_preferences(path, FRAMES)
    assert len(records) == 300
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes


def test_tables_out_of_proportion_are_refused(folder, monkeypatch):
    monkeypatch.setattr("r1reward_jax.data.tables.UNFOLDED", 10_000)
    monkeypatch.setattr("r1reward_jax.data.tables.TIMES", 1)
    rows = [row(id=str(i), question=f"{i}" + "z" * 10_000) for i in range(400)]
    path = written(folder, *rows, name="rows.parquet")
    with pytest.raises(InputError, match="unfolds to more than"):
        read_preferences(path, FRAMES)


def test_broken_tables_are_one_line(folder):
    path = folder / "rows.parquet"
    data = (folder / written(folder, row(), name="rows.parquet")).read_bytes()
    name = data.replace(b"question", b"\xff\xfeestion")
    for content in (
        data[:-10],
        data[10:],
        b"PAR1",
        b"",
        name,
        data[:40] + b"\xff" * 40 + data[80:],
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match="rows.parquet") as error:
            read_preferences(str(path), FRAMES)
        assert "\n" not in str(error.value) or "unknown fields" in str(error.value)
