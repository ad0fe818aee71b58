"""Checkpoints of a mesh are read on a machine with another number of devices."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from r1reward_jax.train.checkpoint import Checkpoints, load_params
from r1reward_jax.train.mesh import make_mesh
from r1reward_jax.types import InputError, TrainState

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
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", READ, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(InputError, match="another model"):
        load_params(str(tmp_path), {"a": {"kernel": jax.ShapeDtypeStruct((8, 9), jnp.float32)}})
    with pytest.raises(InputError, match="no checkpoint"):
        load_params(str(tmp_path / "empty"), {})
