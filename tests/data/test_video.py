"""Videos on disk: folders and files, sampled evenly, decoded late, errors that name them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from r1reward_jax.data import video
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
