"""Files and folders that a config names: whether they can be what they are named as."""

import os

from ml_collections import ConfigDict

from r1reward_jax import hub, model_folder
from r1reward_jax.config.files import items
from r1reward_jax.config.values import BENCHMARKS
from r1reward_jax.errors import InputError
from r1reward_jax.places import Kind, place, require
from r1reward_jax.reading import scheme_of

PATHS: dict[str, dict[str, Kind]] = {
    "sft": {"workdir": "new folder", "data.train": "data", "data.heldout": "data"},
    "rl": {"workdir": "new folder", "data.train": "data", "data.heldout": "data"},
    "scalar-rm": {"workdir": "new folder", "data.train": "data"},
    "evaluate": {"workdir": "new folder", "eval.data": "data"},
    "quickstart": {"workdir": "new folder"},
}
"""Files and folders that a verb reads or writes."""
MODELS = {
    "sft": ("model.path",),
    "rl": ("model.path", "judge.path"),
    "scalar-rm": ("model.path",),
    "evaluate": ("model.path",),
    "parity": ("model.path",),
}
"""Folders of models, or names of the hub's, that a verb loads."""


MODEL = "the folder of a Hugging Face checkpoint, or ORG/NAME[@REVISION]"


def path_problems(config: ConfigDict, verb: str) -> list[str]:
    """Return what is wrong with the models, the data and the folder of a verb; what lies in an
    object store is looked at when it is read. Paths with `~` or file:// become plain ones."""
    flat, wrong = dict(items(config)), list[str]()
    for knob in MODELS.get(verb, ()):
        found = model_problems(knob, flat[knob])
        wrong += found
        if flat[knob] and not found:
            _set(config, knob, plain(flat[knob]))
    for knob, kind in PATHS.get(verb, {}).items():
        if flat[knob]:
            wrong += _place_problems(config, knob, flat[knob], kind)
    if verb == "evaluate":
        wrong += _benchmark_problems(config)
    return wrong + _prompt_problems(config)


def there(path: str) -> bool:
    """Return whether a path exists, as far as this machine can tell without reading elsewhere; an
    address, which `places` has a word about, counts as one that does."""
    return scheme_of(path) is not None or os.path.exists(os.path.expanduser(path))


def _place_problems(config: ConfigDict, knob: str, value: str, kind: Kind) -> list[str]:
    try:
        _set(config, knob, require(value, kind))
    except InputError as error:
        return [f"{knob}={error}{'; choose another workdir' if knob == 'workdir' else ''}"]
    return []


def _benchmark_problems(config: ConfigDict) -> list[str]:
    """Return what is wrong with a benchmark that is a file."""
    benchmark = config.eval.benchmark
    # a name that is none of ours and no file is answered with the names that there are
    if benchmark and benchmark not in BENCHMARKS and there(benchmark):
        return _place_problems(config, "eval.benchmark", benchmark, "data")
    return []


def _prompt_problems(config: ConfigDict) -> list[str]:
    """Return what is wrong with the file of a prompt."""
    prompt = config.prompt_from
    file, row = prompt_row(prompt)
    if not prompt or not there(file):
        return []
    found = _place_problems(config, "prompt_from", file, "file")
    config.prompt_from = prompt if found else config.prompt_from + row
    return found


def prompt_row(source: str) -> tuple[str, str]:
    """Return the file of a prompt, and of FILE.jsonl:ROW what names the row, with its colon."""
    path, colon, number = source.rpartition(":")
    named = path.endswith(".jsonl") and number.isdigit()
    return (path, colon + number) if named else (source, "")


def _set(config: ConfigDict, knob: str, value: str) -> None:
    *parents, field = knob.split(".")
    for parent in parents:
        config = config[parent]
    config[field] = value


def plain(model: str) -> str:
    """Return the path of a model without `~` and file://; a name of the hub as it is."""
    return model if hub.parsed(model) else place(model)


def model_problems(name: str, path: str) -> list[str]:
    """Return why a path cannot be a model's; nothing where it is empty, or the hub has to say.

    Args:
      name: of the knob or option.
      path: what it is set to.
    """
    try:
        named = hub.parsed(path)
    except InputError as error:  # an address
        return [f"{name}: {error}"]
    if not path or named is not None or scheme_of(place(path)):
        return []
    why = model_folder.problem(place(path))
    if why in ("no such folder", "is a file"):
        why += f"; expected {MODEL}"
    return [f"{name}={path}: {why}"] if why else []
