"""What an exception that ends a command means to whoever typed it: an exit code and one line."""

import argparse
import os
import re
import sys
import threading

from r1reward_jax.errors import DISK_MESSAGES, DivergedError, InputError, chain, disk_problem

RESUMED = ("quickstart", "sft", "rl", "scalar-rm", "evaluate")
"""Verbs whose runs can be resumed."""
RESUME = "; the same command resumes from the last checkpoint"
EXHAUSTED = re.compile(r"RESOURCE_EXHAUSTED|\bout of memory\b|failed to allocate", re.IGNORECASE)
"""What XLA and its allocators say where a device, or the host, has too little memory."""
ASKED = re.compile(
    r"(?:allocat\w*|requested|need)\D{0,40}?([\d.]+ ?(?:[KMGT]i?B?\b|bytes))", re.IGNORECASE
)
_STEP = ("step.micro_tokens", "step.chunk", "step.remat=true", "buckets.*")
_SAMPLER = ("rollout.slots", "rollout.prefill_batch", "rollout.parallel_samples")
_SHARD = ("mesh.fsdp (more devices)",)
SMALLER = {
    "sft": ("sft.batch", *_STEP, *_SAMPLER[:2], *_SHARD),
    "rl": (*_SAMPLER, "rollout.max_new_tokens", "rl.train_batch", *_STEP, "judge.batch", *_SHARD),
    "scalar-rm": ("scalar.batch", *_STEP, *_SHARD),
    "evaluate": (*_SAMPLER, "rollout.max_new_tokens", "eval.samples", "buckets.*", *_SHARD),
    "quickstart": (*_SAMPLER, "rl.train_batch", "sft.batch", *_STEP),
    "parity": (*_SAMPLER[:2], "rollout.max_new_tokens", *_STEP),
    "compare": ("--max-new-tokens", "--max-prompt-tokens", "fewer or smaller images"),
    "bench": ("--batch", "--prompt", "--slots"),
    "convert": ("--dtype bfloat16",),
}
"""What makes each verb need less memory on the devices, the most likely first."""
HOST = {
    "sft": ("data.threads", "sft.batch", "model.max_pixels", "data.video_frames"),
    "rl": ("data.threads", "rl.rollout_batch", "model.max_pixels", "data.video_frames"),
    "scalar-rm": ("data.threads", "scalar.batch", "model.max_pixels", "data.video_frames"),
    "evaluate": ("data.threads", "rollout.slots", "model.max_pixels", "data.video_frames"),
    "quickstart": ("data.threads", "rl.rollout_batch", "world.*_records"),
}
"""What makes each verb need less memory of the machine itself."""


def explained(
    error: Exception, verb: str, args: argparse.Namespace, *, debug: bool
) -> tuple[int | None, str | None]:
    """Return the exit code and the message of an error; None for a fault of ours, which ends with
    its traceback.

    Args:
      error: that ends the command.
      verb: of the command.
      args: as parsed; empty if the mistake is in them.
      debug: tracebacks are shown anyway.
    """
    if isinstance(error, InputError):
        return 2, str(error)
    if isinstance(error, DivergedError):
        return 3, str(error)
    more = RESUME if verb in RESUMED else ""
    problem = disk_problem(error)
    # a full disk is RESOURCE_EXHAUSTED, too, where checkpoints are written
    if problem is None and (less := memory_problem(error, verb)):
        return 2, f"{less}{more}"
    if gone := _gone(error, verb, args):
        return 2, gone
    if problem is None:
        return None, None
    if not debug:  # the threads that still wanted to write need not report the same again
        threading.excepthook = sys.unraisablehook = lambda _: None
    if not problem.startswith(("/", ".")):
        problem = f"{_workdir(args) or 'workdir'}: {problem}"
    return 2, f"{problem}{more}"


def memory_problem(error: BaseException, verb: str) -> str | None:
    """Return a line about memory that was too little, with the knobs that help and how much was
    asked for, if XLA says so; None if something else is wrong."""
    for each in chain(error):
        host = isinstance(each, MemoryError)
        # a full disk is "RESOURCE_EXHAUSTED", too, where the writer of checkpoints meets it
        full = any(words in str(each) for words in DISK_MESSAGES)
        if not host and (full or not EXHAUSTED.search(str(each))):
            continue
        asked = ASKED.search(str(each))
        size = f" ({asked[1]} were asked for)" if asked else ""
        table, where = (HOST, "the machine has") if host else (SMALLER, "the devices have")
        knobs = table.get(verb, ())
        less = f"make smaller: {', '.join(knobs)}" if knobs else "take a machine with more"
        return f"{where} too little memory{size}; {less}"
    return None


def _gone(error: BaseException, verb: str, args: argparse.Namespace) -> str | None:
    """Return a line about the folder of a run that was there and is not any more."""
    if verb not in RESUMED:
        return None
    missing = [e.filename for e in chain(error) if isinstance(e, FileNotFoundError) and e.filename]
    places = [_workdir(args), *(os.path.dirname(os.fsdecode(f)) for f in missing)]
    gone = [place for place in places if place and "://" not in place and not os.path.isdir(place)]
    if not missing or not gone:
        return None
    return (
        f"{gone[0]}: the run's folder is gone, renamed or removed while it ran; what was saved is "
        "where the folder is now: the same command with that workdir resumes"
    )


def _workdir(args: argparse.Namespace) -> str:
    """Return the workdir as far as the command line gives it."""
    given = getattr(args, "overrides", [])
    return [*(o.partition("=")[2] for o in given if o.startswith("workdir=")), ""][0]
