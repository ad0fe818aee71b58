"""Files and folders that a config names: whether they can be what they are named as."""

from pathlib import Path

from ml_collections import ConfigDict

from r1reward_jax import hub
from r1reward_jax.config.files import items
from r1reward_jax.errors import InputError

PATHS = {
    "sft": ("data.train", "data.heldout"),
    "rl": ("data.train", "data.heldout"),
    "scalar-rm": ("data.train",),
    "evaluate": ("eval.data",),
}
"""Files and folders of data that a verb reads."""
MODELS = {
    "sft": ("model.path",),
    "rl": ("model.path", "judge.path"),
    "scalar-rm": ("model.path",),
    "evaluate": ("model.path",),
    "parity": ("model.path",),
}
"""Folders of models, or names of the hub's, that a verb loads."""


def path_problems(config: ConfigDict, verb: str) -> list[str]:
    """Return what is wrong with the models and the data of a verb; what lies elsewhere is looked at
    when it is read."""
    flat, wrong = dict(items(config)), list[str]()
    for path in MODELS.get(verb, ()):
        wrong += model_problems(path, flat[path])
    for path in PATHS.get(verb, ()):
        if flat[path] and not there(flat[path]):
            wrong.append(f"{path}={flat[path]}: not found")
    return wrong


def model_problems(name: str, path: str) -> list[str]:
    """Return why a path cannot be a model's; nothing where it is empty, or the hub has to say.

    Args:
      name: of the knob or option.
      path: what it is set to.
    """
    try:
        named = hub.parsed(path)
    except InputError as error:  # the address of a page of the hub
        return [f"{name}: {error}"]
    if not path or named is not None or "://" in path:
        return []
    folder, expected = Path(path), "the folder of a Hugging Face checkpoint, or ORG/NAME[@REVISION]"
    if not folder.is_dir():
        why = "is a file" if folder.exists() else "no such folder"
        return [f"{name}={path}: {why}; expected {expected}"]
    if (folder / "config.json").is_file():
        return []
    inside = folder / "exported"
    hint = f"did you mean {inside}?" if inside.is_dir() else f"expected {expected}"
    return [f"{name}={path}: holds no config.json; {hint}"]


def there(path: str) -> bool:
    """Return whether a path exists, as far as this machine can tell without reading elsewhere."""
    return "://" in path or Path(path).expanduser().exists()
