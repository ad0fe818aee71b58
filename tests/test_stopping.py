"""Signals: they end the process, and never by an exception inside whatever runs."""

import signal
import subprocess
import sys
from concurrent.futures import Future

import pytest

from r1reward_jax import stopping
from r1reward_jax.stopping import Stopped

LISTEN = """
import gc, os, sys, time
from r1reward_jax import stopping
stopping.listen()
stopping.introduce("r1reward sft", "; the same command resumes")
"""
LOOP = """
stopping.hold()
print("ready", flush=True)
for n in range(10**9):
    time.sleep(0.01)
    {look}
"""
SAVES = """try:
        stopping.check()
    except stopping.Stopped as stopped:
        print("saved", flush=True)
        {save}
        sys.exit(128 + stopped.number)"""


def process(body: str) -> subprocess.Popen:
    command = [sys.executable, "-c", LISTEN + body]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, **pipes)


def line_of(child: subprocess.Popen) -> str:
    assert child.stdout
    return child.stdout.readline().strip()


@pytest.mark.parametrize("number", stopping.SIGNALS)
@pytest.mark.parametrize(
    "busy",
    [
        "time.sleep(60)",
        "import os\nreading, writing = os.pipe()\nos.read(reading, 1)",
        "while True: pass",
        # what swallowed the exception of a handler before
        "def f(*_):\n    while True: pass\ngc.callbacks.append(f)\ngc.collect()",
        "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
    ],
    ids=["sleep", "read", "loop", "gc", "lock"],
)
def test_where_nothing_is_unsaved_the_process_ends_at_once(number, busy):
    with process(f"print('ready', flush=True)\n{busy}") as child:
        assert line_of(child) == "ready"
        child.send_signal(number)
        _, said = child.communicate(timeout=30)
    assert child.returncode == 128 + number
    assert said == f"r1reward sft: {stopping.WORDS[number]}; the same command resumes\n"


def test_a_loop_that_holds_work_saves_first():
    look = SAVES.format(save="pass")
    with process(LOOP.format(look=look)) as child:
        assert line_of(child) == "ready"
        child.send_signal(signal.SIGTERM)
        out, said = child.communicate(timeout=30)
    assert (child.returncode, out) == (143, "saved\n")
    assert said.startswith("SIGTERM: saving and ending") and "Traceback" not in said


@pytest.mark.parametrize("ends", ["signal", "grace"])
def test_a_save_that_hangs_is_ended_by_a_second_signal_or_by_time(ends):
    look = SAVES.format(save="time.sleep(60)")
    grace = "stopping.GRACE_S = 0.2\n" if ends == "grace" else ""
    with process(grace + LOOP.format(look=look)) as child:
        assert line_of(child) == "ready"
        child.send_signal(signal.SIGINT)
        assert line_of(child) == "saved"
        if ends == "signal":
            child.send_signal(signal.SIGTERM)
        _, said = child.communicate(timeout=30)
    assert child.returncode == (143 if ends == "signal" else 130)
    assert ("not ended within 0 s" in said) == (ends == "grace")


def test_work_that_is_saved_meanwhile_ends_the_run_when_it_is_released():
    with process(
        "stopping.hold()\nprint('ready', flush=True)\ninput()\nstopping.release()"
    ) as child:
        assert line_of(child) == "ready"
        child.send_signal(signal.SIGTERM)
        assert child.stderr and "saving" in child.stderr.readline()
        _, said = child.communicate("\n", timeout=30)
    assert "stopping.Stopped: SIGTERM" in said


def test_signals_that_the_shell_ignores_stay_ignored():
    """`nohup` and `&` of a script."""
    ignored = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    command = [sys.executable, "-c", ignored + LISTEN + "os.kill(os.getpid(), 2)\nprint('lives')"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "lives\n")


def test_waiting_for_a_future_looks_at_the_flag(monkeypatch):
    done: Future[int] = Future()
    done.set_result(3)
    assert stopping.result(done) == 3
    monkeypatch.setattr(stopping._State, "asked", int(signal.SIGTERM))
    with pytest.raises(Stopped, match="SIGTERM"):
        stopping.result(Future())


def test_whoever_catches_errors_does_not_catch_the_end():
    assert not issubclass(Stopped, Exception)
