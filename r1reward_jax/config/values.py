"""What each knob may be by itself: choices and ranges."""

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ml_collections import ConfigDict

from r1reward_jax.config.files import items, near, shown
from r1reward_jax.reading import shortened

DTYPES = ("float32", "bfloat16", "float16")
BENCHMARKS = ("vl_rewardbench", "multimodal_rewardbench", "mm_rlhf_rewardbench")
"""Names that `eval.benchmark` may have, beside files."""
RESPONSE_FORMATS = (
    *("answer", "answer-release", "answer-release-mm-rlhf", "boxed", "brackets"),
    *("brackets-official", "judgment", "judgment-official"),
)
"""Names that `eval.response_format` may have, beside regular expressions."""
SKILLS = ("color", "count", "shape", "position")
"""What the embedded world can ask about."""
CHOICES = {
    "template": ("full", "brief"),
    "model.param_dtype": DTYPES,
    "model.compute_dtype": DTYPES,
    "model.video_rule": ("max", "side"),
    "sft.mismatched": ("keep", "skip", "refuse"),
    "sft.balance": ("none", "drop", "repeat"),
    "rl.loss": ("stable_reinforce", "ppo_clip", "reinforce_pp"),
    "rl.aggregate": ("token", "sequence"),
    "rl.baseline": ("none", "batch", "leave_one_out", "group"),
    "rl.kl": ("k1", "k3"),
    "rl.filter": ("paper", "released", "none"),
    "rl.old_logp": ("trainer", "sampler"),
    "rl.consistency_mode": ("binary", "signed"),
    "judge.mode": ("auto", "token", "text"),
    "scalar.head": ("linear", "mlp"),
    "eval.generation": ("auto", "checkpoint", "config"),
    "eval.stop": ("none", "exact", "posterior"),
}


@dataclass(frozen=True)
class Range:
    """Numbers that a knob may have."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        ends = {"at least": self.least, "above": self.above}
        ends |= {"at most": self.most, "below": self.below}
        return " and ".join(f"{word} {n:g}" for word, n in ends.items() if math.isfinite(n))


POSITIVE, SHARE, DECAY = Range(above=0), Range(least=0, most=1), Range(least=0, below=1)
RANGES = {
    "data.video_fps": POSITIVE,
    "optimizer.b1": DECAY,
    "optimizer.b2": DECAY,
    "optimizer.clip_norm": POSITIVE,
    "optimizer.warmup_share": SHARE,
    "optimizer.final_share": SHARE,
    "rl.temperature": Range(least=1e-3),  # logits are divided by it
    "rl.sigmas": POSITIVE,
    "rl.eps": POSITIVE,  # rewards that are all the same have no standard deviation
    "rl.clip_eps": Range(above=0, below=1),
    "rl.min_ratio": Range(above=0, below=1),
    "rl.max_ratio": Range(above=1),
    "rl.length_start": SHARE,
    "rollout.top_p": Range(above=0, most=1),
    "rollout.repetition_penalty": POSITIVE,
    "judge.timeout_s": POSITIVE,
    "judge.budget_s": POSITIVE,
    "judge.pause_share": SHARE,
    "judge.min_mass": SHARE,
    "teacher.slip": SHARE,
    "tiny.vocab_size": Range(least=270),  # all bytes and the special tokens
}
"""Of numbers for which "at least 0" (with a fraction) or "at least 1" (without) is not right."""
LARGEST, LONGEST, MANY = 2**31 - 1, 2**20, 2**20
"""The largest whole number of most knobs; tokens of a text, and rows of a batch: far above what any
run has, and small enough that nothing is allocated in vain."""
MOST = {
    "seed": 2**63 - 1,
    "step.micro_tokens": LARGEST,  # of a whole batch
    "*tokens": LONGEST,
    "rollout.slots": MANY,
    "*batch": MANY,
    "*.samples": 10_000,
    "*records": 10**8,
    "data.threads": 1024,
    "data.video_frames": 4096,
    "judge.concurrency": 10_000,
    "judge.retries": 1000,
    "model.max_pixels": 2**28,
    "buckets.images": 4096,
    "buckets.patches": LONGEST,
    "rl.repetition_n": 1000,
    "teacher.max_attempts": 1000,
    "tiny*.vocab_size": LONGEST,
    "tiny*.*layers": 1000,
    "tiny*.*": 2**16,
    "*mesh.*": MANY,
}
"""The largest whole number of a knob: the first pattern that fits; else LARGEST."""
LONGEST_TUPLE = 64
"""Items of a tuple: each bucket is another program to compile."""
MAY_BE_ZERO = (
    *("seed", "profile_step", "data.threads", "checkpoint.updates", "step.micro_tokens"),
    *("rollout.mesh.data", "rollout.mesh.fsdp", "rollout.mesh.tensor"),
    *("checkpoint.iterations", "eval.records", "eval.samples"),
    *("rollout.top_k", "rollout.parallel_samples", "judge.lines", "judge.retries", "judge.devices"),
)
TUPLES = {
    "world.things": Range(least=1, most=3),
    "world.heldout_things": Range(least=1, most=3),
    "teacher.fallback": SHARE,
}
"""Items of tuples of numbers that are not simply at least 1."""


def value_problems(config: ConfigDict, prefix: str = "") -> list[str]:
    """Choices and ranges of the knobs below a prefix."""
    wrong = []
    for path, value in items(config):
        if not path.startswith(prefix) or isinstance(value, bool):
            continue
        if path in CHOICES:
            if value not in CHOICES[path]:
                some = ", ".join(CHOICES[path])
                wrong.append(
                    f"{path}={shortened(value)}: expected one of {some}; "
                    f"{near(value, CHOICES[path])}"
                )
        elif isinstance(value, tuple):
            wrong += _tuple_problems(path, value)
        elif isinstance(value, (int, float)):
            wrong += _number_problems(path, value)
    return wrong


def most_of(path: str) -> int:
    """Return the largest whole number that a knob, or an item of it, may be."""
    return next((most for p, most in MOST.items() if fnmatchcase(path, p)), LARGEST)


def _number_problems(path: str, value: float) -> list[str]:
    if isinstance(value, int) and abs(value) > (most := most_of(path)):
        return [f"{path}={shown(value)}: expected at most {most:,}"]
    if not math.isfinite(value):
        return [f"{path}={value}: expected a finite number"]
    allowed = RANGES.get(path) or Range(
        least=0 if path in MAY_BE_ZERO or isinstance(value, float) else 1
    )
    rest_of_devices = ".mesh." in f".{path}" and value == -1
    return [] if value in allowed or rest_of_devices else [f"{path}={value}: expected {allowed}"]


def _tuple_problems(path: str, value: tuple) -> list[str]:
    """Tuples hold names (world.skills) or numbers."""
    if not value:
        return [f"{path} is empty"]
    if len(value) > LONGEST_TUPLE:
        return [f"{path}: {len(value):,} items; expected at most {LONGEST_TUPLE}"]
    if path == "world.skills":
        unknown = [f"{shown(s)}; {near(str(s), SKILLS)}" for s in value if s not in SKILLS]
        some = ", ".join(SKILLS)
        return [f"{path}: expected names of {some}, not {s}" for s in unknown]
    allowed = TUPLES.get(path, Range(least=1, most=most_of(path)))
    kinds = (int, float) if path == "teacher.fallback" else (int,)
    if not all(type(item) in kinds and item in allowed for item in value):
        return [f"{path}={shown(value)}: expected positive numbers, each {allowed}"]
    if path == "buckets.patches" and any(item % 4 for item in value):
        return [f"{path}={value}: expected multiples of 4, the patches of a visual token"]
    return []
