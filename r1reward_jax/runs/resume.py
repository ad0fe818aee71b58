"""What may change between two starts of a run in one folder, and what that means for its numbers.

A folder refuses only what changes the numbers of its run. Everything else is accepted, said, and
noted in `run.json`. A knob that no table names is refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from r1reward_jax import config as configs
from r1reward_jax.config.renamed import RENAMED

_REQUESTS = (
    *("judge.api_key_env", "judge.concurrency", "judge.timeout_s", "judge.retries"),
    *("judge.backoff_s", "judge.budget_s", "judge.pause_share", "judge.pause_s", "judge.probe_s"),
)
SERVER = ("judge.url", *_REQUESTS)
SAMPLER = (
    *("rollout.slots", "rollout.prefill_batch", "rollout.compact", "rollout.parallel_samples"),
)
MEMORY = ("step.chunk", "step.micro_tokens", "step.remat", "rollout.unroll", "judge.batch")
GUARDS = ("rl.max_gap", "optimizer.max_skipped", "judge.required")
NOTHING = "no number of the run depends on it"
DEVICES = ("mesh.*", "rollout.mesh.*", "judge.mesh.*", "judge.devices")
ROUNDING = "sums over devices are taken in another order; what follows may differ in rounding"
MAY_CHANGE = (
    (("data.threads", "data.outside", "wandb", "profile_step", "checkpoint.keep"), NOTHING),
    (GUARDS, f"{NOTHING}: it only says when to stop or to warn"),
    (("data.train",), "the numbers are the same: the file must have the same hash"),
    (
        ("data.skip_unreadable",),
        "the numbers are the same unless an image became unreadable since: then other records are "
        "drawn from here on",
    ),
    (
        SERVER,
        "the numbers are the same where the same judge model gives the same answers; a pair that "
        "gets no answer earns no consistency reward",
    ),
    (
        ("eval.records", "data.heldout", "checkpoint.updates", "checkpoint.iterations"),
        "training is the same; which checkpoints are measured, or on which records, and so which "
        "is best, changes",
    ),
    (SAMPLER, "samples do not depend on it, but may differ in rounding"),
    (MEMORY, "sums are taken in another order; what follows may differ in rounding"),
)
"""Patterns of knobs that may change in every run, and what that means for exactness."""
VOTES = "votes that eval.stop ends early may be more or fewer; others may differ in rounding"
OF_VERB = {
    "evaluate": (SAMPLER, VOTES),
    # their trainings of these updates measure no checkpoint
    "scalar-rm": (("checkpoint.updates",), NOTHING),
    "quickstart": (("checkpoint.updates",), NOTHING),
}
"""Patterns of knobs whose change means something else in one verb."""

LENGTHS = {
    "sft": "sft.steps",
    "rl": "rl.iterations",
    "scalar-rm": "scalar.steps",
    "quickstart": "rl.iterations",
}
"""The knob of each verb that may grow."""
LONGER = (
    "the learning-rate schedule is now that of the longer run, from here on; the steps before had "
    "that of the shorter one, so the end differs from that of a run that was as long from its start"
)

_MADE = ("world.*", "teacher.*", "tiny.*", "tiny_judge.*")
_BENCHMARK = (
    *("eval.benchmark", "eval.data", "eval.stop", "eval.response_format", "eval.generation"),
)
_VOTES = ("eval.samples", "eval.temperature")
UNREAD = {
    "sft": (
        *("rl.*", "judge.*", "scalar.*", "checkpoint.iterations"),
        *(*_BENCHMARK, *_VOTES, *_MADE),
    ),
    "rl": ("sft.*", "scalar.*", "checkpoint.updates", *_BENCHMARK, *_VOTES, *_MADE),
    "scalar-rm": (
        *("sft.*", "rl.*", "judge.*", "rollout.*", "eval.*", "checkpoint.iterations"),
        *("data.heldout", "prompt_from", *_MADE),
    ),
    "evaluate": (
        *("sft.*", "rl.*", "judge.*", "optimizer.*", "step.*", "checkpoint.*", "eval.records"),
        *("scalar.steps", "scalar.batch", "scalar.lr", "scalar.head", "model.freeze_vision"),
        *("data.train", "data.heldout", "wandb", "profile_step", *_MADE),
    ),
    "quickstart": (
        *("scalar.*", "model.path", "judge.path", "judge.model", *_REQUESTS),
        *("data.train", "data.heldout", "data.video_fps", "data.video_frames", *_BENCHMARK),
        "prompt_from",
    ),
}
"""Patterns of knobs that a verb does not read."""


@dataclass(frozen=True)
class Change:
    """A knob that differs from the last start."""

    knob: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.knob}: {self.old} -> {self.new}"


def matches(knob: str, patterns: Iterable[str]) -> bool:
    """Return whether one of the patterns names a knob."""
    return any(fnmatchcase(knob, pattern) for pattern in patterns)


def differences(
    old: dict[str, Any], new: dict[str, Any], defaults: dict[str, Any] | None = None
) -> list[Change]:
    """Return what differs between two configs, in the order of names; knobs of earlier versions
    count under their names of today.

    Args:
      old: as `run.json` has it.
      new: as given now.
      defaults: what a knob that `old` lacks had, as the version of then had no such knob.
    """
    before, after = flat(old), flat(new)
    before = {RENAMED.get(k, k) if RENAMED.get(k, k) in after else k: v for k, v in before.items()}
    before = {k: v for k, v in flat(defaults or {}).items() if k in after} | before
    return [
        Change(name, before.get(name), after.get(name))
        for name in sorted(before | after)
        if before.get(name) != after.get(name)
    ]


def defaults_of(verb: str) -> dict[str, Any]:
    """Return the values of all knobs of a verb where its config does not set them."""
    return configs.load("quickstart" if verb == "quickstart" else "default").to_dict()


def exactness(change: Change, verb: str) -> str | None:
    """Return what an accepted change means for the numbers of the run; None for a change that is
    to be refused.

    Args:
      change: of a knob.
      verb: of the run, by its name of today.
    """
    if matches(change.knob, DEVICES):  # every verb lays out the meshes of all
        return ROUNDING
    if matches(change.knob, UNREAD.get(verb, ())):
        return f"`{verb}` does not read it"
    if change.knob == "judge.url" and bool(change.old) != bool(change.new):
        return None  # a judge appears or disappears, and the consistency reward with it
    for patterns, means in (OF_VERB.get(verb, ((), "")), *MAY_CHANGE):
        if matches(change.knob, patterns):
            return means
    if change.knob == LENGTHS.get(verb) and _is_more(change):
        return LONGER
    return None


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a config with one entry per knob, such as `rl.lr`."""
    found = {}
    for name, value in config.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value
    return found


def _is_more(change: Change) -> bool:
    return isinstance(change.old, int) and isinstance(change.new, int) and change.new > change.old
