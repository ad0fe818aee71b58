"""Damaged and odd files of every kind that is read: an InputError of one short line or a record,
nothing else, in little time and memory."""

import base64
import io
import json
import random
import resource
import time
import warnings
from functools import partial

import numpy as np
import pytest
from PIL import Image

from r1reward_jax.data.benchmarks import read_benchmark
from r1reward_jax.data.preferences import read_annotations, read_preferences, read_records
from r1reward_jax.data.video import Sampling, read_video
from r1reward_jax.images import image_size, open_image
from r1reward_jax.prompts import TEMPLATES, evaluator_prompt
from r1reward_jax.types import InputError, PreferenceRecord, VideoPart

FRAMES = Sampling(most=3)
SECONDS = 20.0
"""CPU time of one input; what hangs takes for ever."""
MESSAGE = 3000
"""Characters of the longest message: a list of all layouts, and cut values."""
TEXT = "[Question]: What?\n[Response 1]: a cat\n[Response 2]: a dog"
SEEDS = [pytest.param(40, id="quick"), pytest.param(1500, id="thousands", marks=pytest.mark.slow)]


def mutated(rng, data):
    """The bytes with one to four damages: flipped, cut, doubled, taken out, or put in."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) or 1)
        size = rng.choice((1, 1, 2, 4, 16, 200))
        kind = rng.randrange(6)
        if kind == 0:
            for i in range(place, min(len(data), place + size)):
                data[i] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            data[place:place] = data[place : place + size]
        elif kind == 3:
            del data[place : place + size]
        elif kind == 4:
            data[place:place] = rng.randbytes(size)
        else:
            number = rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 0x7FFF, 0xFFFF))
            data[place : place + 4] = number.to_bytes(4, rng.choice(("big", "little")))
    return bytes(data)


def survives(read, what):
    """Read an input. What it gives, or None for an InputError; anything else fails the test."""
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = read()
    except InputError as error:
        assert len(str(error)) < MESSAGE, f"{what}: {str(error)[:300]}"
        found = None
    assert time.process_time() - start < SECONDS, what
    return found


@pytest.fixture(autouse=True)
def little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1_500_000, f"{grown} KB"  # a decoder may believe the size in a header: 64 MP


def photo(kind, **more):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **more)
    return file.getvalue()


def deep():
    file = io.BytesIO()
    Image.fromarray(np.arange(768).reshape(24, 32).astype(np.uint16)).save(file, "PNG")
    return file.getvalue()


def with_exif():
    exif = Image.Exif()
    exif[274], exif[282], exif[270] = 6, 72.0, "a photo"
    return photo("JPEG", exif=exif.tobytes())


IMAGES = {
    "PNG": lambda: photo("PNG"),
    "JPEG": with_exif,
    "progressive": lambda: photo("JPEG", progressive=True),
    "WEBP": lambda: photo("WEBP"),
    "GIF": lambda: photo("GIF"),
    "BMP": lambda: photo("BMP"),
    "16 bits": deep,
}


@pytest.mark.parametrize("count", SEEDS)
@pytest.mark.parametrize("kind", IMAGES)
def test_images(kind, count):
    data, opened = IMAGES[kind](), 0
    for seed in range(count):
        damaged = mutated(random.Random(f"{kind}{seed}"), data)
        survives(partial(image_size, damaged), f"{kind} {seed}")
        opened += survives(partial(open_image, damaged), f"{kind} {seed}") is not None
        text = base64.b64encode(damaged).decode()
        survives(partial(open_image, text), f"{kind} {seed}")
    assert opened < count  # some damages matter


@pytest.mark.parametrize("count", SEEDS)
def test_videos(count, tmp_path):
    import av

    path = str(tmp_path / "clip.mp4")
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(8):
            frame = Image.new("RGB", (64, 48), (30 * i,) * 3)
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
    data, whole = (tmp_path / "clip.mp4").read_bytes(), 0
    for seed in range(count):
        (tmp_path / "clip.mp4").write_bytes(mutated(random.Random(seed), data))
        frames = survives(lambda: list(read_video(path, FRAMES).frames), f"video {seed}")
        whole += frames is not None
    assert 0 < whole < count


def shown(part):
    frames = part.frames if isinstance(part, VideoPart) else [part.image]
    return [open_image(frame) for frame in frames]


def rows():
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    image = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    content = [{"type": "text", "text": TEXT}, {"type": "image", "image": image}]
    rl = {"id": "1", "message": json.dumps([{"role": "user", "content": content}])}
    rl |= {"question": "What?", "answer": ["<answer>1</answer>"], "image": image}
    rl |= {"completion": "<answer>1</answer>", "attempts": 1, "matched": True}
    released = {"id": "1", "prompt": "What?", "chosen": "a", "rejected": "b", "image": image}
    hub = {"id": "1", "query": "What?", "response": ["a", "b"], "human_ranking": [0, 1]}
    multi = {"ID": "1", "Category": "vqa", "Text": "?", "Output1": "a", "Output2": "b"}
    candidates = [{"text": "x", "images": [image]}, {"text": "y", "images": [image]}]
    return {
        "rl": rl | {"meta": {"group": "a"}},
        "released": released,
        "hub": hub | {"image": image, "models": ["a", "b"]},
        "multimodal": multi | {"Better": "Output1", "Image": image},
        "relevance": {
            "query": "q",
            "candidates": candidates,
            "preferred": 1,
            "meta": {"group": "a"},
        },
    }


def read_all(path):
    """Read a file as every verb does, open its images and write its prompts."""
    for read in (read_records, read_preferences, read_annotations):
        records = survives(partial(read, path, FRAMES), f"{read.__name__} of {path}")
        for item in records or []:
            record = getattr(item, "record", item)
            prompt = evaluator_prompt(record, TEMPLATES["full"])
            for part in prompt.content:
                if isinstance(part, str):
                    part.encode()
                else:
                    survives(partial(shown, part), path)
            json.dumps(record.meta, default=str).encode()
            if isinstance(record, PreferenceRecord):
                assert record.preferred in (1, 2, None) and isinstance(record.id, str)
    survives(lambda: read_benchmark(path, "", FRAMES), path)


@pytest.mark.parametrize("count", SEEDS)
@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
@pytest.mark.parametrize("layout", rows())
def test_damaged_files(layout, suffix, count, tmp_path):
    path, each = tmp_path / f"rows.{suffix}", [rows()[layout]] * 3
    if suffix == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(each), path)
        data = path.read_bytes()
    else:
        lines = [json.dumps(row) for row in each]
        data = ("[" + ",\n".join(lines) + "]" if suffix == "json" else "\n".join(lines)).encode()
    for seed in range(count // 8 or 1):
        path.write_bytes(mutated(random.Random(f"{layout}{suffix}{seed}"), data))
        read_all(str(path))


ODD = [
    *(None, True, False, 0, 1, -1, 3, 1.5, float("nan"), float("inf"), 10**30, "", " ", "1", "x"),
    *([], {}, [[]], [None], [1], ["1"], ["a", "b"], [{}], {"a": 1}, {"bytes": None, "path": None}),
    *({"path": "x"}, {"bytes": "x"}, {"url": 3}, {"image_url": {"url": "x"}}, "[", "[]", '["a"]'),
    *("\0", "\u2028", "\ud83d", "\x1b[2J", "https://x/y.png", "file:///etc/passwd", "../../x"),
    *("data:,", "data:image/png;base64,!", "iVBORw0KGgo=", "x" * 5000, "/dev/zero", "~", "."),
    *([[[[[["a"]]]]]], [{"role": "user"}], [{"role": "user", "content": [{"type": "image"}]}]),
]


@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("layout", rows())
def test_odd_values_in_every_field(layout, step, tmp_path):
    """Each value in each field, also inside of candidates; a sixth of them in the quick run."""
    path = tmp_path / "rows.jsonl"
    names = [*rows()[layout], "images", "video", "videos", "extra", "frame_list"]
    for place, name in enumerate(names):
        for value in ODD[place % step :: step]:
            path.write_text(json.dumps(rows()[layout] | {name: value}))
            read_all(str(path))
    if layout == "relevance":
        for place, name in enumerate(("text", "images", "video", "extra")):
            for value in ODD[place % step :: step]:
                row = rows()[layout]
                row["candidates"][0][name] = value
                path.write_text(json.dumps(row))
                read_all(str(path))


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_odd_values_in_chats(step, tmp_path):
    path = tmp_path / "rows.jsonl"
    for value in ODD[::step]:
        for content in (value, [value], [{"type": "text", "text": TEXT}, value]):
            chat = [{"role": "user", "content": content}]
            for message in (chat, json.dumps(chat), [*chat, *chat]):
                path.write_text(json.dumps(rows()["rl"] | {"message": message}))
                read_all(str(path))
        for part in ("image", "video", "image_url", "text"):
            content = [{"type": "text", "text": TEXT}, {"type": part, part: value}]
            chat = [{"role": "user", "content": content}]
            path.write_text(json.dumps(rows()["rl"] | {"message": chat, "image": None}))
            read_all(str(path))
