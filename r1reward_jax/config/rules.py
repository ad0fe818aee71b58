"""What the knobs of a config may be together, and what a verb needs of them."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from r1reward_jax.config.files import items, near
from r1reward_jax.config.judges import judge_problems
from r1reward_jax.config.paths import MODEL, model_problems, path_problems, prompt_row, there
from r1reward_jax.config.values import BENCHMARKS, RESPONSE_FORMATS, value_problems
from r1reward_jax.errors import InputError
from r1reward_jax.responses import response_format

REQUIRED = {
    "sft": ("workdir", "model.path", "data.train"),
    "rl": ("workdir", "model.path", "data.train"),
    "scalar-rm": ("workdir", "model.path", "data.train"),
    "evaluate": ("model.path", "eval.benchmark"),
    "parity": ("model.path",),
    "quickstart": ("workdir",),
}
"""What a verb needs and has no default for."""
MADE_BY_QUICKSTART = {
    "judge.url": "trains a judge of its own",
    "judge.path": "trains a judge of its own",
    "model.path": "makes a model of its own (tiny.*)",
    "data.train": "makes data of its own (world.*)",
    "data.heldout": "makes data of its own (world.*)",
    "eval.benchmark": "evaluates on records of its own (world.*)",
    "prompt_from": "asks in the words of its template",
}
"""What a quickstart makes itself, and how."""
LEAST_HEAD = 6
"""Smallest attention head: of its pairs, time, height and width each get at least one."""
WITH_RL = ("rl", "quickstart")
"""Verbs that sample and train on the samples."""


def check(config: ConfigDict) -> None:
    """Raise InputError for values that no run can use, all of them in one message."""
    _refuse(value_problems(config))


def check_rl(config: ConfigDict) -> None:
    """Raise InputError for settings of RL that no run can use, or that do not go together."""
    values = value_problems(config, "rl.")
    _refuse(values + list(_rl_problems(config, set(_paths_of(values)))))


def require(config: ConfigDict, *paths: str) -> None:
    """Raise InputError for fields that are needed and empty."""
    _refuse(_missing(config, paths))


def problems(config: ConfigDict, verb: str) -> list[str]:
    """Return all that is wrong with a config for a verb, as far as can be said without devices."""
    wrong = value_problems(config)
    bad = set(_paths_of(wrong))
    wrong += _mesh_problems(config)
    if verb in WITH_RL:
        wrong += _rl_problems(config, bad)
        wrong += _sampler_problems(config)
    if verb == "rl":
        wrong += judge_problems(config)
    if config.judge.devices and not config.judge.path and verb != "quickstart":
        wrong.append(
            f"judge.devices {config.judge.devices}: only a judge here (judge.path) has devices"
        )
    if verb == "quickstart":
        wrong += _quickstart_problems(config, bad)
    if verb == "evaluate":
        wrong += _evaluate_problems(config)
    if verb in ("sft", "rl", "scalar-rm", "evaluate"):
        wrong += _prompt_problems(config, verb)
    wrong += _missing(config, REQUIRED[verb])
    return wrong + path_problems(config, verb)


def require_model(name: str, path: str) -> None:
    """Raise InputError for a path that cannot be a model's, or is empty."""
    empty = [] if path.strip() else [f"{name}: an empty path; expected {MODEL}"]
    _refuse(empty or model_problems(name, path))


def _refuse(wrong: Sequence[str]) -> None:
    if wrong:
        raise InputError("; ".join(wrong))


def _paths_of(wrong: Sequence[str]) -> Iterator[str]:
    """The knobs that messages are about."""
    return (message.partition("=")[0] for message in wrong)


def _missing(config: ConfigDict, paths: Sequence[str]) -> list[str]:
    flat = dict(items(config))
    missing = [f"{path}=…" for path in paths if not flat[path]]
    return [f"set {', '.join(missing)}"] if missing else []


def _mesh_problems(config: ConfigDict) -> Iterator[str]:
    """Return what is wrong with the sizes of a mesh whatever the devices are."""
    for name, mesh in meshes(config).items():
        sizes = list(mesh.values())
        if sizes.count(-1) > 1:
            yield f"{name} {mesh}: expected at most one -1, the rest of the devices"
        if 0 in sizes and any(sizes):
            yield f"{name} {mesh}: expected sizes of 1 or more, or all 0 for those of mesh"


def meshes(config: ConfigDict) -> dict[str, dict[str, int]]:
    c = config
    found = {"mesh": c.mesh, "rollout.mesh": c.rollout.mesh, "judge.mesh": c.judge.mesh}
    return {name: dict(mesh.items()) for name, mesh in found.items()}


def _rl_problems(config: ConfigDict, bad: set[str]) -> Iterator[str]:
    """Settings of RL that do not go together; knobs that are wrong by themselves are left out."""
    c, sound = config.rl, lambda *names: not bad & {f"rl.{name}" for name in names}
    if sound("rollout_batch", "train_batch") and c.rollout_batch % c.train_batch:
        size = c.rollout_batch
        yield f"rl.rollout_batch {size}: not a multiple of rl.train_batch {c.train_batch}"
    together = c.samples * (2 if c.swap_weight else 1)
    if sound("rollout_batch", "samples", "swap_weight") and c.rollout_batch % together:
        yield (
            f"rl.rollout_batch {c.rollout_batch}: not a multiple of {together}, the samples of a "
            "prompt (in both orders with rl.swap_weight)"
        )
    if c.baseline in ("leave_one_out", "group") and c.samples == 1:
        yield f"rl.baseline {c.baseline} compares samples of a prompt: set rl.samples"
    if 0 < c.importance_cap < 1:
        yield f"rl.importance_cap={c.importance_cap}: expected 0, or at least 1"
    if c.importance_cap and c.old_logp == "sampler":
        yield "rl.importance_cap corrects trainer log-probs: set rl.old_logp=trainer"


def _sampler_problems(config: ConfigDict) -> Iterator[str]:
    """Ways of sampling that the policy's ratio does not know of."""
    neutral = {"top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}
    for name, value in neutral.items():
        if config.rollout[name] != value:
            yield (
                f"rollout.{name}={config.rollout[name]}: expected {value} in RL, whose ratio is of "
                "the whole distribution; samples would be drawn from another one"
            )


def _evaluate_problems(config: ConfigDict) -> Iterator[str]:
    """Choices of an evaluation that are names or files."""
    c = config.eval
    if c.stop != "none" and not c.samples:
        yield f"eval.stop={c.stop}: there are no votes to stop (eval.samples=0)"
    if c.benchmark and c.benchmark not in BENCHMARKS and not there(c.benchmark):
        some, guess = ", ".join(BENCHMARKS), near(c.benchmark, BENCHMARKS)
        yield (
            f"eval.benchmark={c.benchmark}: not found; expected a file of records or one of "
            f"{some}; {guess}"
        )
    if c.response_format not in RESPONSE_FORMATS:
        try:
            response_format(c.response_format)
        except InputError as error:
            word = re.fullmatch(r"[\w-]*", c.response_format)
            guess = f"; {near(c.response_format, RESPONSE_FORMATS)}" if word else ""
            yield f"eval.response_format={c.response_format}: {error}{guess}"


def _prompt_problems(config: ConfigDict, verb: str) -> Iterator[str]:
    """A model's own prompt stands in a file, and its model reads two responses at a time."""
    given = config.prompt_from
    if given and verb == "scalar-rm":
        yield (
            f"prompt_from={given}: has no effect on a scalar model, which reads the question and "
            "one response; leave it out"
        )
        return
    path, _ = prompt_row(given)
    if path and not there(path):
        yield f"prompt_from={given}: not found; expected a text file, or FILE.jsonl:ROW"


def _quickstart_problems(config: ConfigDict, bad: set[str]) -> Iterator[str]:
    """Return what the embedded world, its teacher and the tiny models lack."""
    if not hasattr(config, "world"):
        yield "the config has no world to learn from; start from --config quickstart"
        return
    if not config.eval.samples:
        yield "eval.samples=0: a quickstart reports votes; expected 1 or more"
    yield from _idle_in_quickstart(config)
    things = {*config.world.things, *config.world.heldout_things}
    if not bad & {"world.things", "world.heldout_things"}:
        most = max(things)
        if len(config.teacher.fallback) < most:
            yield f"teacher.fallback={config.teacher.fallback}: expected {most}, one for each thing"
    for section in ("tiny", "tiny_judge"):
        sizes = config[section]
        for whole, part in (("hidden_size", "heads"), ("heads", "kv_heads")):
            names_of = {f"{section}.{whole}", f"{section}.{part}"}
            if not bad & names_of and sizes[whole] % sizes[part]:
                yield f"{section}.{whole}={sizes[whole]}: not a multiple of {section}.{part}"
        size, rest = divmod(sizes.hidden_size, max(1, sizes.heads))
        sound = not bad & {f"{section}.hidden_size", f"{section}.heads"} and not rest
        if sound and (size % 2 or size < LEAST_HEAD):
            yield (
                f"{section}.hidden_size={sizes.hidden_size}: gives {section}.heads={sizes.heads} "
                f"heads of {size}; expected an even size of at least {LEAST_HEAD}"
            )
    width, heads = config.tiny.vision_hidden_size, config.tiny.vision_heads
    if not bad & {"tiny.vision_hidden_size", "tiny.vision_heads"} and width % (4 * heads):
        yield (
            f"tiny.vision_hidden_size={width}: expected a multiple of {4 * heads}, 4 times "
            "tiny.vision_heads"
        )


def _idle_in_quickstart(config: ConfigDict) -> Iterator[str]:
    """Knobs that a quickstart would ignore, since it makes what they name."""
    flat = dict(items(config))
    for path, why in MADE_BY_QUICKSTART.items():
        value = flat[path]
        # the config of an earlier quickstart names the judge of that run
        own = path == "judge.path" and (
            value == f"{config.workdir}/judge" or (Path(value).parent / "stages.json").is_file()
        )
        if value and not own:
            yield f"{path}={value}: a quickstart {why}; leave it empty"
