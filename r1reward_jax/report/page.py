"""One self-contained page about one or several runs.

It loads nothing: style, script and images are inside, and its content security policy forbids the
rest, so what a model or a data file says cannot do anything, even if it were not escaped. Charts
need no script; filters and read-outs do.

A page of a quickstart's run weighs less than a megabyte. It holds at most `SAMPLES` samples; their
photographs weigh some 60 KB each, and a chart some 20 bytes for each of its numbers.
"""

import base64
import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import resources
from typing import Any

from etils import epath
from markupsafe import Markup

from r1reward_jax.console import say
from r1reward_jax.files import write_whole
from r1reward_jax.report import head
from r1reward_jax.report.cards import Cards, SampleCard
from r1reward_jax.report.curves import curves
from r1reward_jax.report.evaluation import evaluation
from r1reward_jax.report.pictures import Pictures
from r1reward_jax.report.read import Run, read_runs
from r1reward_jax.report.samples import (
    Entry,
    Sample,
    Source,
    choose,
    count,
    read_entries,
    read_samples,
    sources,
)
from r1reward_jax.report.view import template
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


@contextlib.contextmanager
def reported(workdir: str) -> Iterator[None]:
    """Write the report of a run when the block ends, however it ends. A report that fails is no
    reason for the run to fail."""
    import jax  # here, because `r1reward report` needs no JAX

    try:
        yield
    finally:
        if jax.process_index() == 0:
            try:
                say(f"report: {write([workdir])}")
            except Exception as error:
                say(f"no report: {error!r}; `r1reward report {workdir}` tries again")


def page(runs: Sequence[Run]) -> str:
    """Return the whole document."""
    problems = [
        f"{run.name}, {note}" if len(runs) > 1 else note for run in runs for note in run.notes
    ]
    style, script = (
        resources.files("r1reward_jax.report").joinpath(f"page.{kind}").read_text("utf-8")
        for kind in ("css", "js")
    )
    return template("page.html").render(
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        names=[run.name for run in runs],
        panels=head.panels(runs),
        differences=head.differences(runs),
        cards=head.cards(runs),
        summary=head.summary(runs),
        evaluation=evaluation(runs),
        phases=curves(runs),
        samples=_samples(runs, problems),
        settings=head.settings(runs[0]),
        problems=problems,  # to which the samples have added what cannot be read of them
    )


# ----------------------------------------------------------------- samples


def _samples(runs: Sequence[Run], problems: list[str]) -> dict[str, Any]:
    """Return what `templates/samples.html` shows; empty without samples."""
    found = sources(runs)
    entries = read_entries(found, problems)
    chosen = choose(entries, limit=SAMPLES, cap=CAP)
    if not chosen:
        return {}
    here, everywhere = count(chosen), count(entries)
    # the script adds up what a filter leaves: samples on the page and in all, of each source
    counts = {
        f"{s.run} {int(s.training)} {s.key}": {
            kind: [here.get(s, Counter())[kind], n] for kind, n in kinds.items()
        }
        for s, kinds in everywhere.items()
    }
    filters = [
        (kind, label, meaning, *(sum(c[kind] for c in of.values()) for of in (here, everywhere)))
        for kind, (label, meaning) in FILTERS.items()
    ]
    labels = dict.fromkeys((s.key, s.label, s.training) for s in found if s in here)
    return {
        "counts": counts,
        "chosen": len(chosen),
        "all": len(entries),
        "cap": CAP,
        "filters": filters,
        "evaluations": [(key, label) for key, label, training in labels if not training],
        "iterations": sorted((key, label) for key, label, training in labels if training),
        "cards": _cards(runs, chosen, problems),
    }


def _cards(runs: Sequence[Run], chosen: Sequence[Entry], problems: list[str]) -> list[SampleCard]:
    shown = _read(chosen)
    pictures = {
        i: Pictures(run, [sample for source, sample in shown if source.run == i], problems)
        for i, run in enumerate(runs)
    }
    cards = Cards([run.name for run in runs])
    return [
        cards.card(source, sample, *pictures[source.run].of(sample)) for source, sample in shown
    ]


def _read(chosen: Sequence[Entry]) -> list[tuple[Source, Sample]]:
    """Return the chosen samples with their words. Lines of a run that continues may have
    vanished since they were counted: those are left out."""
    files: dict[Source, list[Entry]] = {}
    for entry in chosen:
        files.setdefault(entry.source, []).append(entry)
    shown = []
    for source, entries in files.items():
        samples = read_samples(source, [])
        shown += [(source, samples[e.row]) for e in entries if e.row < len(samples)]
    return shown
