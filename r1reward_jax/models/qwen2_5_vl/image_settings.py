"""The settings of a folder's image and video processors: honoured, or refused by name."""

from typing import Any

from etils import epath
from transformers import Qwen2VLImageProcessorPil

from r1reward_jax.model_folder import read_json
from r1reward_jax.models.qwen2_5_vl.config import VisionConfig
from r1reward_jax.models.qwen2_5_vl.fields import (
    IRRELEVANT,
    Rule,
    check,
    fail,
    number,
    once,
    one_of,
    optional,
    unknown,
    whole,
)
from r1reward_jax.types import InputError

SMALLEST, LARGEST = 56 * 56, 28 * 28 * 1280
"""Pixels where a folder says nothing, as in `transformers`."""
PIXELS = whole(1, 2**28)


def _colours(low: float) -> Rule:
    """Return the rule of one number for each of red, green and blue."""
    one = number(low, 1e3)
    right = lambda v: isinstance(v, list) and len(v) == 3 and not any(map(one, v))  # noqa: E731
    return lambda v: None if right(v) else f"a list of three numbers from {low:g} to 1000"


YES = optional(one_of(True))  # null: as the family does
RULES = {
    "min_pixels": optional(PIXELS),
    "max_pixels": optional(PIXELS),
    "size": optional(lambda v: None if isinstance(v, dict) else "an object"),
    "image_mean": optional(_colours(-1e3)),
    "image_std": optional(_colours(1e-3)),
    "resample": optional(whole(0, 5)),
    "rescale_factor": optional(number(1 / 255 - 1e-9, 1 / 255 + 1e-9)),
    "do_resize": YES,
    "do_rescale": YES,
    "do_normalize": YES,
    "do_convert_rgb": YES,
    "do_center_crop": optional(one_of(False)),
    "do_pad": optional(one_of(False)),
    "temporal_patch_size": optional(one_of(2)),
    "merge_size": optional(one_of(2)),
    "patch_size": optional(whole(1, 1024)),
}
SIZE_RULES: dict[str, Rule] = dict.fromkeys(
    ["shortest_edge", "longest_edge", "min_pixels", "max_pixels"], optional(PIXELS)
)
UNUSED = {
    *("image_processor_type", "video_processor_type", "feature_extractor_type", "processor_class"),
    *("data_format", "input_data_format", "device", "return_tensors", "disable_grouping"),
    *("default_to_square", "crop_size", "pad_size", "size_divisor", "image_seq_length"),
    *("return_metadata", "video_metadata", "do_sample_frames", "fps", "num_frames", "min_frames"),
    *("max_frames", "video_backend", "use_fast", "backend"),
}
"""How arrays are handed over, and which frames of a video are taken, which is chosen elsewhere."""


def family_processor(
    folder: str, kind: str, max_pixels: int | None, config: VisionConfig
) -> Qwen2VLImageProcessorPil:
    """Return the family's image processor with the settings of a folder; videos fall back on those
    of images.

    Args:
      folder: a Hugging Face folder.
      kind: image_processor or video_processor.
      max_pixels: a smaller limit; None for the folder's.
      config: of the tower that the patches are for.

    Raises:
      InputError: a file is missing or cannot be read, a setting is out of range, or not one that
        is built here.
    """
    stored, where = _settings(folder, kind)
    check(stored, RULES, f"{where}: ")
    size = stored.get("size") or {}
    check(size, SIZE_RULES, f"{where}: size.")
    unknown(
        [k for k in stored if k not in RULES.keys() | UNUSED | IRRELEVANT.keys()]
        + [f"size.{k}" for k in size if k not in SIZE_RULES],
        where,
    )
    if stored.get("auto_map"):
        once(f"{where}: auto_map: the model's own code is not run")
    # newer releases write the limits as edges of `size`, though they are still numbers of pixels
    smallest = stored.get("min_pixels") or size.get("shortest_edge") or size.get("min_pixels")
    largest = stored.get("max_pixels") or size.get("longest_edge") or size.get("max_pixels")
    smallest, largest = smallest or SMALLEST, largest or LARGEST
    if smallest > largest:
        fail(f"{where}: min_pixels", smallest, f"at most max_pixels, {largest:,}")
    limit = min(largest, max_pixels or largest)
    if smallest > limit:
        fail(f"{where}: min_pixels", smallest, f"at most the model.max_pixels of {limit:,}")
    if (stored.get("patch_size") or config.patch_size) != config.patch_size:
        fail(f"{where}: patch_size", stored["patch_size"], f"the model's, {config.patch_size}")
    colours = {
        k: stored[k] for k in ("image_mean", "image_std", "resample") if stored.get(k) is not None
    }
    return Qwen2VLImageProcessorPil(
        min_pixels=smallest, max_pixels=limit, patch_size=config.patch_size, **colours
    )


def _settings(folder: str, kind: str) -> tuple[dict[str, Any], str]:
    """Return the settings in a folder's files and what messages call them: `transformers` 5 writes
    one file for all processors, older releases one each."""
    root = epath.Path(folder)
    both = root / "processor_config.json"
    parts = read_json(both) if both.exists() else {}
    files = {
        "image_processor": root / "preprocessor_config.json",
        "video_processor": root / "video_preprocessor_config.json",
    }
    for name in (kind, "image_processor"):
        if name in parts:
            if not isinstance(parts[name], dict):
                fail(f"{both}: {name}", parts[name], "an object")
            return parts[name], f"{both}: {name}"
        if files[name].exists():
            return read_json(files[name]), str(files[name])
    raise InputError(
        f"{files['image_processor']}: not found, and no processor_config.json either; expected a "
        "Hugging Face Qwen2.5-VL folder"
    )
