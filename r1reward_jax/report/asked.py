"""What an evaluation asked, of whom and how, and the command that repeats a run.

Where evaluation.json has no settings (of an earlier version, or not there yet), the config says
what it can.
"""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from r1reward_jax.report.read import Run, finite, mapping
from r1reward_jax.report.view import MISSING

HASH = 12
"""Characters of a hash that are shown."""


def facts(run: Run) -> list[tuple[str, str]]:
    """Return what was evaluated, and how: model, data, prompt, sampling, images, limits. What the
    evaluation itself recorded goes before what the run's config says."""
    evaluation, pairs = run.evaluation, mapping(run.evaluation.get("overall")).get("pairs")
    known = _known(run)
    data = str(evaluation.get("benchmark") or known.get("benchmark") or "")
    listed = known.get("data")
    files = [str(f) for f in (listed if isinstance(listed, list) else [listed]) if f]
    files = [] if files == [data] else files
    where = f" ({', '.join(files[:3])}{', …' if len(files) > 3 else ''})" if files else ""
    counted = f", {pairs:,} pairs in both orders" if isinstance(pairs, int) else ""
    own, form = known.get("prompt_from"), known.get("response_format")
    prompt = f"from {own}" if own else f"template {known['template']}" if known["template"] else ""
    read = f"verdict read as {form}" if form else ""
    told = str(mapping(known.get("generation")).get("told") or "")
    return [
        ("model", str(known.get("model") or evaluation.get("model") or "")),
        ("data", f"{data}{where}{counted}"),
        ("data hash", str(known.get("data_hash") or "")[:HASH]),
        ("prompt", ", ".join(filter(None, [prompt, read]))),
        ("sampling", _sampling(known)),
        ("generation settings", told.removeprefix("generation settings: ")),
        ("images", _images(known)),
        ("limits", _limits(known)),
    ]


def settings(run: Run) -> list[tuple[str, str]]:
    """Return all settings that an evaluation recorded, but for the command."""
    found = mapping(run.evaluation.get("settings"))
    return [
        (str(name).replace("_", " "), _text(value))
        for name, value in found.items()
        if value not in (None, "") and name != "command"
    ]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if type(value) is int else json.dumps(value, ensure_ascii=False)


def _known(run: Run) -> Mapping[str, Any]:
    """Return the settings of an evaluation, by the names of evaluation.json."""
    recorded = mapping(run.evaluation.get("settings"))
    if recorded:
        return {"template": None} | {**recorded}
    c = {n: mapping(run.config.get(n)) for n in ("model", "eval", "data", "rollout")}
    asked, sampled = c["eval"], c["rollout"]
    return {
        "model": run.evaluation.get("model") or c["model"].get("path"),
        "benchmark": asked.get("benchmark"),
        "data": asked.get("data") or asked.get("benchmark"),
        # an older run has it among the knobs of eval
        "prompt_from": run.config.get("prompt_from") or asked.get("prompt_from"),
        "template": run.config.get("template") or MISSING,
        "response_format": asked.get("response_format"),
        "votes": asked.get("samples"),
        "temperature": asked.get("temperature", MISSING),
        "stop": asked.get("stop"),
        **{name: sampled[name] for name in (*USUAL, "max_new_tokens") if name in sampled},
        "max_pixels": c["model"].get("max_pixels"),
        "video_frames": c["data"].get("video_frames"),
        "video_fps": c["data"].get("video_fps"),
    }


USUAL = {"top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0}
"""Settings of sampling that are not worth telling."""


def _sampling(known: Mapping[str, Any]) -> str:
    if "votes" in known and known["votes"] is None:  # recorded so
        return "none: a scalar model scores each response"
    parts = ["one greedy answer"]
    if votes := known.get("votes"):
        parts.append(f"{votes} votes at temperature {known.get('temperature', MISSING)}")
    parts += [
        f"{name} {known[name]}"
        for name, value in USUAL.items()
        if name in known and known[name] != value
    ]
    if (limit := finite(known.get("max_new_tokens"))) is not None:
        parts.append(f"at most {limit:,.0f} new tokens")
    stop = known.get("stop")
    return ", ".join(parts + ([f"votes end early: {stop}"] if stop not in (None, "none") else []))


def _images(known: Mapping[str, Any]) -> str:
    parts, rule = [], known.get("video_rule")
    least, most = finite(known.get("min_pixels")), finite(known.get("max_pixels"))
    if most is not None:
        parts.append(
            f"{least:,.0f} to {most:,.0f} pixels" if least else f"at most {most:,.0f} pixels"
        )
    if frames := known.get("video_frames"):
        number = f"{'' if known.get('video_frames_exact') else 'at most '}{frames} frames"
        by = f" ({rule})" if rule else ""
        parts.append(f"videos {known.get('video_fps', MISSING)} frames/s, {number}{by}")
    return "; ".join(parts)


def _limits(known: Mapping[str, Any]) -> str:
    names = {"prompt tokens": "max_prompt_tokens", "response tokens": "max_response_tokens"}
    names |= {"images": "max_images"}
    numbers = {title: finite(known.get(name)) for title, name in names.items()}
    return ", ".join(f"at most {n:,.0f} {title}" for title, n in numbers.items() if n is not None)


# ------------------------------------------------------------------- to repeat it

FLAGS = {
    "model.path": "--model",
    "eval.benchmark": "--benchmark",
    "eval.data": "--data",
    "prompt_from": "--prompt-from",
    "eval.prompt_from": "--prompt-from",
    "eval.response_format": "--response-format",
}
"""Knobs with an option of their own."""
REPEATED = (
    *("eval.", "template", "prompt_from", "seed", "data.video_", "data.outside"),
    *("model.max_pixels", "model.video_rule", "model.param_dtype", "model.compute_dtype"),
    *("rollout.max_new_tokens", "rollout.repetition_penalty", "rollout.top_"),
)
"""Beginnings of the knobs that an evaluation's numbers depend on."""


def command(run: Run) -> str:
    """Return a command that repeats an evaluation in a new folder, or any other run from its
    config; quoted for a shell. Empty if the run does not say what it was."""
    again = ["--workdir", f"{str(run.folder).rstrip('/')}-again"]
    if words := _recorded(mapping(run.evaluation.get("settings")).get("command")):
        return shlex.join([*words, *again])
    verb = run.about.get("verb")
    if not isinstance(verb, str) or not verb or not run.config:
        return ""
    if verb != "evaluate":
        return shlex.join(["r1reward", verb, "--config", str(run.folder / "config.json"), *again])
    flat = {
        name: value
        for name, value in flat_config(run).items()
        if name.startswith((*FLAGS, *REPEATED))
    }
    words = ["r1reward", verb]
    for name, flag in FLAGS.items():
        value = flat.pop(name, "")
        words += [flag, str(value)] if value and value != "answer" else []
    limits = [re.match(r"the first ([\d,]+) of", str(n)) for n in run.evaluation.get("notes") or ()]
    words += [w for m in limits if m for w in ("--limit", m[1].replace(",", ""))][:2]
    words += [
        f"{name}={value}" if isinstance(value, str) else f"{name}={json.dumps(value)}"
        for name, value in flat.items()
        if value != "" and name != "eval.records"
    ]
    return shlex.join([*words, *again])


def _recorded(given: Any) -> list[str]:
    """Return the words of a command that an evaluation recorded; none for anything else. They are
    quoted again: whoever wrote the file may have put other commands into them."""
    try:
        words = shlex.split(given) if isinstance(given, str) and given.isprintable() else []
    except ValueError:
        return []
    return words if words[:2] == ["r1reward", "evaluate"] else []


def flat_config(run: Run) -> dict[str, Any]:
    """Return path of a field -> value. The run's own folder is left out of paths: two runs never
    share it."""
    found: dict[str, Any] = {}

    def add(config: Mapping[str, Any], prefix: str) -> None:
        for name, value in config.items():
            if isinstance(value, Mapping):
                add(value, f"{prefix}{name}.")
            elif prefix + name != "workdir":
                below = run.workdir and str(value).startswith(run.workdir + "/")
                found[prefix + name] = "RUN" + value[len(run.workdir) :] if below else value

    add(run.config, "")
    return found
