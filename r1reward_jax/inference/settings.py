"""How an exported model must be asked: a file beside its weights says what it was trained with."""

import json
import string
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import jax
from etils import epath

from r1reward_jax.prompts import TEMPLATES, Template
from r1reward_jax.types import InputError

FILE = "r1reward.json"
NEEDED = ("question", "first", "second")
OWN = ("evaluator", "system")
"""Settings of a model with a prompt of its own."""


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
    evaluator: str = ""
    """The evaluator's prompt as a format string, where it is the model's own; empty: the
    template's."""
    system: str = ""
    """The system message that goes with it."""

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
        wrong += _prompt_faults(self.evaluator, self.system)
        if wrong:
            raise InputError("; ".join(wrong))

    @classmethod
    def of(cls, config: Any, own: Template | None = None) -> "ModelSettings":
        """Return the settings of a run's config, a ConfigDict or what was read from config.json.

        Args:
          config: of the run.
          own: with the prompt of `prompt_from`; None where the run asks in its template.
        """
        model = config["model"]
        return cls(
            config["template"],
            model["max_pixels"],
            config["rollout"]["max_new_tokens"],
            model["video_rule"],
            own.evaluator if own else "",
            own.system if own else "",
        )

    @property
    def wording(self) -> Template:
        """The template that the model is asked with."""
        template = TEMPLATES[self.template]
        if not self.evaluator:
            return template
        return replace(template, evaluator=self.evaluator, system=self.system)

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
            names, own = {f.name for f in fields(cls)}, set(OWN)
            given = set(stored) if isinstance(stored, dict) else set()
            if given not in (names, names - own):
                needed = ", ".join(sorted(names - own))
                raise InputError(f"expected exactly {needed}, and {' and '.join(OWN)} or neither")
            return cls(**stored)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: {error}; correct the file, or delete it") from None


def _prompt_faults(evaluator: Any, system: Any) -> list[str]:
    """Return what is wrong with a prompt of its own; nothing where there is none."""
    if not isinstance(evaluator, str) or not isinstance(system, str):
        return ["evaluator, system: expected two texts"]
    if not evaluator:
        return []
    try:
        parts = [part[1:] for part in string.Formatter().parse(evaluator) if part[1] is not None]
    except ValueError as error:
        return [f"evaluator: not a format string ({error})"]
    names = [str(name) for name, spec, conversion in parts if not spec and conversion is None]
    # plain names only: the file may come from anywhere, and {first.__class__} is a field, too
    plain = len(names) == len(parts) and sorted(n for n in names if n != "images") == sorted(NEEDED)
    if not plain or names.count("images") > 1:
        return [
            "evaluator: expected {question}, {first} and {second} once each, {images} at most "
            "once, and other braces doubled"
        ]
    return []


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
        stored = asdict(settings)
        if not settings.evaluator:  # older versions know no other names
            stored = {name: value for name, value in stored.items() if name not in OWN}
        path.write_text(json.dumps(stored, indent=2))
    elif epath.Path(like) != epath.Path(folder):
        path.unlink(missing_ok=True)
