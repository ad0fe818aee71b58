"""The top of the page: which runs, how far they got, with which code, what differs in their
configs, and the numbers that they ended with."""

import datetime
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from r1reward_jax.report.curves import PHASES
from r1reward_jax.report.read import UNITS, Run, finite, mapping
from r1reward_jax.report.scale import short
from r1reward_jax.report.view import MISSING, Card, Table, color_of, named, titles

MEANINGS = {
    "rl_accuracy": "share of right greedy verdicts after RL, over both answer orders",
    "rl_strict_accuracy": "share of held-out pairs that are judged right in both orders",
    "rl_sample_accuracy": "share of right single samples after RL",
    "cold_start_accuracy": "before RL: the better of greedy verdicts and single samples",
    "cold_start_greedy_accuracy": "before RL, greedy verdicts",
    "cold_start_sample_accuracy": "before RL, single samples",
    "cold_start_longer_accuracy": "control: more cold start instead of RL",
    "blind_accuracy": "control: a policy that was trained on shuffled images",
    "blank_accuracy": "control: the trained policy with its images blanked",
    "text_only_classifier_accuracy": "control: a bag of words, without images",
    "judge_balanced_accuracy": "of the consistency judge, on held-out pairs of both kinds",
    "consistent_share": "share of analyses that support their verdict, by the judge",
    "truth_consistent_share_before": "analyses that argue for their verdict, by its own parser: "
    "before RL",
    "truth_consistent_share_after": "analyses that argue for their verdict, by its own parser: "
    "after RL",
    "verdict_1_share": "share of verdicts that name the first response; 0.5 is no position bias",
    "format_share": "share of well-formed completions",
    "mean_response_tokens_before": "mean length before RL, tokens",
    "mean_response_tokens_after": "mean length after RL, tokens",
    "seconds": "of the whole run",
}
MAIN = (
    ("rl_accuracy", "Accuracy after RL"),
    ("cold_start_accuracy", "After the cold start"),
    ("rl_strict_accuracy", "Right in both orders"),
    ("consistent_share", "Consistent analyses"),
)
"""Key and title of the cards."""


@dataclass(frozen=True)
class Panel:
    """A run before its numbers: its state, its code and its machine."""

    name: str
    """Empty where there is only one run."""
    color: int
    status: str
    finished: bool
    facts: Sequence[tuple[str, str]]
    commit: str
    more: Sequence[tuple[str, str]]
    """Details that are folded."""


def panels(runs: Sequence[Run]) -> list[Panel]:
    """Return a panel per run."""
    return [
        Panel(
            run.name if len(runs) > 1 else "",
            color_of(index),
            status(run),
            run.finished,
            [(name, value) for name, value in _facts(run) if value],
            str(run.about.get("commit") or ""),
            _more(run),
        )
        for index, run in enumerate(runs)
    ]


def differences(runs: Sequence[Run]) -> Table:
    """Return the settings that are not the same in all of several runs."""
    flat = [_flat(run) for run in runs]
    rows = []
    for name in dict.fromkeys(name for config in flat for name in config):
        values = [config.get(name, MISSING) for config in flat]
        if any(value != values[0] for value in values):
            rows.append((name, *map(_value, values)))
    heads = titles("setting", *(run.name for run in runs))
    return Table("What differs in their configs", rows, heads, empty="empty")


def settings(run: Run) -> Table:
    """Return the config of a run; without rows if it has none."""
    rows = [(name, _value(value)) for name, value in _flat(run).items()]
    return Table("", rows, look="config", empty="empty")


def status(run: Run) -> str:
    """Return whether a run is finished, or how far it got."""
    if run.finished:
        return "finished"
    if run.last is None:
        return "no metrics yet"
    phase, step, _ = run.last
    length = run.length(phase)
    of = f" of {length:,}" if length else ""
    return f"unfinished: {PHASES.get(phase, phase)}, {UNITS.get(phase, 'update')} {step:,}{of}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _facts(run: Run) -> list[tuple[str, str]]:
    about, versions = run.about, mapping(run.about.get("versions"))
    listed = {
        "r1reward": about.get("version"),
        "jax": versions.get("jax"),
        "python": about.get("python"),
    }
    return [
        ("verb", str(about.get("verb") or "")),
        ("started", _time(about.get("started"))),
        ("took", _took(run)),
        ("seed", str(about.get("seed", ""))),
        ("commit", MISSING),
        ("versions", ", ".join(f"{name} {value}" for name, value in listed.items() if value)),
        ("devices", _devices(about)),
    ]


def _time(started: Any) -> str:
    try:
        return datetime.datetime.fromisoformat(str(started)).strftime("%Y-%m-%d %H:%M %Z")
    except ValueError:
        return str(started or "")


def _took(run: Run) -> str:
    """Return the duration that a run's summary states, else the time up to its last metrics."""
    stated = finite(run.summary.get("seconds"))
    if stated is not None:
        return duration(stated)
    try:
        began = datetime.datetime.fromisoformat(str(run.about.get("started"))).timestamp()
    except ValueError:
        return ""
    seconds = run.last[2] - began if run.last else -1
    return f"{duration(seconds)} up to the last metrics" if seconds >= 0 else ""


def _devices(about: Mapping[str, Any]) -> str:
    listed = about.get("devices")
    kinds = Counter(map(str, listed if isinstance(listed, list) else []))
    parts = [f"{n} × {kind}" for kind, n in kinds.items()]
    if about.get("cpu"):
        cores = f", {about['cores']} cores" if about.get("cores") else ""
        parts.append(f"{about['cpu']}{cores}")
    if (about.get("processes") or 1) != 1:
        parts.append(f"{about['processes']} processes")
    return "; ".join(parts)


def _more(run: Run) -> list[tuple[str, str]]:
    rows = [(name, str(version)) for name, version in mapping(run.about.get("versions")).items()]
    hashes = {"commit": run.about.get("commit"), "data hash": run.about.get("data_hash")}
    rows += [(name, str(value)) for name, value in hashes.items() if value]
    return [*rows, ("folder", str(run.folder))]


def _flat(run: Run) -> dict[str, Any]:
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


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# ------------------------------------------------------------------ results


def cards(runs: Sequence[Run]) -> list[Card]:
    """Return the few numbers of a training run to look at first."""
    found, names = [], [run.name for run in runs]
    for name, title in MAIN:
        numbers = [
            named(written(name, run.summary[name]), index, names, _gain(run, name))
            for index, run in enumerate(runs)
            if finite(run.summary.get(name)) is not None
        ]
        found += [Card(title, numbers, meaning(name))] if numbers else []
    return found


def _gain(run: Run, name: str) -> str:
    before = finite(run.summary.get("cold_start_accuracy"))
    if name != "rl_accuracy" or before is None:
        return ""
    return f"{float(run.summary[name]) - before:+.3f} by RL".replace("-", "−")


def summary(runs: Sequence[Run]) -> Table:
    """Return all numbers that training runs ended with; without rows where none has any yet."""
    columns = [run.summary for run in runs]
    rows = [
        (name, *(written(name, column.get(name)) for column in columns), meaning(name))
        for name in dict.fromkeys(name for column in columns for name in column)
    ]
    heads = titles("number", *(run.name for run in runs), "meaning")
    return Table("Summary", rows, heads, look="numbers")


def meaning(name: str) -> str:
    """Return what a number of a summary means; empty where it is not known."""
    votes = re.fullmatch(r"vote(\d+)_accuracy", name)
    return f"majority of {votes[1]} samples" if votes else MEANINGS.get(name, "")


def written(name: str, value: Any) -> str:
    """Return a value of a summary as text: shares with three decimals, so that columns line up."""
    number = finite(value)
    if number is None:
        return MISSING if value is None else str(value)
    if name == "seconds":
        return duration(number)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{number:.3f}" if abs(number) < 10 else short(round(number, 1))
