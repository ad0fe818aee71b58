"""The top of the page: which runs, how far they got, with which code, what differs in their
configs, and the numbers that they ended with."""

import datetime
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from r1reward_jax.report import asked
from r1reward_jax.report.asked import flat_config
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
LISTED = 200
"""Records that are listed as left out, of each run."""
BEFORE_AFTER = (
    ("Accuracy, greedy", "cold_start_greedy_accuracy", "rl_accuracy"),
    ("Accuracy of single samples (pass@1)", "cold_start_sample_accuracy", "rl_sample_accuracy"),
    ("Right in both orders", "cold_start_strict_accuracy", "rl_strict_accuracy"),
    ("Flip rate", "cold_start_flip_rate", "rl_flip_rate"),
    ("Analyses that argue for their verdict", "truth_consistent_share_before")
    + ("truth_consistent_share_after",),
    ("Tokens of a response", "mean_response_tokens_before", "mean_response_tokens_after"),
)
"""What is measured behind the cold start and behind RL, and under which names."""


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
    command: str = ""
    """What to type to repeat the run, quoted for a shell; empty if that is not known."""
    settings: Sequence[tuple[str, str]] = ()
    """All that an evaluation recorded of how it asked."""
    opening: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()
    """What each phase of training began with."""


def panels(runs: Sequence[Run], labels: Sequence[str]) -> list[Panel]:
    """Return a panel per run, under its label."""
    return [
        Panel(
            name if len(runs) > 1 else "",
            color_of(index),
            status(run),
            run.finished,
            [(name, value) for name, value in _facts(run) if value],
            str(run.about.get("commit") or ""),
            _more(run),
            asked.command(run),
            asked.settings(run),
            _opening(run),
        )
        for index, (run, name) in enumerate(zip(runs, labels))
    ]


def differences(runs: Sequence[Run]) -> Table:
    """Return the settings that are not the same in all of several runs."""
    flat = [flat_config(run) for run in runs]
    rows = []
    for name in dict.fromkeys(name for config in flat for name in config):
        values = [config.get(name, MISSING) for config in flat]
        if any(value != values[0] for value in values):
            rows.append((name, *map(_value, values)))
    heads = titles("setting", *(run.name for run in runs))
    return Table("What differs in their configs", rows, heads, empty="empty")


def settings(run: Run) -> Table:
    """Return the config of a run; without rows if it has none."""
    rows = [(name, _value(value)) for name, value in flat_config(run).items()]
    return Table("", rows, look="config", empty="empty")


def status(run: Run) -> str:
    """Return whether a run is finished, or how far it got."""
    if run.finished:
        return "finished"
    if run.last is None:
        return "unfinished" if run.about.get("verb") == "evaluate" else "no metrics yet"
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
    evaluates = asked.facts(run) if run.evaluation or about.get("verb") == "evaluate" else []
    return [
        ("verb", str(about.get("verb") or "")),
        *evaluates,
        ("started", _time(about.get("started"))),
        ("took", _took(run)),
        ("resumed", _resumed(about)),
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
    if judged := _judged(run):
        return judged
    try:
        began = datetime.datetime.fromisoformat(str(run.about.get("started"))).timestamp()
    except ValueError:
        return ""
    seconds = run.last[2] - began if run.last else -1
    return f"{duration(seconds)} up to the last metrics" if seconds >= 0 else ""


def _judged(run: Run) -> str:
    """Return how long the judgements of an evaluation took, of all its parts that could say so."""
    listed = [mapping(part) for part in mapping(run.about.get("judged")).values()]
    parts = [(finite(part.get("count")), finite(part.get("seconds"))) for part in listed]
    known = [(count, seconds) for count, seconds in parts if count and seconds is not None]
    if not known:
        return ""
    text = duration(sum(seconds for _, seconds in known))
    text += f" in {len(known)} parts" if len(known) > 1 else ""
    count = sum(count for count, _ in known)
    total = finite(mapping(run.evaluation.get("skipped")).get("of"))
    if total is None or count >= 2 * total:
        return text
    return f"{text}, for {count:,.0f} of {2 * total:,.0f} judgements; a killed part is missing"


def _resumed(about: Mapping[str, Any]) -> str:
    """Return how often a run was resumed, and what was changed then."""
    listed = about.get("resumed")
    starts = [mapping(start) for start in (listed if isinstance(listed, list) else [])]
    if not starts:
        return ""
    changed = [c for s in starts if isinstance(s.get("changed"), list) for c in s["changed"]]
    names = dict.fromkeys(str(mapping(c).get("knob")) for c in changed if mapping(c).get("knob"))
    times = "once" if len(starts) == 1 else f"{len(starts)} times"
    return f"{times}, with another {', '.join(names)}" if names else times


def _opening(run: Run) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return title and lines of what each phase began with, as the run said it."""
    found = []
    for phase, lines in mapping(run.about.get("opening")).items():
        rows = [(str(name), str(text)) for name, text in mapping(lines).items()]
        # its first line is called after the phase
        rows = [("length" if name == phase else name, text) for name, text in rows]
        found += [(PHASES.get(str(phase), str(phase)), rows)] if rows else []
    return found


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


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# ------------------------------------------------------------------- skipped


def skipped(runs: Sequence[Run]) -> Table:
    """Return the records that runs left out, with the reason; without rows if there are none."""
    rows = []
    for run in runs:
        found = [*run.skipped, *_not_shown(run.evaluation)]
        for phase, name, reason in found[:LISTED]:
            rows.append([name, f"{run.name}, {phase}" if len(runs) > 1 else phase, reason])
        if len(found) > LISTED:
            rows.append([f"and {len(found) - LISTED:,} more", "", ""])
    return Table("", rows, titles("record", "phase", "reason"), empty="not named")


def _not_shown(evaluation: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the records that an evaluation could not show to its model."""
    rows = mapping(evaluation.get("skipped")).get("rows")
    listed = [mapping(row) for row in rows] if isinstance(rows, list) else []
    return [("evaluation", str(r.get("id", "")), str(r.get("reason", ""))) for r in listed]


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


def before_after(run: Run) -> Table:
    """Return what training changed, in two columns; without rows where it was not measured."""
    rows = []
    for title, before, after in BEFORE_AFTER:
        one, two = finite(run.summary.get(before)), finite(run.summary.get(after))
        if one is not None and two is not None:
            change = f"{two - one:+.3f}".replace("-", "−")
            rows.append([title, written(before, one), written(after, two), change])
    heads = [("", ""), ("before RL", "behind the cold start"), ("after RL", ""), ("change", "")]
    return Table("Before and after RL", rows, heads, look="shares")


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
