"""The Python API: load an exported (or a hub) model and ask which of two responses is better.

    model = RewardModel.from_pretrained("runs/rl/exported")
    print(model.compare("What is on the table?", "photo.jpg", "A cup.", "A cat."))

The parts are put together here from plain arguments, not by `train.build`: a config's mesh takes
all devices, and two rows cannot be split over them. Only its defaults are read.
"""

import functools
import os
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from PIL import Image

from r1reward_jax.configs import default  # pyright: ignore[reportMissingImports] (see setup.py)
from r1reward_jax.evals.compare import Comparison, Opinion, Reasoner, Scorer
from r1reward_jax.models import port_of, reward_head
from r1reward_jax.models.images import open_image
from r1reward_jax.prompts import TEMPLATES
from r1reward_jax.rollout.engine import Engine
from r1reward_jax.rollout.sampler import SamplerConfig
from r1reward_jax.train.mesh import BATCH, make_mesh, param_shardings, put_batch, slot_shardings
from r1reward_jax.train.settings import ModelSettings
from r1reward_jax.types import InputError, PreferenceRecord, VideoPart

__all__ = ["Comparison", "Opinion", "RewardModel"]

SHORTEST = 64
"""Tokens, and patches, of the smallest size that prompts and images are padded to."""
IMAGES = (1, 2, 4, 8)
"""Of a prompt; temporal patches (two frames each) of a video among them."""


class RewardModel:
    """A loaded model. Calls of like size (tokens, images) share their compiled programs."""

    def __init__(self, judge: Reasoner | Scorer, settings: ModelSettings):
        """Use `from_pretrained`."""
        self._judge = judge
        self.settings = settings
        """How the model is asked."""

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike,
        *,
        template: str | None = None,
        max_pixels: int | None = None,
        max_new_tokens: int | None = None,
        video_rule: str | None = None,
        max_prompt_tokens: int | None = None,
        dtype: Any = None,
        mesh: Mesh | None = None,
    ) -> "RewardModel":
        """Load a Hugging Face folder: a reasoning model, or a scalar one if it has a reward head.

        What is not given comes from the folder's r1reward.json, which every export of this package
        has, else from the paper's defaults (configs/default.py).

        Args:
          path: the folder.
          template: wording of the prompts, a name in `prompts.TEMPLATES`.
          max_pixels: larger images are shrunk.
          max_new_tokens: longest completion.
          video_rule: where text goes on behind a video, "max" or "side".
          max_prompt_tokens: longest prompt, visual tokens included. Longer ones are refused,
            shorter ones pay little for it.
          dtype: of parameters and forward pass; bfloat16 on accelerators and float32 on CPU.
          mesh: a `train.mesh.make_mesh` whose data x fsdp is 1 or 2 (the two orders); the default
            is one device.

        Raises:
          InputError: not such a folder, or a setting that makes no sense.
        """
        folder, defaults = os.fspath(path), default.get_config()
        port = port_of(folder)
        given = {
            "template": template,
            "max_pixels": max_pixels,
            "max_new_tokens": max_new_tokens,
            "video_rule": video_rule,
        }
        settings = ModelSettings.load(folder) or ModelSettings.of(defaults)
        settings = replace(settings, **{k: v for k, v in given.items() if v is not None})
        longest = max(defaults.buckets.tokens) if max_prompt_tokens is None else max_prompt_tokens
        if longest < 1:
            raise InputError(f"max_prompt_tokens {longest}: expected at least 1")
        mesh = mesh or make_mesh(1, 1, 1, devices=jax.local_devices()[:1])
        judge = _load(port, folder, settings, longest, _dtype(dtype), mesh)
        return cls(judge, settings)

    def compare(
        self,
        question: str,
        images: Any,
        a: str,
        b: str,
        *,
        video: VideoPart | None = None,
    ) -> Comparison:
        """Judge two responses to a question, greedily and in both orders.

        Args:
          question: about the images.
          images: one, or a list of them: a path, encoded bytes or a PIL image; [] for none.
          a: a response.
          b: the other one.
          video: comes behind the images.

        Raises:
          InputError: an image that cannot be read, a text that is empty, or a prompt that is too
            long.
        """
        for name, text in {"question": question, "a": a, "b": b}.items():
            _require_text(name, text)
        seen = read_images(images)
        return self._judge.compare(PreferenceRecord("", question, (a, b), None, seen, video))


def _load(
    port: Any, folder: str, settings: ModelSettings, longest: int, dtype: Any, mesh: Mesh
) -> Reasoner | Scorer:
    """Put the parts together.

    Args:
      port: of the model.
      folder: a Hugging Face folder.
      settings: how it is asked.
      longest: tokens of a prompt.
      dtype: of parameters and forward pass.
      mesh: where it runs.
    """
    place = lambda tree: param_shardings(tree, port.RULES, mesh)  # noqa: E731
    vision = port.Config.load(folder).vision
    cell = (vision.patch_size * vision.spatial_merge_size) ** 2
    patches = 4 * max(1, settings.max_pixels // cell)
    sizes = port.Buckets(_ladder(longest, 2), IMAGES, _ladder(patches, 4))
    asked = {"max_pixels": settings.max_pixels, "video_rule": settings.video_rule}
    processor = port.Processor(folder, sizes, **asked)
    model, params = port.load(folder, dtype, place)
    model, put = (
        replace(model, rows=NamedSharding(mesh, BATCH)),
        functools.partial(put_batch, mesh=mesh),
    )
    if reward_head.has_head(folder):
        params = reward_head.load_head(folder, model, params)
        return Scorer(model, params, processor, dtype=dtype, put_batch=put)
    sampler = SamplerConfig(
        samples=1,
        max_new_tokens=settings.max_new_tokens,
        eos_ids=processor.eos_ids,
        pad_id=processor.pad_id,
        banned_ids=processor.banned_ids,
        vocab_size=len(processor.tokenizer),
        unroll=False,
        compute_dtype=dtype,
    )
    slots = functools.partial(slot_shardings, mesh=mesh)
    engine = Engine(
        model,
        processor,
        sampler,
        rows=2,
        refill=2,
        put_batch=put,
        place=slots,
        layout=place(params),
    )
    return Reasoner(engine, params, TEMPLATES[settings.template])


def _ladder(last: int, factor: int) -> tuple[int, ...]:
    """Sizes that grow by a factor up to the last one: few of them, so few compilations."""
    sizes, size = [], SHORTEST
    while size < last:
        sizes.append(size)
        size *= factor
    return (*sizes, last)


def _dtype(dtype: Any) -> Any:
    """The dtype of the forward pass. Raises InputError for what is none of floats."""
    if dtype is None:
        return jnp.dtype(jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16)
    try:
        found = jnp.dtype(dtype)
    except TypeError:
        found = None
    if found is None or not jnp.issubdtype(found, jnp.floating):
        raise InputError(f"dtype {dtype!r}: expected float32, bfloat16 or float16")
    return found


def read_images(images: Any) -> tuple[Image.Image, ...]:
    """One image or several, opened once for both orders.

    Raises:
      InputError: one cannot be read, there are too many, or it is something else.
    """
    kinds = (str, os.PathLike, bytes, Image.Image)
    found = [images] if isinstance(images, kinds) else images
    if not isinstance(found, (list, tuple)) or not all(isinstance(i, kinds) for i in found):
        raise InputError(
            "images: expected a path, bytes or a PIL image, or a list of them ([] for none), not "
            f"{type(images).__name__}"
        )
    if len(found) > max(IMAGES):
        raise InputError(f"{len(found)} images: expected at most {max(IMAGES)}")
    return tuple(open_image(image) for image in found)


def _require_text(name: str, text: Any) -> None:
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{name} is empty or not a string ({text!r}); expected a text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: not valid Unicode ({error}); expected UTF-8 text") from None
