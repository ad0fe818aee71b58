"""Videos on disk: folders and files, sampled evenly, decoded late, errors that name them."""

import json
import os
import shutil
import socket
import struct
import weakref
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from r1reward_jax.data import video
from r1reward_jax.data.frames import in_order
from r1reward_jax.data.preferences import read_records, write_records
from r1reward_jax.data.video import Sampling, evenly, read_video
from r1reward_jax.evals.evaluate import without_images
from r1reward_jax.prompts import TEMPLATES, evaluator_prompt
from r1reward_jax.types import InputError, VideoPart


def grey(level):
    return Image.new("RGB", (64, 48), (level,) * 3)


@pytest.fixture
def folder(tmp_path):
    """Ten frames; the names sort in order of time, the times of writing do not."""
    (tmp_path / "clip").mkdir()
    for i in reversed(range(10)):
        grey(20 * i).save(tmp_path / "clip" / f"{i:03d}.png")
    (tmp_path / "clip" / "notes.txt").write_text("not a frame")
    return str(tmp_path / "clip")


@pytest.fixture
def file(tmp_path):
    """Ten frames of two seconds, each brighter than the last."""
    import av

    path = str(tmp_path / "clip.mp4")
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(10):
            container.mux(stream.encode(av.VideoFrame.from_image(grey(20 * i))))
        container.mux(stream.encode())
    return path


def levels(part):
    return [
        round(np.asarray(Image.open(f) if isinstance(f, str) else f).mean()) for f in part.frames
    ]


def test_frames_come_from_the_middles_of_equal_stretches():
    assert evenly(10, 5) == [1, 3, 5, 7, 9]
    assert evenly(3, 8) == [0, 1, 2]
    assert evenly(7, 1) == [3]


def test_a_folder_is_read_in_the_order_of_its_names(folder):
    whole = read_video(folder, Sampling(fps=2.0, most=16))
    assert levels(whole) == [20 * i for i in range(10)] and whole.fps == 2.0
    thin = read_video(folder, Sampling(fps=2.0, most=5))
    assert levels(thin) == [20, 60, 100, 140, 180] and thin.fps == 1.0


def test_a_file_is_sampled_by_time(file):
    part = read_video(file, Sampling(fps=2.0, most=16))
    assert len(part.frames) == 4 and part.fps == pytest.approx(2.0)
    expected = [20 * i for i in evenly(10, 4)]
    for _ in range(2):  # decoded anew each time
        np.testing.assert_allclose(levels(part), expected, atol=4)
    assert len(read_video(file, Sampling(fps=5.0, most=3)).frames) == 3


def test_nothing_is_decoded_before_it_is_asked_for(file, monkeypatch):
    part = read_video(file, Sampling())
    monkeypatch.setattr(video, "_open", lambda path: pytest.fail("opened"))
    assert len(part.frames) == 4


def test_bad_videos_are_named(tmp_path, file):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("empty", "text.mp4", "missing.mp4"):
        with pytest.raises(InputError, match=name):
            read_video(str(tmp_path / name), Sampling())
    part = read_video(file, Sampling())
    data = Path(file).read_bytes()
    Path(file).write_bytes(data[: len(data) // 3])
    with pytest.raises(InputError, match="clip.mp4"):
        list(part.frames)


def test_records_with_videos(folder, tmp_path):
    message = "[Question]: What happens? [Response 1]: It brightens. [Response 2]: It darkens."
    content = [{"type": "video", "video": "clip"}, {"type": "text", "text": message}]
    row = {"message": json.dumps([{"role": "user", "content": content}])}
    row |= {"question": "What happens?", "answer": ["<answer>1</answer>"]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    (record,) = read_records(str(tmp_path / "a.jsonl"), Sampling(fps=1.0, most=4))
    prompt = evaluator_prompt(record, TEMPLATES["brief"])
    assert isinstance(prompt.content[0], VideoPart) and prompt.content[0].fps == 0.4
    assert levels(record.video) == [20, 60, 120, 160]
    write_records(str(tmp_path / "b.jsonl"), [record])
    (again,) = read_records(str(tmp_path / "b.jsonl"), Sampling(fps=1.0, most=4))
    assert again.video == record.video
    (blank,) = without_images([record])
    assert levels(blank.video) == [128] * 4 and blank.video.fps == 0.4
    (tmp_path / "a.jsonl").write_text(json.dumps(row).replace("clip", "gone"))
    with pytest.raises(InputError, match=r"a.jsonl:1: .*gone"):
        read_records(str(tmp_path / "a.jsonl"))


# ---------------------------------------------------------------------- order


@pytest.mark.parametrize(
    "names",
    [
        [f"frame_{i}.png" for i in range(12)],
        [f"{i:03d}.jpg" for i in range(11)],
        [f"clip.{i}.png" for i in (9, 10, 11)],
        [f"frame_{i}_of_12.jpg" for i in (2, 10)],
        [f"scene{s}_frame{f}.png" for s in (1, 2, 10) for f in (1, 2, 10)],
        ["00-00-58.png", "00-00-59.png", "00-01-00.png"],
        ["t0.50.png", "t1.00.png", "t1.25.png"],
        ["0001_8a7f.jpg", "0002_c3.jpg"],
        ["a.png", "b.png", "c.png"],
        ["IMG_1.JPG", "IMG_2.jpeg", "IMG_10.png"],
        ["only.png"],
    ],
)
def test_frames_are_ordered_by_the_numbers_in_their_names(names):
    assert in_order(names[::-1]) == names and in_order(sorted(names)) == names


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["1.png", "01.png"], "01.png and 1.png is not clear"),
        (["first.png", "last.png", "middle.png"], "is not clear from their names"),
        (["frame_1.png", "frame_2.png", "cover.png"], "not clear"),
        (["A.png", "b.png"], "not clear"),
        (["frame_1_12.png", "frame_2_11.png"], "in different ways; number the frames"),
        (["cam2_frame0.png", "cam1_frame1.png"], "in different ways"),
        (["1.9.png", "1.10.png"], "in different ways"),
        (["1.png", "1.jpg"], "not clear"),
    ],
)
def test_an_order_that_is_not_clear_is_refused(names, said, tmp_path):
    for name in names:
        grey(0).save(tmp_path / name)
    with pytest.raises(InputError, match=said) as error:
        read_video(str(tmp_path), Sampling())
    assert str(error.value).startswith(f"video {tmp_path}: ")


def test_hidden_files_are_no_frames(folder):
    for name in ("._000.png", ".DS_Store", "Thumbs.db", ".hidden.jpg"):
        (Path(folder) / name).write_bytes(b"\0")
    assert levels(read_video(folder, Sampling())) == [20 * i for i in range(10)]


# ------------------------------------------------------------------ orientation

CORNER = np.zeros((48, 64, 3), np.uint8)
CORNER[:24, :32] = 255
"""White at the top left, lying."""


@pytest.fixture(scope="module")
def lying(tmp_path_factory):
    """A file of three frames, white at the top left; each test gives it a matrix."""
    import av

    path = tmp_path_factory.mktemp("video") / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_image(Image.fromarray(CORNER))))
        container.mux(stream.encode())
    return path.read_bytes()


def with_matrix(data, a, b, c, d):
    """The file with another matrix in the header of its track, which begins as that of no turn."""
    units = 2**16
    plain = struct.pack(">9i", units, 0, 0, 0, units, 0, 0, 0, 2**30)
    turned = struct.pack(">9i", a * units, b * units, 0, c * units, d * units, 0, 0, 0, 2**30)
    track = data.index(b"tkhd")
    place = data.index(plain, track)
    return data[:place] + turned + data[place + len(plain) :]


@pytest.mark.parametrize(
    ("matrix", "size", "corner"),
    [
        ((1, 0, 0, 1), (64, 48), "top left"),
        ((0, 1, -1, 0), (48, 64), "top right"),  # an upright phone: a quarter turn clockwise
        ((-1, 0, 0, -1), (64, 48), "bottom right"),
        ((0, -1, 1, 0), (48, 64), "bottom left"),
        ((-1, 0, 0, 1), (64, 48), "top right"),  # mirrored
        ((0, 1, 1, 0), (48, 64), "top left"),
    ],
)
def test_frames_of_a_file_come_upright(matrix, size, corner, lying, tmp_path):
    path = tmp_path / "phone.mp4"
    path.write_bytes(with_matrix(lying, *matrix))
    for frame in read_video(str(path), Sampling()).frames:
        pixels, (width, height) = np.asarray(frame).mean(-1), frame.size
        assert frame.size == size
        halves = {"top": slice(0, height // 2), "bottom": slice(height // 2, height)}
        sides = {"left": slice(0, width // 2), "right": slice(width // 2, width)}
        means = {f"{h} {s}": pixels[halves[h], sides[s]].mean() for h in halves for s in sides}
        assert max(means, key=means.__getitem__) == corner, means


# --------------------------------------------------------- files of somebody else


def test_no_other_file_and_no_network_is_opened(tmp_path, file, monkeypatch):
    """Names that are addresses to FFmpeg, and playlists, which name other files."""
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(socket, "socket", lambda *args, **more: asked.append(args))
    (tmp_path / "http:" / "127.0.0.1").mkdir(parents=True)
    shutil.copy(file, tmp_path / "http:" / "127.0.0.1" / "a.mp4")
    shutil.copy(file, tmp_path / "concat:clip.mp4|clip.mp4")
    for name in ("http:/127.0.0.1/a.mp4", "concat:clip.mp4|clip.mp4", "clip.mp4"):
        assert len(list(read_video(name, Sampling()).frames)) == 4
    playlists = {
        "a.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{file}\n#EXT-X-ENDLIST\n",
        "b.mp4": "ffconcat version 1.0\nfile clip.mp4\n",
        "c.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
        "d.mp4": "#EXTM3U\n#EXTINF:2,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
        "e.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 9 RTP/AVP 96\n",
    }
    for name, text in playlists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=f"video {name}: .*expected a folder of frames or"):
            read_video(name, Sampling())
    assert not asked


def test_only_regular_files_are_videos(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, said in {
        str(tmp_path / "pipe.mp4"): "a named pipe, not a file",
        "/dev/zero": "a device, not a file",
        "https://example.org/a.mp4": "addresses are not downloaded",
        "rtsp://example.org/a": "addresses are not downloaded",
    }.items():
        with pytest.raises(InputError, match=f"^video .*{said}"):
            read_video(name, Sampling())


def test_a_file_url_is_a_path(file):
    assert levels(read_video(f"file://{file}", Sampling())) == levels(read_video(file, Sampling()))


def test_large_frames_are_refused_before_they_are_decoded(file, tmp_path, monkeypatch):
    monkeypatch.setattr(video, "MOST_PIXELS", 1000)
    with pytest.raises(InputError, match="frames of 64 x 48 pixels; at most 1,000"):
        read_video(file, Sampling())
    monkeypatch.undo()
    part = read_video(file, Sampling())
    monkeypatch.setattr(video, "MOST_FRAMES", 5)
    with pytest.raises(InputError, match="10 frames, at most 5"):
        read_video(file, Sampling())
    with pytest.raises(InputError, match="more than 5 frames"):
        list(part.frames)


def test_one_frame_at_a_time_is_held_at_full_size(loaded, monkeypatch):
    """Of sixteen frames of a video, fifteen wait as what is left of them."""
    from r1reward_jax.models.qwen2_5_vl import patches

    opened_images, most = [], 0
    plain = patches.open_image

    def opened(frame):
        nonlocal most
        image = plain(frame)
        opened_images.append(weakref.ref(image))
        most = max(most, sum(image() is not None for image in opened_images))
        return image

    monkeypatch.setattr(patches, "open_image", opened)
    loaded[2].encode_video(VideoPart(tuple(grey(i) for i in range(16)), 2.0))
    assert most <= 2
