"""Device meshes and where arrays live on them. A mesh is made once and passed, never global."""

import math
import re
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from r1reward_jax.rollout.slots import Slots
from r1reward_jax.types import InputError

AXES = ("data", "fsdp", "tensor")
BATCH = P(("data", "fsdp"))
"""Batch rows are split over both data-parallel axes."""


def make_mesh(data: int, fsdp: int, tensor: int, devices: Sequence[Any] | None = None) -> Mesh:
    """Return a mesh with the axes data, fsdp and tensor; one of the sizes may be -1, all remaining
    devices.

    Raises:
      InputError: the sizes do not multiply to the number of devices.
    """
    devices = list(devices or jax.devices())
    sizes = _sizes(data, fsdp, tensor, len(devices))
    return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def remesh(mesh: Mesh, data: int, fsdp: int, tensor: int) -> Mesh:
    """Return another mesh over the devices of one, in their order: a jitted function may take
    arrays from the one to the other.

    Raises:
      InputError: the sizes do not multiply to the number of devices.
    """
    sizes = _sizes(data, fsdp, tensor, mesh.size)
    return Mesh(mesh.devices.reshape(sizes), AXES, axis_types=(AxisType.Auto,) * 3)


def _sizes(data: int, fsdp: int, tensor: int, count: int) -> list[int]:
    """Return the sizes for so many devices, with the remaining ones in the place of a -1."""
    sizes = [data, fsdp, tensor]
    if sizes.count(-1) == 1:
        known = -data * fsdp * tensor
        sizes[sizes.index(-1)] = max(1, count // max(1, known))
    asked = f"mesh {dict(zip(AXES, (data, fsdp, tensor), strict=True))}"
    if min(sizes) < 1:
        raise InputError(f"{asked}: expected sizes of 1 or more, at most one of them -1")
    if math.prod(sizes) != count:
        raise InputError(
            f"{asked} needs {math.prod(sizes)} devices, there are {count}; set the mesh's data, "
            "fsdp and tensor"
        )
    return sizes


def param_shardings(abstract: Any, rules: Sequence[tuple[str, P]], mesh: Mesh) -> Any:
    """Return the sharding of every parameter: the first rule whose pattern matches its path.

    Raises:
      InputError: a path without a rule, or an axis that its mesh axis does not divide.
    """

    def one(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        spec = next((spec for pattern, spec in rules if re.search(pattern, name)), None)
        if spec is None:
            raise InputError(f"no sharding rule for parameter {name}")
        for size, axis in zip(leaf.shape, spec, strict=False):
            if axis is not None and size % mesh.shape[axis]:
                raise InputError(
                    f"parameter {name} {leaf.shape}: {size} cannot be split over "
                    f"mesh axis {axis} of {mesh.shape[axis]}"
                )
        return NamedSharding(mesh, spec)

    return jax.tree_util.tree_map_with_path(one, abstract)


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding of arrays that every device has whole."""
    return NamedSharding(mesh, P())


def row_ways(mesh: Mesh) -> int:
    """Return the number of devices that rows are split over, data x fsdp."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def require_rows(mesh: Mesh, sizes: dict[str, int]) -> None:
    """Raise InputError unless batches of these sizes, by the names of their knobs, can be split."""
    ways = row_ways(mesh)
    wrong = [f"{name}={size}" for name, size in sizes.items() if size % ways]
    if wrong:
        raise InputError(
            f"{', '.join(wrong)}: expected multiples of {ways}, the devices that rows are split "
            "over (mesh.data x mesh.fsdp)"
        )


def require_heads(mesh: Mesh, heads: int) -> None:
    """Raise InputError unless the tensor axis divides a model's heads."""
    tensor = mesh.shape["tensor"]
    if heads % tensor:
        raise InputError(
            f"mesh.tensor={tensor}: expected a divisor of the model's {heads} attention heads"
        )


def put_batch(batch: Any, mesh: Mesh) -> Any:
    """Put host arrays on the devices, rows split over the data-parallel axes.

    Raises:
      InputError: the rows cannot be split evenly.
    """
    ways = row_ways(mesh)
    rows = jax.tree.leaves(batch)[0].shape[0]
    if rows % ways:
        raise InputError(
            f"a batch of {rows} rows cannot be split over {ways} devices (data x fsdp)"
        )
    return jax.device_put(batch, NamedSharding(mesh, BATCH))


def slot_shardings(slots: Slots, mesh: Mesh) -> Slots:
    """Return where the state of the sampler lives: caches split by rows, and by heads where the
    tensor axis divides them; what the host reads is replicated.

    Args:
      slots: shapes.
      mesh: of the policy.

    Raises:
      InputError: the rows cannot be split evenly.
    """
    ways, tensor = row_ways(mesh), mesh.shape["tensor"]
    count, heads = slots.hidden.shape[0], slots.cache.k.shape[2]
    if count % ways:
        raise InputError(f"rollout.slots {count} cannot be split over {ways} devices (data x fsdp)")
    cache = NamedSharding(mesh, P(None, *BATCH, "tensor" if heads % tensor == 0 else None))
    everywhere = jax.tree.map(lambda _: replicated(mesh), slots)
    split = dict.fromkeys(("prompt_k", "prompt_v", "k", "v"), cache)
    return everywhere._replace(
        hidden=NamedSharding(mesh, BATCH), cache=everywhere.cache._replace(**split)
    )
