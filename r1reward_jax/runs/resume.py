"""What may change between two starts of a run in one folder, and what that means for its numbers.

A folder refuses only what changes the numbers of its run. Everything else is accepted, said, and
noted in `run.json`. A knob that no table names is refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from r1reward_jax.config.renamed import RENAMED

SERVER = (
    *("judge.url", "judge.api_key_env", "judge.concurrency", "judge.timeout_s", "judge.retries"),
    *("judge.backoff_s", "judge.budget_s", "judge.pause_share", "judge.pause_s"),
)
SAMPLER = (
    *("rollout.slots", "rollout.prefill_batch", "rollout.compact", "rollout.parallel_samples"),
)
MEMORY = ("step.chunk", "step.micro_tokens", "step.remat", "rollout.unroll", "judge.batch")
MAY_CHANGE = (
    (
        ("data.threads", "wandb", "profile_step", "checkpoint.*"),
        "no number of the run depends on it",
    ),
    (("data.train",), "the numbers are the same: the file must have the same hash"),
    (
        SERVER,
        "the numbers are the same where the same judge model gives the same answers; a pair that "
        "gets no answer earns no consistency reward",
    ),
    (
        ("eval.records", "data.heldout"),
        "training is the same; eval/* of earlier and later saves are of different records, and so "
        "is the comparison that keeps the best checkpoint",
    ),
    (
        ("mesh.*", "rollout.mesh.*", "judge.mesh.*", "judge.devices"),
        "sums over devices are taken in another order; what follows may differ in rounding",
    ),
    (SAMPLER, "samples do not depend on it, but may differ in rounding"),
    (MEMORY, "sums are taken in another order; what follows may differ in rounding"),
)
"""Patterns of knobs that may change in every run, and what that means for exactness."""
VOTES = "votes that eval.stop ends early may be more or fewer; others may differ in rounding"

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
UNREAD = {
    "sft": ("rl.*", "judge.*", "scalar.*", *_MADE),
    "rl": ("sft.*", "scalar.*", *_MADE),
    "scalar-rm": ("sft.*", "rl.*", "judge.*", "rollout.*", "eval.*", *_MADE),
    "evaluate": ("sft.*", "rl.*", "judge.*", "optimizer.*", "step.*", *_MADE),
    "quickstart": ("scalar.*",),
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


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Return what differs between two configs, in the order of names; knobs of earlier versions
    count under their names of today.

    Args:
      old: as `run.json` has it.
      new: as given now.
    """
    before, after = flat(old), flat(new)
    before = {RENAMED.get(k, k) if RENAMED.get(k, k) in after else k: v for k, v in before.items()}
    return [
        Change(name, before.get(name), after.get(name))
        for name in sorted(before | after)
        if before.get(name) != after.get(name)
    ]


def exactness(change: Change, verb: str) -> str | None:
    """Return what an accepted change means for the numbers of the run; None for a change that is
    to be refused.

    Args:
      change: of a knob.
      verb: of the run, by its name of today.
    """
    if verb == "evaluate" and matches(change.knob, SAMPLER):
        return VOTES
    for patterns, means in MAY_CHANGE:
        if matches(change.knob, patterns):
            return means
    if matches(change.knob, UNREAD.get(verb, ())):
        return f"`{verb}` does not read it"
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
