"""Load safetensors straight into (sharded) device arrays, layer by layer.

A process reads only the slices that its devices own; beside the parameters, no more than one
layer's tensor, or a quarter of a GiB of a larger one, is in memory at a time.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding
from safetensors import SafetensorError, safe_open

from r1reward_jax.console import progress
from r1reward_jax.errors import about
from r1reward_jax.model_folder import weight_files
from r1reward_jax.models import checksums
from r1reward_jax.models.qwen2_5_vl.config import Config
from r1reward_jax.models.qwen2_5_vl.model import Model
from r1reward_jax.models.qwen2_5_vl.weights import hub_names
from r1reward_jax.types import InputError, Params

PIECE_BYTES = 2**28
"""Larger tensors are read piece by piece."""
BUFFERS = ("rotary_emb.inv_freq", "rotary_pos_emb.inv_freq", "position_ids", "masked_bias")
"""Ends of names that older releases of `transformers` saved though they are no parameters: the
config says what they hold."""
EMBEDDING = "model.embed_tokens.weight"
DTYPES = {"F32": jnp.float32, "BF16": jnp.bfloat16, "F16": jnp.float16}


def load(
    folder: str,
    dtype: Any = None,
    place: Callable[[Params], Any] | None = None,
    *,
    with_vision: bool = True,
) -> tuple[Model, Params]:
    """Read a Qwen2.5-VL folder.

    Args:
      folder: a Hugging Face folder: config.json and *.safetensors.
      dtype: of the parameters; None keeps the stored one.
      place: from the tree of shapes to the tree of shardings (leading layer axes are never
        split); None puts everything on the default device.
      with_vision: False leaves the vision tower on disk, for prompts of text.

    Raises:
      InputError: no such folder, another model type, or tensors that are missing, left over, of
        another shape or not finite, all of them in one message; or a damaged export.
    """
    config = Config.load(folder)
    model, tensors = Model(config, with_vision), _open(folder)
    if not with_vision:
        tensors = {n: t for n, t in tensors.items() if not n.startswith("visual.")}
    abstract = model.abstract_params()
    shapes = flatten_dict(abstract, sep="/")
    _check(folder, config, shapes, tensors)
    # each process hashes its share of the files, beside reading its slices of them
    share = weight_files(folder)[jax.process_index() :: jax.process_count()]
    with checksums.verified(share):
        params = _read_all(config, tensors, abstract, dtype, place)
    with about(folder):
        _require_finite(config, params)
    return model, unflatten_dict(params, sep="/")


def _read_all(
    config: Config,
    tensors: dict[str, Any],
    abstract: Params,
    dtype: Any,
    place: Callable[[Params], Any] | None,
) -> dict[str, jax.Array]:
    """Return the parameters by their paths; arguments as in `load`."""
    shapes = flatten_dict(abstract, sep="/")
    here = SingleDeviceSharding(jax.local_devices()[0])
    shardings: dict[str, Any] = (
        flatten_dict(place(abstract), sep="/") if place else dict.fromkeys(shapes, here)
    )
    params = {}
    for path, leaf in progress(shapes.items(), "loading", len(shapes)):
        names = hub_names(config, path)
        stored = [tensors[n] for n in ([names] if isinstance(names, str) else names)]
        # layers of different dtypes share the one that holds them all
        kept = jnp.result_type(*{DTYPES[s.get_dtype()] for s in stored})
        wanted = jnp.dtype(dtype or kept)
        one = functools.partial(_read, path, sharding=_inner(shardings[path], names), dtype=wanted)
        if isinstance(names, str):
            params[path] = one(stored[0], shape=leaf.shape)
            continue
        value = _zeros(leaf.shape, wanted, shardings[path])
        for i, part in enumerate(stored):
            value = _put(shardings[path])(value, one(part, shape=leaf.shape[1:]), i)
        params[path] = value
    return params


def _require_finite(config: Config, params: dict[str, jax.Array]) -> None:
    """Raise InputError naming the tensors that hold NaN or infinity."""
    stacked = frozenset(p for p in params if not isinstance(hub_names(config, p), str))
    found = _finite(stacked)(params)
    wrong = []
    for path in params:
        names, right = hub_names(config, path), np.atleast_1d(np.asarray(found[path]))
        named = [names] if isinstance(names, str) else names
        wrong += [name for name, one in zip(named, right, strict=True) if not one]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise InputError(
            f"{len(wrong)} of the model's tensors hold numbers that are not finite (NaN or so), "
            f"so its outputs would mean nothing: {', '.join(wrong[:5])}{more}; is the file damaged?"
        )


@functools.lru_cache
def _finite(stacked: frozenset[str]) -> Callable:
    """Return a function from parameters to whether all numbers of each are finite; for each layer
    of the stacked ones."""
    axes = lambda path, x: tuple(range(1 if path in stacked else 0, x.ndim))  # noqa: E731
    return jax.jit(
        lambda params: {p: jnp.isfinite(x).all(axis=axes(p, x)) for p, x in params.items()}
    )


def _inner(sharding: Any, names: str | Sequence[str]) -> Any:
    """Return the sharding of one layer of a stacked parameter."""
    if isinstance(names, str) or not isinstance(sharding, NamedSharding):
        return sharding
    return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]))


def _zeros(shape: tuple[int, ...], dtype: Any, sharding: Any) -> jax.Array:
    return _zeros_of(shape, dtype, sharding)()


@functools.lru_cache
def _zeros_of(shape: tuple[int, ...], dtype: Any, sharding: Any) -> Callable:
    return jax.jit(lambda: jnp.zeros(shape, dtype), out_shardings=sharding)


@functools.lru_cache
def _put(sharding: Any) -> Callable:
    """Return a function (stack, layer, index) -> stack with that layer, in place."""
    return jax.jit(
        lambda stack, layer, i: jax.lax.dynamic_update_index_in_dim(stack, layer, i, 0),
        donate_argnums=0,
        out_shardings=sharding,
    )


def _read(path: str, stored: Any, *, shape: tuple, sharding: Any, dtype: Any) -> jax.Array:
    """Return one tensor in our layout; each device's part is read on its own."""

    @functools.lru_cache(maxsize=1)  # devices that hold the same part share one reading
    def read(*bounds: tuple[int, int]) -> np.ndarray:
        index: Any = tuple(slice(*b) for b in bounds)
        with np.errstate(over="ignore"):  # infinity is looked for when all is read
            return cast(index)

    def cast(index: Any) -> np.ndarray:
        if path.endswith("patch_embed/kernel"):
            value = stored[index[1]]
            return value.reshape(value.shape[0], -1).T[index[0]].astype(dtype)
        if path.endswith("kernel"):
            return stored[index[1], index[0]].T.astype(dtype)
        return stored[index if len(index) > 1 else index[0]].astype(dtype)

    def part(device: Any, index: Any) -> jax.Array:
        bounds = [s.indices(n)[:2] for s, n in zip(index, shape, strict=True)]
        (start, stop), rest = bounds[0], bounds[1:]
        row = int(np.prod([b - a for a, b in rest])) * dtype.itemsize
        rows = max(1, PIECE_BYTES // row)
        if stop - start <= rows:
            return jax.device_put(read(*bounds), device)
        place = SingleDeviceSharding(device)
        value = _zeros((stop - start, *(b - a for a, b in rest)), dtype, place)
        for at in range(start, stop, rows):
            piece = read.__wrapped__((at, min(at + rows, stop)), *rest)  # too large to keep
            value = _put_rows(place)(value, jax.device_put(piece, device), at - start)
        return value

    parts = sharding.addressable_devices_indices_map(shape)
    in_turn = sorted(parts.items(), key=lambda item: str(item[1]))  # equal parts side by side
    arrays = [part(device, index) for device, index in in_turn]
    return jax.make_array_from_single_device_arrays(shape, sharding, arrays)


@functools.lru_cache
def _put_rows(sharding: Any) -> Callable:
    """Return a function (array, rows, start) -> array with these rows, in place."""
    return jax.jit(
        lambda array, rows, start: jax.lax.dynamic_update_slice_in_dim(array, rows, start, 0),
        donate_argnums=0,
        out_shardings=sharding,
    )


def _open(folder: str) -> dict[str, Any]:
    """Return handles of a folder's tensors by hub name, whatever prefix they were saved with."""
    tensors, twice = {}, []
    for file in weight_files(folder):
        try:
            handle = safe_open(os.fspath(file), "numpy")
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file}: cannot be read ({error}); is it complete?") from None
        for stored in handle.keys():  # noqa: SIM118
            name = _hub_name(stored)
            if name.endswith(BUFFERS):
                continue
            twice += [f"{name} (again in {file.name})"] if name in tensors else []
            tensors[name] = handle.get_slice(stored)
    if twice:
        raise InputError(
            f"{folder}: tensors that are stored twice: {', '.join(twice[:5])}; is a file left over?"
        )
    return tensors


def _hub_name(name: str) -> str:
    name = name.replace("model.language_model.", "model.", 1)
    return name.removeprefix("model.") if name.startswith("model.visual.") else name


def _check(folder: str, config: Config, shapes: dict[str, Any], tensors: dict[str, Any]) -> None:
    """Raise InputError unless names, shapes and dtypes are those of the config."""
    problems, used = [], set()
    for path, leaf in shapes.items():
        names = hub_names(config, path)
        expected = leaf.shape if isinstance(names, str) else leaf.shape[1:]
        for name in [names] if isinstance(names, str) else names:
            used.add(name)
            if name not in tensors:
                problems.append(f"missing {name}")
                continue
            found = _our_shape(path, tuple(tensors[name].get_shape()))
            if found != expected:
                problems.append(f"{name} is {found}, expected {expected} (as [in, out])")
            if tensors[name].get_dtype() not in DTYPES:
                problems.append(f"{name} is of dtype {tensors[name].get_dtype()}")
    tied = {"lm_head.weight"} if config.text.tie_word_embeddings else set()
    if tied & set(tensors) and not _equal(tensors["lm_head.weight"], tensors.get(EMBEDDING)):
        problems.append(
            f"lm_head.weight differs from {EMBEDDING}, though tie_word_embeddings is true"
        )
    problems += [f"unexpected {n}" for n in sorted(set(tensors) - used - tied)]
    if problems:
        shown = "; ".join(problems[:20]) + (" …" if len(problems) > 20 else "")
        raise InputError(f"{folder}: {len(problems)} tensors do not fit the config: {shown}")


def _equal(one: Any, other: Any) -> bool:
    """Return whether two stored matrices are equal; they are read piece by piece."""
    if other is None or one.get_shape() != other.get_shape() or len(one.get_shape()) != 2:
        return False
    count, width = one.get_shape()
    rows = max(1, PIECE_BYTES // (4 * width))
    pieces = (slice(at, min(at + rows, count)) for at in range(0, count, rows))
    return all(np.array_equal(one[piece], other[piece]) for piece in pieces)


def _our_shape(path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if path.endswith("patch_embed/kernel"):
        return (int(np.prod(shape[1:])), shape[0])
    return shape[::-1] if path.endswith("kernel") else shape
