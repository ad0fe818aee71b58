"""Read the numbers that earlier versions wrote, in today's names (`evals.results`)."""

from collections.abc import Mapping
from typing import Any

from r1reward_jax.evals.results import SCHEMA

_RENAMED = {
    "release": "accuracy",
    "release_stored": "accuracy_stored",
    "release_swapped": "accuracy_swapped",
    "flips": "flip_rate",
    "any_correct": "pass_at_k",
    "cut": "truncated",
}


def current(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the contents of an evaluation.json in today's form; None if its version is not known,
    or it is not what its version has.

    Version 1 had no subgroups, settings and reasons; it counted records that could not be shown as
    wrong. What it called official of votes was the majority of readable votes, which is official
    nowhere: it is dropped, as are official numbers of a file of one's own.
    """
    if evaluation.get("schema") == SCHEMA:
        return dict(evaluation)
    if evaluation.get("schema") != 1:
        return None
    try:
        return _from_version_1(evaluation)
    except (LookupError, TypeError, AttributeError):  # a file that somebody else wrote
        return None


def _from_version_1(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    public = evaluation["benchmark"].endswith("_rewardbench")
    found = _renamed(evaluation)
    found |= {"schema": SCHEMA, "subgroups": {}, "settings": {}}
    if not public:
        found["convention"] = "none"
    for part in (found["overall"], *found["groups"].values()):
        part["released"] = None
        _split(part["greedy"], public, found["convention"])
        voted = [*part["votes"].values(), part["weighted"], *(part["stopping"] or {}).values()]
        voted += [*(part["both_orders"] or {}).values()]
        for decision in filter(None, voted):
            _split(decision, False, found["convention"])
    macro = found["macro"]
    for each in (macro["greedy"], *macro["votes"].values()) if macro else ():
        each |= {"readable": each["official"], "official": None}
    skipped = found["overall"]["skipped"]["count"]
    found["skipped"] = {
        "records": -(-skipped // 2),
        "of": found["overall"]["pairs"],
        "reasons": {"counted as wrong by an earlier version": -(-skipped // 2)} if skipped else {},
        "rows": [],
    }
    return found


def _renamed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_RENAMED.get(name, name): _renamed(each) for name, each in value.items()}
    return [_renamed(each) for each in value] if isinstance(value, list) else value


def _split(decision: dict[str, Any], official: bool, convention: str) -> None:
    """Give a decision its readable accuracy, which only one convention told, and take away what is
    not official."""
    nothing = {"value": None, "low": None, "high": None, "right": 0, "of": 0}
    told = decision.get("official") if convention in ("left_out", "none") else None
    decision["readable"] = told or nothing
    if not official:
        decision |= dict.fromkeys(("official", "official_stored", "official_swapped"))
