"""The top of the page: which runs, how far they got, with which code, and what differs in their
configs."""

import datetime
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from r1reward_jax.report.charts import COLORS
from r1reward_jax.report.curves import PHASES
from r1reward_jax.report.read import UNITS, Run, finite, mapping

MISSING = "–"


def head(runs: Sequence[Run]) -> str:
    """A panel per run."""
    return f'<div class="runs">{"".join(_panel(run, i, runs) for i, run in enumerate(runs))}</div>'


def notes(lines: Sequence[str]) -> str:
    """What could not be read; empty if there was nothing."""
    if not lines:
        return ""
    rows = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<aside class="notes"><h2>Not everything could be read</h2><ul>{rows}</ul></aside>'


def differences(runs: Sequence[Run]) -> str:
    """A table of the settings that are not the same in all of several runs."""
    if len(runs) < 2:
        return ""
    flat = [_flat(run) for run in runs]
    names = list(dict.fromkeys(name for config in flat for name in config))
    rows = ""
    for name in names:
        values = [config.get(name, MISSING) for config in flat]
        if any(value != values[0] for value in values):
            cells = "".join(f"<td>{_value(value)}</td>" for value in values)
            rows += f"<tr><th scope=row>{escape(name)}</th>{cells}</tr>"
    if not rows:
        return '<p id="differences">Their configs are the same, but for the folders.</p>'
    columns = "".join(f'<th scope="col">{escape(run.name)}</th>' for run in runs)
    return (
        '<div class="scroll" id="differences"><table>'
        "<caption>What differs in their configs</caption>"
        f'<thead><tr><th scope="col">setting</th>{columns}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def settings(runs: Sequence[Run]) -> str:
    """The config of the first run, folded."""
    flat = _flat(runs[0])
    if not flat:
        return ""
    rows = "".join(
        f"<tr><th scope=row>{escape(name)}</th><td>{_value(value)}</td></tr>"
        for name, value in flat.items()
    )
    of = f" of {runs[0].name}" if len(runs) > 1 else ""
    return (
        '<section id="config"><h2>Config</h2><details>'
        f"<summary>All {len(flat)} settings{escape(of)}</summary>"
        f'<div class="scroll"><table class="config"><tbody>{rows}</tbody></table></div>'
        "</details></section>"
    )


def status(run: Run) -> str:
    """Whether it is finished, or how far it got."""
    if run.finished:
        return "finished"
    if run.last is None:
        return "no metrics yet"
    phase, step, _ = run.last
    length = run.length(phase)
    of = f" of {length:,}" if length else ""
    return (
        f"as far as it got: {PHASES.get(phase, phase)}, {UNITS.get(phase, 'update')} {step:,}{of}"
    )


def duration(seconds: float) -> str:
    """In the two largest units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _panel(run: Run, index: int, runs: Sequence[Run]) -> str:
    sign = f'<i class="chip f{index % COLORS + 1}"></i>'
    title = f"<h2>{sign}{escape(run.name)}</h2>" if len(runs) > 1 else ""
    rows = "".join(f"<div><dt>{n}</dt><dd>{v}</dd></div>" for n, v in _facts(run) if v)
    state = "done" if run.finished else "open"
    return (
        f'<section class="run">{title}'
        f'<p class="status {state}">{escape(status(run))}</p><dl>{rows}</dl>{_more(run)}</section>'
    )


def _facts(run: Run) -> list[tuple[str, str]]:
    about = run.about
    commit = str(about.get("commit") or "")
    short = f"<code>{escape(commit[:8])}</code>" if commit else MISSING
    versions = mapping(about.get("versions"))
    named = {
        "r1reward": about.get("version"),
        "jax": versions.get("jax"),
        "python": about.get("python"),
    }
    return [
        ("verb", escape(str(about.get("verb") or ""))),
        ("started", escape(_time(about.get("started")))),
        ("took", escape(_took(run))),
        ("seed", escape(str(about.get("seed", "")))),
        ("commit", short + (" with changes" if commit.endswith("+") else "")),
        ("versions", escape(", ".join(f"{n} {v}" for n, v in named.items() if v))),
        ("devices", escape(_devices(about))),
    ]


def _time(started: Any) -> str:
    try:
        return datetime.datetime.fromisoformat(str(started)).strftime("%Y-%m-%d %H:%M %Z")
    except ValueError:
        return str(started or "")


def _took(run: Run) -> str:
    """The seconds that a summary tells, else the time up to the last metrics."""
    told = finite(run.summary.get("seconds"))
    if told is not None:
        return duration(told)
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
        parts.append(
            f"{about['cpu']}" + (f", {about['cores']} cores" if about.get("cores") else "")
        )
    if (about.get("processes") or 1) != 1:
        parts.append(f"{about['processes']} processes")
    return "; ".join(parts)


def _more(run: Run) -> str:
    rows = [(name, str(version)) for name, version in mapping(run.about.get("versions")).items()]
    rows += [("commit", str(run.about.get("commit")))] if run.about.get("commit") else []
    rows += [("data hash", str(run.about["data_hash"]))] if run.about.get("data_hash") else []
    rows += [("folder", str(run.folder))]
    body = "".join(f"<div><dt>{escape(n)}</dt><dd>{escape(v)}</dd></div>" for n, v in rows)
    return f'<details><summary>Versions and hashes</summary><dl class="fine">{body}</dl></details>'


def _flat(run: Run) -> dict[str, Any]:
    """Path of a field -> value; the run's own folder is not a difference."""
    found: dict[str, Any] = {}

    def add(config: Mapping[str, Any], prefix: str) -> None:
        for name, value in config.items():
            if isinstance(value, Mapping):
                add(value, f"{prefix}{name}.")
            elif prefix + name != "workdir":
                inside = (
                    isinstance(value, str) and run.workdir and value.startswith(run.workdir + "/")
                )
                found[prefix + name] = "RUN" + value[len(run.workdir) :] if inside else value

    add(run.config, "")
    return found


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return escape(text) if text else '<span class="none">empty</span>'
