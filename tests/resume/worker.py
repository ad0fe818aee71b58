"""A run that kills itself: `python -m tests.resume.worker PLACE COUNT DELAY ARGUMENTS…`.

At the COUNT-th time that the run comes to PLACE, a thread waits DELAY seconds and sends SIGKILL to
the process, which goes on meanwhile. PLACE "never" lets it run.
"""

import os
import signal
import sys
import threading
import time

from r1reward_jax import quickstart
from r1reward_jax.cli.main import main
from r1reward_jax.evals.journal import Journal
from r1reward_jax.judge import pending as scoring
from r1reward_jax.rollout.engine import Engine
from r1reward_jax.runs import run_dir as folder
from r1reward_jax.train import rl as loop
from r1reward_jax.train import supervised as fit
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.setup import Policy

PLACES = {
    "claim": (folder, "_claim"),
    "making": (quickstart, "_make_data"),
    "base_models": (quickstart, "make_checkpoint"),
    "supervised": (fit, "put_batch"),  # cold start and judge, before each update
    "rollout": (Engine, "generate"),
    "judge": (scoring.PendingJudgements, "probabilities"),
    "update": (loop, "update"),
    "save": (Checkpoints, "save"),
    "export": (Policy, "save"),
    "report": (quickstart, "_show"),
    "judgement": (Journal, "write"),  # of an evaluation
}


def arm(place: str, count: int, delay: float) -> None:
    owner, name = PLACES[place]
    real, seen = getattr(owner, name), 0

    def wrapped(*args, **kwargs):
        nonlocal seen
        seen += 1
        if seen == count:
            print(f"killed in {place}, time {count}, {delay:.3f} s later", flush=True)
            threading.Thread(target=kill, args=(delay,), daemon=True).start()
        return real(*args, **kwargs)

    setattr(owner, name, wrapped)


def kill(delay: float) -> None:
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    place, count, delay, *arguments = sys.argv[1:]
    if place != "never":
        arm(place, int(count), float(delay))
    sys.exit(main(arguments))
