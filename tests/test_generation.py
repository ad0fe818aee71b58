"""What is taken of a checkpoint's generation_config.json, and how MM-RLHF's videos are sampled."""

import json

import numpy as np
import pytest

from r1reward_jax.data.benchmarks import sampling_of
from r1reward_jax.data.video import Sampling, end_to_end, of_frames
from r1reward_jax.errors import InputError
from r1reward_jax.generation import generation_of

PUBLISHED = {"do_sample": True, "repetition_penalty": 1.05, "temperature": 1e-6, "num_beams": 1}


def test_a_published_checkpoint_is_sampled_as_it_says(tmp_path):
    (tmp_path / "generation_config.json").write_text(json.dumps(PUBLISHED))
    found = generation_of(str(tmp_path), "auto", exported=False)
    knobs = {"rollout.repetition_penalty": 1.05, "rollout.max_new_tokens": 4096}
    assert found.taken == knobs and found.left == {"temperature": 1e-6}
    told = found.told(knobs | {"rollout.max_new_tokens": 77})
    assert "repetition_penalty=1.05 (generation_config.json)" in told
    assert "max_new_tokens=77 (set here)" in told and "not taken" in told
    ours = generation_of(str(tmp_path), "auto", exported=True)
    assert ours.taken == {} and ours.left["repetition_penalty"] == 1.05
    assert generation_of(str(tmp_path), "config", exported=False).taken == {}
    kept = generation_of(str(tmp_path), "checkpoint", exported=True).taken
    assert kept == {"rollout.repetition_penalty": 1.05}


@pytest.mark.parametrize(
    "text", ['{"repetition_penalty": "x"}', "[]", '{"max_new_tokens": 1.5}', "{"]
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, text):
    with pytest.raises(InputError, match="has no generation_config.json"):
        generation_of(str(tmp_path), "checkpoint", exported=True)
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(InputError, match="generation_config.json: "):
        generation_of(str(tmp_path), "auto", exported=False)


@pytest.mark.parametrize("total", [1, 2, 7, 31, 32, 33, 40, 63, 120, 999])
def test_frames_of_mm_rlhf_are_those_of_the_release(total):
    sampling = sampling_of("mm_rlhf_rewardbench", Sampling(5.0, 4))
    video = of_frames([f"{i}.png" for i in range(total)], sampling)
    expected = np.linspace(0, total - 1, 32, dtype=int)
    assert list(video.frames) == [f"{i}.png" for i in expected] and video.fps == 2.0
    assert end_to_end(total, 32) == expected.tolist()
    assert sampling_of("vl_rewardbench", Sampling(5.0, 4)) == Sampling(5.0, 4)
