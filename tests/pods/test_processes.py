"""Several processes, one machine: they never diverge, and only one of them asks the judge."""

import json
import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest

from r1reward_jax.data.preferences import write_records
from tests.judge.test_remote import (
    server,  # noqa: F401 (a fixture)
    truth,
)
from tests.pods.worker import evaluate, work
from tests.speed import FAST


def run_processes(count: int, **given: str) -> list[dict]:
    """What each of them prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given |= {"processes": str(count), "port": str(port)}
    options = [word for name, value in given.items() for word in (f"--{name}", value)]
    command = [sys.executable, "-m", "tests.pods.worker", *options]
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count=2 {FAST}"}
    environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # of programs for another topology
    processes = [
        subprocess.Popen(
            [*command, "--rank", str(rank)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        outputs = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors
    return [json.loads(out.splitlines()[-1]) for out, _ in outputs]


@pytest.fixture(scope="module")
def benchmark(world, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("pods") / "pairs.jsonl")
    write_records(path, world[1]["heldout"][:6])
    return path


def judgements(workdir) -> list[str]:
    """Lines of an evaluation, without what is rounded."""
    rows = [json.loads(x) for x in (workdir / "judgements.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if "probabilities" not in k} for row in rows]


def test_two_processes_work_like_one(checkpoint, server, benchmark, tmp_path):  # noqa: F811
    """Rollout and judges; and an evaluation, of which the first process has five lines already."""
    server.latency = 0.02
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    expected = work(checkpoint, url)
    assert sorted(server.seen) == list(range(9)) and set(server.seen.values()) == {1}
    evaluate(checkpoint, benchmark, str(tmp_path / "one"))
    lines = (tmp_path / "one" / "judgements.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "two").mkdir()
    shutil.copy(tmp_path / "one" / "run.json", tmp_path / "two" / "run.json")
    (tmp_path / "two" / "judgements.jsonl").write_text("".join(lines[:5]))
    where = {"benchmark": benchmark, "workdir": str(tmp_path / "two")}
    first, second = run_processes(2, folder=checkpoint, url=url, **where)
    assert judgements(tmp_path / "two") == judgements(tmp_path / "one")
    assert first == second and first["devices"] == 4 and expected["devices"] == 8
    assert set(server.seen.values()) == {2}  # one of the two processes asked, once for each
    assert first["texts"] == expected["texts"]  # whatever is refilled when
    np.testing.assert_allclose(first["logp"], expected["logp"], atol=1e-4)
    assert first["ended"] != sorted(first["ended"])
    for place, (here, there) in first["answers"].items():
        np.testing.assert_allclose((here, there), expected["answers"][place], atol=1e-5)
        assert abs(there - truth(int(place))) < 1e-6
