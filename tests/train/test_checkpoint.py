"""Checkpoints of a mesh are read on a machine with another number of devices."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from r1reward_jax.sharding import make_mesh
from r1reward_jax.train.checkpoint import (
    DELETED,
    Checkpoints,
    digest,
    load_params,
    space_problem,
)
from r1reward_jax.types import InputError, TrainState
from tests.speed import FAST

READ = """
import sys, jax, jax.numpy as jnp
from r1reward_jax.train.checkpoint import load_params
assert len(jax.devices()) == 1
found = load_params(sys.argv[1], {"a": {"kernel": jax.ShapeDtypeStruct((8, 8), jnp.float32)}})
assert (found["a"]["kernel"] == jnp.arange(64.0).reshape(8, 8)).all()
"""


def test_eight_devices_write_and_one_reads(tmp_path):
    mesh = make_mesh(1, 8, 1)
    params = {"a": {"kernel": jnp.arange(64.0).reshape(8, 8)}}
    params = jax.device_put(params, NamedSharding(mesh, P("fsdp")))
    step = jax.device_put(jnp.int32(3), NamedSharding(mesh, P()))
    with Checkpoints(str(tmp_path), every=1, keep=1) as checkpoints:
        checkpoints.save(TrainState(step, params, {"moments": params}))
    environment = os.environ | {"XLA_FLAGS": FAST, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", READ, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(InputError, match="another model"):
        load_params(str(tmp_path), {"a": {"kernel": jax.ShapeDtypeStruct((8, 9), jnp.float32)}})
    with pytest.raises(InputError, match="no checkpoint"):
        load_params(str(tmp_path / "empty"), {})


RESUMES = """
import sys
from tests.train.test_checkpoint import resume_on
resume_on((1, 1, 1), sys.argv[1])
"""


def placed(sizes, value):
    """A state with split parameters and moments on a mesh of some shape."""
    mesh = make_mesh(*sizes)
    over = lambda x, *axes: jax.device_put(x, NamedSharding(mesh, P(*axes)))  # noqa: E731
    params = {"a": over(value * jnp.arange(64.0).reshape(8, 8), "fsdp", "tensor")}
    return TrainState(over(jnp.int32(value * 3)), params, {"a": over(params["a"], "fsdp")})


def resume_on(sizes, folder):
    """Restore what `placed` saved from 8 devices, and save it once more."""
    like = placed(sizes, 0)
    with Checkpoints(folder, every=1, keep=9) as checkpoints:
        found = checkpoints.restore(like)
        assert found is not None and int(found.step) >= 3
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(like), strict=True):
            assert one.sharding == other.sharding
        assert (found.params["a"] == jnp.arange(64.0).reshape(8, 8)).all()
        assert (found.opt_state["a"] == found.params["a"]).all()
        checkpoints.save(found._replace(step=found.step + 1))


def test_a_run_resumes_on_a_mesh_of_another_shape(tmp_path):
    with Checkpoints(str(tmp_path), every=1, keep=9) as checkpoints:
        checkpoints.save(placed((1, 8, 1), 1))
    for sizes in ((2, 2, 2), (8, 1, 1), (1, 1, 8)):
        resume_on(sizes, str(tmp_path))
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", RESUMES, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert steps(tmp_path) == [3, 4, 5, 6, 7]


ABSTRACT = {"a": jax.ShapeDtypeStruct((300, 400), jnp.float32)}


def state(step, value):
    return TrainState(jnp.int32(step), {"a": jnp.full((300, 400), value)}, {"b": jnp.zeros(3)})


def save(folder, scores, keep=2):
    with Checkpoints(str(folder), every=1, keep=keep) as checkpoints:
        for step, score in enumerate(scores, 1):
            checkpoints.save(state(step, step / 7), score)


def steps(folder):
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())


def restore(folder):
    with Checkpoints(str(folder), every=1, keep=2) as checkpoints:
        return checkpoints.restore(state(0, 0.0))


def largest_file(folder):
    return max((f for f in folder.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)


def flip_a_bit(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


DAMAGES = {
    "bit": lambda folder: flip_a_bit(largest_file(folder)),
    "cut": lambda folder: os.truncate(largest_file(folder), 100),
    "empty": lambda folder: os.truncate(largest_file(folder), 0),
    "missing": lambda folder: largest_file(folder).unlink(),
    "no digest": lambda folder: shutil.rmtree(folder / "digest"),
    "score": lambda folder: (folder / "metrics" / "metrics").write_text(""),
    "digest": lambda folder: (folder / "digest" / "metadata").write_text('{"params/a": 1}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_passed_over_and_set_aside(damage, tmp_path, capfd):
    save(tmp_path, [0.1, 0.2, 0.3])
    DAMAGES[damage](tmp_path / "3")
    if damage != "score":  # parameters do not depend on it
        with pytest.raises(InputError, match="3: the checkpoint is damaged"):
            load_params(str(tmp_path), ABSTRACT)
    found = restore(tmp_path)
    assert int(found.step) == 2 and (found.params["a"] == jnp.float32(2 / 7)).all()
    said = capfd.readouterr()
    assert "3 is damaged" in said.err and "Traceback" not in said.err
    assert damage == "score" or "resuming from checkpoint 2" in said.out
    assert steps(tmp_path) == [2] and (tmp_path / "damaged_3").exists()
    save(tmp_path, [0.1] * 3)  # the number is free again
    assert int(restore(tmp_path).step) == 3


def test_nothing_is_restored_silently_where_all_are_damaged(tmp_path):
    save(tmp_path, [None] * 3)
    for step in steps(tmp_path):
        DAMAGES["cut"](tmp_path / str(step))
    with pytest.raises(InputError, match="no checkpoint can be read"):
        restore(tmp_path)
    assert steps(tmp_path) == [2, 3]  # nothing was thrown away
    assert restore(tmp_path / "new") is None


def test_the_newest_and_the_best_are_kept(tmp_path):
    save(tmp_path, [0.5, 0.9, 0.7, None, 0.8])
    assert steps(tmp_path) == [2, 4, 5]
    values = {which: load_params(str(tmp_path), ABSTRACT, step=which) for which in ("best", 4)}
    assert float(values["best"]["a"][0, 0]) == pytest.approx(2 / 7)
    assert float(values[4]["a"][0, 0]) == pytest.approx(4 / 7)
    with pytest.raises(InputError, match="no checkpoint 3; there are 2, 4, 5"):
        load_params(str(tmp_path), ABSTRACT, step=3)
    save(tmp_path, [None] * 7)  # known from the disk, not from memory
    assert steps(tmp_path) == [2, 6, 7]


def test_what_a_killed_save_or_deletion_left_is_removed(tmp_path):
    save(tmp_path, [None] * 2)
    left = [tmp_path / "3.orbax-checkpoint-tmp-1", tmp_path / DELETED / "1"]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "half").write_text("x")
    assert int(restore(tmp_path).step) == 2
    assert not any(folder.exists() for folder in left)


def test_the_digest_sees_every_bit_and_no_mesh():
    x = jax.random.normal(jax.random.key(0), (8, 16))
    plain = digest({"x": x, "y": x.astype(jnp.bfloat16), "z": jnp.arange(8) > 3})
    assert list(plain) == ["x", "y", "z"]
    mesh = make_mesh(2, 4, 1)
    for spec in (P("fsdp"), P(None, "fsdp"), P("data", "fsdp"), P()):
        split = jax.device_put(x, NamedSharding(mesh, spec))
        assert digest({"x": split})["x"] == plain["x"]
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    for bit in range(32):
        other = jax.lax.bitcast_convert_type(
            bits.at[5, 3].set(bits[5, 3] ^ jnp.uint32(1 << bit)), x.dtype
        )
        assert digest({"x": other})["x"] != plain["x"]
    assert digest({"x": x[::-1]})["x"] != plain["x"]  # the same numbers in other places
    assert digest({"x": -0.0 * jnp.ones(2)}) != digest({"x": 0.0 * jnp.ones(2)})


def test_a_disk_that_is_too_small_is_told_of_before_the_first_update(tmp_path, monkeypatch):
    """Of 1 GiB of parameters, half of them trained, a checkpoint takes 2 GiB."""
    half = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (2**27,), (0,))
    params, room = {"visual": half, "layers": half}, {"frozen": ("visual",), "keep": 2}
    usage = lambda free: lambda _: SimpleNamespace(free=free * 2**30)  # noqa: E731
    monkeypatch.setattr(shutil, "disk_usage", usage(8.9))
    problem = space_problem(str(tmp_path), params, **room)
    assert problem and "8.9 GiB left; 4 checkpoints and the export take about 9.0 GiB" in problem
    assert space_problem("gs://bucket/run", params, **room) is None
    monkeypatch.setattr(shutil, "disk_usage", usage(9.0))
    assert space_problem(str(tmp_path), params, **room) is None
    monkeypatch.setattr(shutil, "disk_usage", usage(0))
    (tmp_path / "checkpoints").mkdir()  # a run that resumes has taken its room already
    assert space_problem(str(tmp_path), params, **room) is None
