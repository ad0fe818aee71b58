"""How an exported model must be asked: a file beside its weights says what it was trained with."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

import jax
from etils import epath

from r1reward_jax.prompts import TEMPLATES
from r1reward_jax.types import InputError

FILE = "r1reward.json"


@dataclass(frozen=True)
class ModelSettings:
    """The knobs of a config that a model must be used with as it was trained."""

    template: str
    """Wording of the prompts, a name in prompts.TEMPLATES."""
    max_pixels: int
    """Larger images are shrunk."""
    max_new_tokens: int
    """Longest completion."""
    video_rule: str
    """Position of the text that follows a video: max or side."""

    def __post_init__(self) -> None:
        choices = {"template": sorted(TEMPLATES), "video_rule": ["max", "side"]}
        wrong = [
            f"{name} {getattr(self, name)!r}: expected one of {', '.join(known)}"
            for name, known in choices.items()
            if getattr(self, name) not in known
        ]
        for name in ("max_pixels", "max_new_tokens"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                wrong.append(f"{name} {value!r}: expected a number of at least 1")
        if wrong:
            raise InputError("; ".join(wrong))

    @classmethod
    def of(cls, config: Any) -> "ModelSettings":
        """Return the settings of a run's config, a ConfigDict or what was read from config.json."""
        model = config["model"]
        return cls(
            config["template"],
            model["max_pixels"],
            config["rollout"]["max_new_tokens"],
            model["video_rule"],
        )

    @classmethod
    def load(cls, folder: str) -> "ModelSettings | None":
        """Return the settings of an exported folder; None if it has none, as a model of the hub.

        Raises:
          InputError: the file cannot be read, or holds anything else.
        """
        path = epath.Path(folder) / FILE
        if not path.exists():
            return None
        try:
            stored = json.loads(path.read_text())
            names = {f.name for f in fields(cls)}
            if not isinstance(stored, dict) or stored.keys() != names:
                raise InputError(f"expected exactly {', '.join(sorted(names))}")
            return cls(**stored)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: {error}; correct the file, or delete it") from None


def write_settings(folder: str, settings: ModelSettings | None, *, like: str) -> None:
    """Write the settings into an exported folder; the first of several processes does.

    Args:
      folder: there already.
      settings: of the model; None if they are not known, then none of another model may stay.
      like: the folder that the model comes from.
    """
    if jax.process_index():
        return
    path = epath.Path(folder) / FILE
    if settings is not None:
        path.write_text(json.dumps(asdict(settings), indent=2))
    elif epath.Path(like) != epath.Path(folder):
        path.unlink(missing_ok=True)
