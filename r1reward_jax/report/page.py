"""One self-contained page about one or several runs.

It loads nothing: style, script and images are inside, and its content security policy forbids the
rest, so what a model or a data file says cannot do anything, even if it were not escaped. Charts
need no script; filters and read-outs do.

A page of a quickstart's run weighs less than a megabyte. It holds at most `SAMPLES` samples; their
photographs weigh some 60 KB each, and a chart some 20 bytes for each of its numbers.
"""

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from etils import epath

from r1reward_jax.files import write_whole
from r1reward_jax.report.cards import Cards
from r1reward_jax.report.choice import Entry, choose, count, read_entries
from r1reward_jax.report.curves import curves
from r1reward_jax.report.evaluation import evaluation
from r1reward_jax.report.head import differences, head, notes, settings
from r1reward_jax.report.pictures import Pictures
from r1reward_jax.report.read import Run, read_runs
from r1reward_jax.report.samples import Sample, Source, read_samples, sources
from r1reward_jax.report.summary import summary
from r1reward_jax.types import InputError

SAMPLES, CAP = 240, 40
"""Samples of a page, and of each rare kind before the others are chosen."""
FILTERS = {
    "all": ("All", "every sample"),
    "wrong": ("Wrong", "the verdict is not the preferred response, or there is none"),
    "inconsistent": (
        "Inconsistent",
        "the judge says that the analysis does not support the verdict",
    ),
    "flipped": ("Flipped", "both orders of a record named the same position"),
    "unparsable": ("Unparsable", "no verdict could be read"),
}


def write(runs: Sequence[str], out: str | None = None) -> str:
    """Write a report.

    Args:
      runs: folders of runs, finished or not.
      out: the file; by default report.html in the folder of the only run, or, for several, in the
        current one.

    Returns:
      The path of the file.

    Raises:
      InputError: a folder holds no run, or the file cannot be written.
    """
    found = read_runs(runs)
    path = epath.Path(
        out or (found[0].folder / "report.html" if len(found) == 1 else "report.html")
    )
    text = page(found)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error}); give a file with --out") from None
    return os.fspath(path)


def page(runs: Sequence[Run]) -> str:
    """The whole document."""
    problems = [
        f"{run.name}, {note}" if len(runs) > 1 else note for run in runs for note in run.notes
    ]
    shown = _samples(runs, problems)  # adds what it cannot read
    charts = curves(runs)
    charts = f'<section id="curves"><h2>Curves</h2>{charts}</section>' if charts else ""
    parts = {
        "Results": ("summary", summary(runs)),
        "Evaluation": ("evaluation", evaluation(runs)),
        "Curves": ("curves", charts),
        "Samples": ("samples", shown),
        "Config": ("config", settings(runs)),
    }
    body = "".join(part for _, part in parts.values())
    links = "".join(f'<a href="#{at}">{name}</a>' for name, (at, part) in parts.items() if part)
    names = ", ".join(run.name for run in runs)
    style, script = (
        resources.files("r1reward_jax.report").joinpath(f"page.{kind}").read_text("utf-8")
        for kind in ("css", "js")
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">'
        f"<title>Report: {escape(names)}</title><style>{style}</style></head><body>"
        f'<header><div class="bar"><nav aria-label="Sections">{links}</nav>'
        '<button type="button" id="theme" class="controls">Theme: auto</button></div>'
        f'<p class="eyebrow">Report</p><h1>{escape(names)}</h1>'
        f"{head(runs)}{differences(runs)}{notes(problems)}</header>"
        f"<main>{body}</main><script>{script}</script></body></html>\n"
    )


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
        f"form-action 'none'; script-src 'sha256-{digest}'"
    )


# ----------------------------------------------------------------- samples


@dataclass(frozen=True)
class _Shown:
    """A chosen sample."""

    source: Source
    sample: Sample


def _samples(runs: Sequence[Run], problems: list[str]) -> str:
    found = sources(runs)
    entries = read_entries(found, problems)
    chosen = choose(entries, limit=SAMPLES, cap=CAP)
    if not chosen:
        return ""
    shown = _read(chosen)
    pictures = {
        i: Pictures(run, [s.sample for s in shown if s.source.run == i], problems)
        for i, run in enumerate(runs)
    }
    cards = Cards([run.name for run in runs])
    articles = "".join(
        cards.card(s.source, s.sample, *pictures[s.source.run].of(s.sample)) for s in shown
    )
    whole, part = count(entries), count(chosen)
    counts = {
        f"{s.run} {int(s.training)} {s.key}": {
            kind: [part[s][kind], n] for kind, n in table.items()
        }
        for s, table in whole.items()
    }
    told = (
        f"{len(chosen):,} of {len(entries):,} samples are on this page: up to {CAP} of each rare "
        "kind, then an even spread."
        if len(chosen) < len(entries)
        else f"All {len(entries):,} samples are on this page."
    )
    return (
        f'<section id="samples" data-counts="{escape(json.dumps(counts))}"><h2>Samples</h2>'
        f"<p>{told}</p>{_controls(runs, found, entries, chosen)}"
        f'<div class="samples">{articles}</div>'
        '<p class="more controls"><button type="button" id="more">12 more</button></p></section>'
    )


def _read(chosen: Sequence[Entry]) -> list[_Shown]:
    """The chosen samples with their words; what went away since it was counted is left out."""
    files: dict[Source, list[Entry]] = {}
    for entry in chosen:
        files.setdefault(entry.source, []).append(entry)
    shown = []
    for source, entries in files.items():
        samples = read_samples(source, [])
        shown += [_Shown(source, samples[e.row]) for e in entries if e.row < len(samples)]
    return shown


def _controls(
    runs: Sequence[Run], found: Sequence[Source], entries: Sequence[Entry], chosen: Sequence[Entry]
) -> str:
    buttons = "".join(
        f'<button type="button" data-kind="{kind}" aria-pressed="{str(kind == "all").lower()}" '
        f'title="{escape(meaning)}">{label} <span class="count">'
        f"{_of(chosen, kind):,} of {_of(entries, kind):,}</span></button>"
        for kind, (label, meaning) in FILTERS.items()
    )
    there = {entry.source for entry in chosen}
    labels = dict.fromkeys((s.key, s.label, s.training) for s in found if s in there)
    evaluations = [(key, label) for key, label, training in labels if not training]
    iterations = sorted((key, label) for key, label, training in labels if training)
    options = '<option value="">all sources</option>'
    if evaluations and iterations:
        options += '<option value="evaluation">evaluation</option>'
        options += '<option value="training">training</option>'
    options += _options("Evaluation", evaluations) + _options("Training", iterations)
    each = "".join(f'<option value="{i}">{escape(r.name)}</option>' for i, r in enumerate(runs))
    run = f'<label>Run <select id="run"><option value="">all runs</option>{each}</select></label>'
    return (
        '<div class="controls filters">'
        f'<div class="kinds" role="group" aria-label="Kind of sample">{buttons}</div>'
        f'<div class="fields">{run if len(runs) > 1 else ""}'
        f'<label>Source <select id="source">{options}</select></label>'
        '<label>Search <input type="search" id="search" placeholder="in questions and texts">'
        '</label></div><p role="status" id="matching"></p></div>'
    )


def _options(title: str, options: Sequence[tuple[str, str]]) -> str:
    if not options:
        return ""
    rows = "".join(f'<option value="={escape(k)}">{escape(label)}</option>' for k, label in options)
    return f'<optgroup label="{title}">{rows}</optgroup>'


def _of(entries: Sequence[Entry], kind: str) -> int:
    return sum(kind == "all" or kind in entry.kinds for entry in entries)
