"""Load what `RewardModel` asks, from a folder and plain arguments.

`build` does not serve here: a config's mesh takes all devices, and the two rows of one comparison
cannot be split over them.
"""

import functools
import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from r1reward_jax.inference.pairwise import Reasoner
from r1reward_jax.inference.scalar import ScalarModel
from r1reward_jax.inference.settings import ModelSettings
from r1reward_jax.models import reward_head
from r1reward_jax.responses import ANSWER
from r1reward_jax.rollout.engine import Engine
from r1reward_jax.rollout.sampler import SamplerConfig
from r1reward_jax.sharding import BATCH, param_shardings, put_batch, slot_shardings
from r1reward_jax.types import InputError

SHORTEST = 64
"""Tokens, and patches, of the smallest size that prompts and images are padded to."""
IMAGES = (1, 2, 4, 8)
"""Images that a prompt is padded to; temporal patches (two frames each) of a video count."""
COMPACT = 4
"""Factor by which the number of rows falls when the last prompts of a batch run: few sizes, few
compilations."""


def load_comparing(
    port: Any,
    folder: str,
    settings: ModelSettings,
    longest: int,
    rows: tuple[int, int],
    dtype: Any,
    mesh: Mesh,
) -> Reasoner | ScalarModel:
    """Load a model with everything that it takes to compare two responses.

    Args:
      port: the package of the model's family.
      folder: a Hugging Face folder.
      settings: how the model is asked.
      longest: tokens of the longest prompt.
      rows: the most and the fewest rows that run together.
      dtype: of parameters and forward pass.
      mesh: where it runs.
    """
    place = lambda tree: param_shardings(tree, port.RULES, mesh)  # noqa: E731
    vision = port.Config.load(folder).vision
    cell = (vision.patch_size * vision.spatial_merge_size) ** 2  # pixels of a visual token
    patches = 4 * max(1, settings.max_pixels // cell)  # four of them make a visual token
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
        return ScalarModel(
            model,
            params,
            processor,
            sizes=rows,
            capacities=sizes.tokens,
            knob="max_prompt_tokens",
            compute_dtype=dtype,
            put_batch=put,
        )
    sampler = SamplerConfig(
        samples=1,
        max_new_tokens=settings.max_new_tokens,
        eos_ids=processor.eos_ids,
        pad_id=processor.pad_id,
        banned_ids=processor.banned_ids,
        vocab_size=len(processor.tokenizer),
        unroll=False,
        compute_dtype=dtype,
        answers=tuple(processor.token_id(label) for label in ANSWER.labels),
    )
    engine = Engine(
        model,
        processor,
        sampler,
        slots=rows[0],
        prefill_batch=rows[1],
        compact=COMPACT,
        put_batch=put,
        slot_shardings=functools.partial(slot_shardings, mesh=mesh),
        param_shardings=place(params),
    )
    return Reasoner(engine, params, settings.wording)


def rows_of(batch_size: int, mesh: Mesh) -> tuple[int, int]:
    """Return the most and the fewest rows that run together.

    Raises:
      InputError: the batch size is no number of at least 1, or cannot be split over the mesh.
    """
    if type(batch_size) is not int or batch_size < 1:
        raise InputError(f"batch_size {batch_size!r}: expected a number of at least 1")
    rows, ways = 2 * batch_size, mesh.shape["data"] * mesh.shape["fsdp"]
    if rows % ways:
        raise InputError(
            f"batch_size {batch_size}: its {rows} rows (two orders each) cannot be split over "
            f"{ways} devices, the mesh's data x fsdp; choose batch_size or mesh so that they can"
        )
    return rows, math.lcm(2, ways)


def _ladder(last: int, factor: int) -> tuple[int, ...]:
    """Return sizes that grow by a factor up to the last one: few of them, so few compilations."""
    sizes, size = [], SHORTEST
    while size < last:
        sizes.append(size)
        size *= factor
    return (*sizes, last)


def dtype_of(dtype: Any) -> Any:
    """Return the dtype of the forward pass. Raises InputError for one that is not of floats."""
    if dtype is None:
        return jnp.dtype(jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16)
    try:
        found = jnp.dtype(dtype)
    except TypeError:
        found = None
    if found is None or not jnp.issubdtype(found, jnp.floating):
        raise InputError(f"dtype {dtype!r}: expected float32, bfloat16 or float16")
    return found
