"""What the knobs of a judge may be together, and where its key may come from."""

import os
from collections.abc import Iterator

from ml_collections import ConfigDict

from r1reward_jax.config.addresses import KEY_NAMES, plain_key, plain_url
from r1reward_jax.errors import InputError

NONE = "judge"
"""The path of `judge=none`, which is short for a judge that is not required, and is none."""
NO_KEY = "JUDGE_API_KEY"
"""The variable that need not be set: many servers want no key."""


def without_judge(config: ConfigDict, value: object, shown: str) -> list[str]:
    """Leave the judge out of a config, for `judge=none`; return what is wrong with the value."""
    if value is not None and str(value).strip().lower() not in ("none", "null"):
        return [f"{shown}: expected judge=none, or its fields: judge.path=…, judge.url=…"]
    config.judge.path, config.judge.url, config.judge.required = "", "", False
    return []


def judge_problems(config: ConfigDict) -> Iterator[str]:
    """A judge is a model here or one behind a server, and complete; none has to be said."""
    c, weight = config.judge, config.rl.consistency_weight
    if c.path and c.url:
        yield "judge.path and judge.url: set one of them"
    if c.required and weight and not c.path and not c.url:
        yield (
            "set judge.path=FOLDER, or judge.url=http://HOST:PORT/v1 and judge.model=NAME, or say "
            f"judge=none (or rl.consistency_weight=0): rl.consistency_weight={weight:g} has no "
            "judge"
        )
    if not c.url:
        return
    if not c.model:
        yield "judge.model: name the model that the server of judge.url serves"
    try:
        plain_url("judge.url", c.url)
        judge_key(config)
    except InputError as error:
        yield str(error)


def judge_key(config: ConfigDict) -> tuple[str, bool]:
    """Return the key of the judge's server and whether white space was taken off it; empty if the
    environment has none.

    Raises:
      InputError: no request can hold it, or it is said where it is and it is not there.
    """
    name = config.judge.api_key_env
    if not name:
        return "", False
    if name != NO_KEY and not os.environ.get(name):
        raise InputError(
            f"judge.api_key_env={name}: the environment has no such variable, or it is empty"
        )
    return plain_key(name, os.environ.get(name, ""))


def key_name_problems(config: ConfigDict, assigned: bool) -> list[str]:
    """Return what is wrong with the variable that the key comes from.

    Args:
      config: of the run.
      assigned: whether the command line names the variable; a file may be somebody else's.
    """
    name = config.judge.api_key_env
    if assigned or not config.judge.url or not name or KEY_NAMES.fullmatch(name):
        return []
    return [
        f"judge.api_key_env={name}: its value would be sent to judge.url; a config may name "
        "variables that end in _API_KEY or begin with R1REWARD_, any other has to be given on the "
        "command line"
    ]
