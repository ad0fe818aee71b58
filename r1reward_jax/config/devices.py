"""What a config needs of the devices that there are; plain arithmetic, without JAX."""

import math
from collections.abc import Callable

from ml_collections import ConfigDict

from r1reward_jax.config.rules import WITH_RL, meshes


def device_problems(
    config: ConfigDict, verb: str, devices: int, processes: int = 1, heads: int | None = None
) -> list[str]:
    """Return what does not fit the devices.

    Args:
      config: checked otherwise.
      verb: that will run.
      devices: how many there are, of all processes together.
      processes: how many there are.
      heads: attention heads of the policy; None if they are not known.
    """
    c = config
    own = c.judge.devices if c.judge.path or verb == "quickstart" else 0
    if own and (own >= devices or processes > 1):
        return [
            f"judge.devices {own}: expected fewer than the {devices} devices of one process; "
            "across processes a judge shares all (0), or is served and reached by judge.url"
        ]
    sizes, policy = meshes(config), devices - own
    if not any(sizes["rollout.mesh"].values()):
        sizes["rollout.mesh"] = sizes["mesh"]
    with_judge = verb == "quickstart" or (verb == "rl" and c.judge.path)
    wrong = _split_problems("mesh", sizes["mesh"], policy, _rows(config, verb))
    if not wrong and heads and heads % (tensor := _tensor(sizes["mesh"], policy)):
        wrong.append(
            f"mesh.tensor={tensor}: expected a divisor of the model's {heads} attention heads"
        )
    if verb in (*WITH_RL, "evaluate") or (verb == "sft" and c.data.heldout and c.eval.records):
        rows = {"rollout.slots": c.rollout.slots}
        wrong += _split_problems("rollout.mesh", sizes["rollout.mesh"], policy, rows)
    if with_judge:
        rows = {"judge.batch": c.judge.batch}
        wrong += _split_problems("judge.mesh", sizes["judge.mesh"], own or devices, rows)
    return list(dict.fromkeys(wrong))


def _rows(config: ConfigDict, verb: str) -> dict[str, int]:
    """The batches whose rows are split over the policy's mesh."""
    c = config
    found: dict[str, Callable[[], dict[str, int]]] = {
        "sft": lambda: {"sft.batch": c.sft.batch},
        "rl": lambda: {"rl.train_batch": c.rl.train_batch},
        "scalar-rm": lambda: {"scalar.batch": c.scalar.batch},
        "quickstart": lambda: {
            "sft.batch": c.sft.batch,
            "tiny_judge.batch": c.tiny_judge.batch,
            "rl.train_batch": c.rl.train_batch,
        },
    }
    return found[verb]() if verb in found else {}


def _split_problems(
    name: str, mesh: dict[str, int], devices: int, rows: dict[str, int]
) -> list[str]:
    """Return what is wrong with a mesh over so many devices, and with batches that are split over
    it."""
    sizes = {axis: size for axis, size in mesh.items() if size != -1}
    known = math.prod(sizes.values())
    rest = max(1, devices // known) if len(sizes) < len(mesh) else 1
    if known * rest != devices:
        return [
            f"{name} {mesh} needs {known * rest} devices, there are {devices}; set the mesh's "
            "data, fsdp and tensor"
        ]
    ways = devices // _tensor(mesh, devices)
    wrong = [f"{path}={size}" for path, size in rows.items() if size % ways]
    if not wrong:
        return []
    return [
        f"{', '.join(wrong)}: expected multiples of {ways}, the devices that rows are split over "
        f"({name}.data x {name}.fsdp)"
    ]


def _tensor(mesh: dict[str, int], devices: int) -> int:
    """The size of the tensor axis, if it is the rest of the devices, too."""
    if mesh["tensor"] != -1:
        return mesh["tensor"]
    return devices // (mesh["data"] * mesh["fsdp"])
