"""Errors that are no mistakes in what was given: memory, and folders that go away."""

import argparse
import errno
import os

import pytest

from r1reward_jax.cli import main as module
from r1reward_jax.cli.faults import HOST, SMALLER, explained, memory_problem
from r1reward_jax.cli.main import VERBS, main
from r1reward_jax.config import items, load
from r1reward_jax.errors import InputError

XLA = {
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12884901888 bytes.": "12884901888",
    "RESOURCE_EXHAUSTED: Error allocating device buffer: Attempting to allocate 2.50G. That was "
    "not possible. There are 1.11G free.": "2.50G",
    "INTERNAL: Failed to allocate 1.5GiB for new constant": "1.5GiB",
    "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory space hbm. "
    "Used 17.20G of 15.48G hbm.": "",
}


@pytest.mark.parametrize("text", XLA)
@pytest.mark.parametrize("verb", ["sft", "rl", "scalar-rm", "evaluate", "compare", "quickstart"])
def test_a_device_without_memory_is_one_line_with_the_knobs_that_help(text, verb):
    problem = memory_problem(RuntimeError(text), verb)
    assert problem and "the devices have too little memory" in problem and "\n" not in problem
    assert SMALLER[verb][0] in problem
    assert (f"{XLA[text]}" in problem) if XLA[text] else "asked for" not in problem


def test_the_knobs_that_are_named_are_knobs():
    known = [path for path, _ in items(load("quickstart"))]
    for verb, names in [*SMALLER.items(), *HOST.items()]:
        assert verb in VERBS
        for name in names:
            knob = name.split("=")[0].split(" ")[0]
            if "." in knob and "*" not in knob:
                assert knob in known, knob


def test_memory_of_the_machine_and_errors_within_errors():
    problem = memory_problem(MemoryError("Unable to allocate 9.31 GiB for an array"), "rl")
    assert problem and "the machine has too little memory (9.31 GiB" in problem
    assert "data.threads" in problem
    try:
        try:
            raise MemoryError
        except MemoryError:
            raise RuntimeError("a thread failed")  # noqa: B904
    except RuntimeError as error:
        assert memory_problem(error, "sft")
    assert memory_problem(ValueError("anything else"), "rl") is None
    full = 'RESOURCE_EXHAUSTED: Error writing "/d/run/manifest": No space left on device'
    assert memory_problem(RuntimeError(full), "rl") is None  # a disk, not the devices


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: of memory")])
def test_no_traceback_reaches_the_user(error, monkeypatch, capsys):
    def run(args):
        raise error

    monkeypatch.setattr(module, "parsed", lambda verb, given: argparse.Namespace(run=run))
    assert main(["rl"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "too little memory" in said and "same command resumes" in said


def test_a_run_whose_folder_goes_away_says_so(tmp_path):
    args = argparse.Namespace(overrides=[f"workdir={tmp_path}/run"])
    lost = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{tmp_path}/run/x.jsonl")
    code, message = explained(lost, "rl", args, debug=False)
    assert code == 2 and message and message.startswith(f"{tmp_path}/run: the run's folder is gone")
    (tmp_path / "run").mkdir()
    assert explained(lost, "rl", args, debug=False) == (None, None)  # something else is missing
    assert explained(lost, "report", args, debug=False) == (None, None)
    wrong = InputError("x")
    assert explained(wrong, "rl", args, debug=False) == (2, "x")


@pytest.mark.parametrize(
    "error",
    [
        ValueError(
            'RESOURCE_EXHAUSTED: Error writing "/runs/a/ocdbt": failed to write: '
            "[OS error 28: ENOSPC No space left on device]"
        ),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/a/metrics.jsonl"),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "/runs/a/metrics.jsonl"),
    ],
)
def test_a_full_disk_is_no_lack_of_memory(error):
    args = argparse.Namespace(overrides=["workdir=/runs/a"])
    code, message = explained(error, "sft", args, debug=True)
    assert code == 2 and message and "make room; the same command resumes" in message
    assert "memory" not in message and message.startswith("/runs/a")
