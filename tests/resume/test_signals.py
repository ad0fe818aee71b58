"""Signals at random moments of real processes: each ends the run, and its end is the same."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from r1reward_jax import stopping
from tests.cli.test_main import SMALL, files  # noqa: F401
from tests.speed import FAST

COMMAND = [
    *(sys.executable, "-c"),
    "from r1reward_jax.cli.terminal import command_line; command_line()",
]
"""As the script that pip writes."""
HEARS = [
    *(sys.executable, "-c"),
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    "os.execv(sys.argv[1], sys.argv[1:])",
]
"""What a shell starts with `&` ignores Ctrl-C, and so does what that starts."""
SIGNALS = int(os.environ.get("SIGNALS", "12"))
"""Of each verb."""


def command(verb, folder, checkpoint, data):
    shared = [*SMALL, f"workdir={folder}/run", f"model.path={checkpoint}"]
    held = [f"data.heldout={data}/heldout.jsonl", "eval.records=2"]
    more = {
        "sft": [f"data.train={data}/sft.jsonl", "sft.steps=24", "checkpoint.updates=8", *held],
        "rl": [f"data.train={data}/rl.jsonl", "rl.iterations=5", "checkpoint.iterations=2", *held],
        "evaluate": [f"eval.benchmark={data}/heldout.jsonl", "eval.samples=1"],
    }
    return [*COMMAND, verb, *shared, *more[verb]]


def run(call, after=None, number=signal.SIGTERM):
    """The exit code and what was said; a signal is sent `after` seconds."""
    environment = os.environ | {"XLA_FLAGS": FAST}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*HEARS, *call], env=environment, **pipes) as child:
        if after is not None:
            try:
                child.wait(after)
            except subprocess.TimeoutExpired:
                child.send_signal(number)
        out, err = child.communicate(timeout=240)
    return child.returncode, out + err


def end(folder: Path) -> dict[str, str]:
    """Hashes of what a run leaves, but for times."""
    names = [
        "exported/*.safetensors",
        "judgements.jsonl",
        "rollouts/*",
        "checkpoints/*/*/digest/metadata",
    ]
    found = {str(p.relative_to(folder)): p for n in names for p in sorted(folder.glob(n))}
    return {name: hashlib.sha256(p.read_bytes()).hexdigest() for name, p in found.items()}


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["sft", "rl", "evaluate"])
def test_random_signals(verb, files, checkpoint, tmp_path):  # noqa: F811
    rng, sent, saved, chain = random.Random(verb), 0, 0, 0
    code, said = run(command(verb, tmp_path / "first", checkpoint, files))  # fills the caches
    assert code == 0, said
    began = time.monotonic()
    code, said = run(command(verb, tmp_path / "whole", checkpoint, files))
    lasts, whole = time.monotonic() - began, end(tmp_path / "whole" / "run")
    assert code == 0 and whole and end(tmp_path / "first" / "run") == whole, said
    while sent < SIGNALS:
        chain += 1
        call = command(verb, tmp_path / str(chain), checkpoint, files)
        for _ in range(3):
            number = rng.choice(stopping.SIGNALS)
            code, said = run(call, rng.uniform(0.5, lasts), number)
            # a signal that comes behind the last save finds nothing to end; while the
            # interpreter is taken down, it does what it does to any process
            done = {0, -number} if "report: " in said else {0}
            assert code in {128 + number, *done}, (code, said)
            assert "Traceback" not in said and "Exception ignored" not in said, said
            sent, saved = sent + (code != 0), saved + ("saving and ending" in said)
            word = signal.Signals(number).name
            print(f"{verb}, run {chain}: {word}, exit code {code}")
            if code == 0:
                break
        code, said = run(call)
        assert code == 0, said
        folder = tmp_path / str(chain) / "run"
        assert end(folder) == whole
        assert not list(folder.glob("checkpoints/*/deleted"))
    print(f"{verb}: {sent} signals in {chain} runs, {saved} of them saved; all ends are the same")
