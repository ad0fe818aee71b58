"""A model is what its config.json says: each field counts, or is refused, or warns by name."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r1reward_jax.models import port_of, qwen2_5_vl
from r1reward_jax.models.qwen2_5_vl import fields, rope_scaling
from r1reward_jax.models.qwen2_5_vl.config import Config
from r1reward_jax.types import InputError

HUB = json.loads((Path(__file__).parent / "sizes.json").read_text())["Qwen2.5-VL-7B"]["config"]
SECTION = {"mrope_section": [16, 24, 24]}
NESTED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


def config(vision=None, **changes):
    """The 7B model's config.json with other fields."""
    return HUB | {"vision_config": HUB["vision_config"] | (vision or {})} | changes


def scaled(kind, **more):
    return config(rope_scaling={"type": kind, **SECTION, **more})


def refused(hf, *parts):
    with pytest.raises(InputError) as error:
        Config.from_hf(hf, "m/config.json")
    assert all(part in str(error.value) for part in ("m/config.json", *parts)), error.value
    assert len(str(error.value)) < 400


YARN = {"factor": 4.0, "original_max_position_embeddings": 32768}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 8192}
SCALINGS = {
    "none": {},
    "mrope": {"type": "mrope"},
    "both spellings": {"type": "mrope", "rope_type": "default"},
    "linear": {"type": "linear", "factor": 2.5},
    "yarn": {"type": "yarn", **YARN},
    "yarn, newer spelling": {"rope_type": "yarn", **YARN},
    "yarn without an original length": {"type": "yarn", "factor": 2.0},
    "yarn, factor from the lengths": {"type": "yarn", **YARN, "factor": None},
    "yarn, all fields": {
        "type": "yarn",
        "attention_factor": 1.3,
        "beta_fast": 20.0,
        "beta_slow": 2.0,
        "truncate": False,
        **YARN,
    },
    "yarn with mscale": {"type": "yarn", "mscale": 0.7, "mscale_all_dim": 0.2, **YARN},
    "llama3": {"type": "llama3", **LLAMA3},
}


@pytest.mark.parametrize("name", SCALINGS)
def test_frequencies_are_the_originals(name):
    """Those that the original makes of the same config, where torch is installed; and what is saved
    reads the same."""
    hf = config(rope_scaling={**SECTION, **SCALINGS[name]})
    ours = Config.from_hf(hf).text
    found = ours.rope.frequencies(64, ours.rope_theta)
    assert Config.from_hf(Config.from_hf(hf).to_hf()).text == ours
    pytest.importorskip("torch", reason="torch is a test dependency on Python 3.11 only")
    from transformers import Qwen2_5_VLConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRotaryEmbedding

    whole: Any = Qwen2_5_VLConfig(**json.loads(json.dumps(hf)))
    theirs: Any = Qwen2_5_VLRotaryEmbedding(whole.text_config)
    np.testing.assert_allclose(found, theirs.inv_freq.numpy(), rtol=2e-6)
    assert ours.rope.attention_factor == pytest.approx(theirs.attention_scaling, rel=1e-6)


def test_scalings_by_hand():
    """Half of two frequencies, 1 and 1/100: linear divides both. Yarn keeps the first, which turns
    1000 / 2 pi = 159 times within the original length, and divides the second, which turns 1.6."""
    rope = rope_scaling.RopeScaling("linear", 4.0)
    np.testing.assert_allclose(rope.frequencies(2, 1e4), [0.25, 0.0025])
    rope = rope_scaling.RopeScaling("yarn", 4.0, 1000, beta_fast=100.0, beta_slow=2.0)
    np.testing.assert_allclose(rope.frequencies(2, 1e4), [1, 0.0025])
    read = Config.from_hf(scaled("yarn", factor=4.0)).text.rope
    assert read.original == 128000 and read.attention_factor == pytest.approx(1 + math.log(4) / 10)


ROPES = {
    "dynamic": (
        scaled("dynamic", factor=2.0),
        "'dynamic' is not supported",
        "linear, llama3, yarn",
    ),
    "longrope": (scaled("longrope", long_factor=[1.0]), "'longrope' is not supported"),
    "an unknown type": (scaled("new"), "'new' is not supported"),
    "no factor": (scaled("yarn"), "rope_scaling.factor: missing"),
    "text": (scaled("linear", factor="4"), "rope_scaling.factor is '4', expected a number"),
    "zero": (scaled("linear", factor=0), "rope_scaling.factor is 0"),
    "NaN": (scaled("yarn", factor=math.nan), "rope_scaling.factor is nan"),
    "below 1": (scaled("yarn", factor=0.5), "expected a number from 1"),
    "betas": (scaled("yarn", **YARN, beta_fast=1.0, beta_slow=2.0), "at least beta_slow"),
    "llama3": (scaled("llama3", factor=8.0), "missing; rope type llama3 needs it"),
    "partial": (scaled("yarn", **YARN, partial_rotary_factor=0.5), "partial_rotary_factor is 0.5"),
    "two types": (
        scaled("yarn", rope_type="default", **YARN),
        "type 'yarn' but rope_type 'default",
    ),
    "by layers": (config(rope_parameters={"full_attention": {}}), "one scaling for all layers"),
    "no object": (config(rope_scaling=[1]), "rope_scaling is [1], expected an object"),
    "two thetas": (config(rope_parameters={"rope_theta": 5.0}), "rope_theta is 1000000.0 and"),
    "sections": (config(rope_scaling={"mrope_section": [1, 2]}), "mrope_section is [1, 2]"),
    "sum": (config(rope_scaling={"mrope_section": [1, 2, 3]}), "must sum to 64"),
}


@pytest.mark.parametrize("name", ROPES)
def test_rope_scaling_that_is_refused(name):
    refused(*ROPES[name])


REFUSED = {
    "activation": (config(hidden_act="xielu"), "hidden_act is 'xielu', expected 'silu'"),
    "vision activation": (config({"hidden_act": None}), "vision_config.hidden_act is None"),
    "sliding window": (
        config(use_sliding_window=True, sliding_window=512, max_window_layers=20),
        "use_sliding_window is true: layers from 20 on see 512 tokens only",
    ),
    "layer types": (config(layer_types=["sliding_attention"] * 28), "found sliding_attention"),
    "few layer types": (config(layer_types=["full_attention"] * 3), "each of 28 layers, found 3"),
    "GPTQ": (config(quantization_config={"quant_method": "gptq"}), "quantization_config (gptq)"),
    "no biases": (config(attention_bias=False), "attention_bias is False, expected True"),
    "biases": (config(mlp_bias=True), "mlp_bias is True, expected False"),
    "heads of another size": (config(head_dim=64), "head_dim is 64, expected hidden_size / heads"),
    "merge": (config({"spatial_merge_size": 4}), "vision_config.spatial_merge_size is 4"),
    "frames": (config({"temporal_patch_size": 1}), "vision_config.temporal_patch_size is 1"),
    "channels": (config({"in_channels": 4}), "vision_config.in_channels is 4"),
    "two patch sizes": (config({"spatial_patch_size": 16}), "expected patch_size, 14"),
    "vision rope": (config({"rope_parameters": {"rope_theta": 5.0}}), "with rope_theta 10000"),
    "window": (config({"window_size": 8}), "window_size 8 must hold"),
    "width": (config(hidden_size=3585), "hidden_size is 3585, expected a multiple of 2 x 28"),
    "vision width": (config({"hidden_size": 1288}), "vision_config.hidden_size is 1288"),
    "groups": (config(num_key_value_heads=5), "a multiple of num_key_value_heads 5"),
    "token": (config(image_token_id=152064), "image_token_id is 152064, expected less than"),
    "both layouts": (
        config(text_config={"hidden_size": 8}),
        "hidden_size is 3584 at the top and 8",
    ),
    "both ropes": (
        config(text_config={"rope_scaling": {"type": "linear", "factor": 2.0, **SECTION}}),
        "rope_scaling at the top and that of text_config differ",
    ),
    "no vision": ({k: v for k, v in HUB.items() if k != "vision_config"}, "no vision_config"),
    "no tower": (config() | {"vision_config": 5}, "vision_config is 5, expected an object"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_fields_that_are_refused(name):
    refused(*REFUSED[name])


ODD = (0, None, "8", [1], {}, True, math.nan, math.inf, -1, 10**12, 10**5000)
MAY_BE_NULL = {"num_key_value_heads", "rope_theta"}


@pytest.mark.parametrize(
    "name", [n for n in HUB if n not in ("vision_config", "tie_word_embeddings", "rope_scaling")]
)
def test_odd_values_of_the_decoder(name):
    for value in ODD:
        if value is not None or name not in MAY_BE_NULL:
            shown = "" if name == "model_type" else "expected a"
            refused(config(**{name: value}), f"{name} is", shown)


@pytest.mark.parametrize("name", HUB["vision_config"])
def test_odd_values_of_the_tower(name):
    for value in ODD:
        if name != "fullatt_block_indexes" or value not in ([1],):
            refused(config({name: value}), f"vision_config.{name} is", "expected")


def test_layouts_and_spellings_are_one_model():
    """The hub's, that of `transformers` 4.5x with both, and that of 5 with rope_parameters."""
    flat = Config.from_hf(HUB)
    text = {k: v for k, v in HUB.items() if k not in ("vision_config", "model_type")}
    both = config(text_config=text | {"model_type": "qwen2_5_vl_text"})
    newer = {k: v for k, v in text.items() if k not in ("rope_scaling", "rope_theta")}
    newer |= {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, **SECTION}}
    nested = {k: HUB[k] for k in ("model_type", "vision_config")} | {"text_config": newer}
    tower = HUB["vision_config"] | {"rope_parameters": {"rope_type": "axial", "rope_theta": 1e4}}
    for hf in (both, nested, nested | {"vision_config": tower}, config(num_key_value_heads=4)):
        assert Config.from_hf(hf) == flat
    assert Config.from_hf(config(num_key_value_heads=None)).text.num_key_value_heads == 28
    assert Config.from_hf(config(use_sliding_window=True, max_window_layers=28)) == flat


def test_an_unknown_field_warns_once_by_name(capsys):
    hf = config({"later": 1}, sparse_heads=4, text_config={"mixture": 2})
    hf["rope_scaling"] = HUB["rope_scaling"] | {"factor": 4.0}  # without a type that reads it
    for _ in range(3):
        assert Config.from_hf(hf, "unknown/config.json") == Config.from_hf(HUB)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all("unknown, so not applied: " in line for line in lines)
    assert lines[1].endswith("sparse_heads, text_config.mixture, vision_config.later")
    assert lines[0].endswith("rope_scaling: unknown, so not applied: factor")
    many = Config.from_hf(config(**{f"x{i}": i for i in range(40)}), "many/config.json")
    assert many == Config.from_hf(HUB)
    assert capsys.readouterr().err.endswith("x6, x7 and 32 more\n")
    Config.from_hf(config(auto_map={"AutoModel": "m.M"}), "code/config.json")
    assert "the model's own code is not run" in capsys.readouterr().err


def test_what_transformers_writes_is_known(capsys):
    """Of every release tried: the fields of a config that it writes itself do not warn."""
    from transformers import Qwen2_5_VLConfig

    whole = json.loads(Qwen2_5_VLConfig(**HUB).to_json_string(use_diff=False))
    part = json.loads(Qwen2_5_VLConfig(**HUB).to_json_string())
    for i, hf in enumerate((whole, part)):
        assert Config.from_hf(hf, f"{i}.json") == Config.from_hf(HUB)
    older = dict.fromkeys(("sliding_window", "attention_dropout", "use_cache", "torch_dtype"))
    older |= dict.fromkeys(("initializer_range", "vision_token_id", "_attn_implementation"))
    Config.from_hf(config({"in_chans": 3, "spatial_patch_size": 14}, **older), "older.json")
    assert capsys.readouterr().err == ""


def test_full_layers_beyond_the_tower(capsys):
    """As in the original: a layer that is not there is no full one. Small test models are so."""
    vision = Config.from_hf(config({"depth": 9}), "few/config.json").vision
    assert vision.fullatt_block_indexes == (7,) and vision.groups is None
    assert vision.runs == ((False, 7), (True, 1), (False, 1))
    assert "[15, 23, 31] are no layers of 9" in capsys.readouterr().err
    assert Config.from_hf(HUB).vision.groups == (4, 7)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[1]", "expected a JSON object, found list"),
        ("", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"model_type": ' + "9" * 5000 + "}", "not JSON"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1", "a pointer of Git LFS"),
        ('{"model_type": "qwen2"}', "a model of text only; supported: qwen2_5_vl"),
        ('{"model_type": ["x"]}', "no model type"),
        ("{}", "model_type None is not supported"),
    ],
)
def test_a_config_json_that_is_none(tmp_path, text, part):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError) as error:
        port_of(str(tmp_path))
    assert part in str(error.value) and str(tmp_path) in str(error.value)


def test_a_config_json_of_other_bytes(checkpoint, tmp_path):
    """A byte order mark is read over; what is not UTF-8 is no JSON."""
    text = (Path(checkpoint) / "config.json").read_bytes()
    (tmp_path / "config.json").write_bytes(b"\xef\xbb\xbf" + text)
    assert Config.load(str(tmp_path)) == Config.load(checkpoint)
    (tmp_path / "config.json").write_bytes(b"\xff\xfe" + text)
    with pytest.raises(InputError, match="not JSON"):
        Config.load(str(tmp_path))


def test_the_tables_do_not_overlap():
    """A field is honoured or means nothing, not both."""
    assert not fields.IRRELEVANT.keys() & (fields.TEXT.keys() | fields.VISION.keys())
    assert set(fields.IRRELEVANT.values()) == {
        "training only", "generation", "metadata", "implementation", "dtype", "code",
    }  # fmt: skip
    assert qwen2_5_vl.Config is Config
