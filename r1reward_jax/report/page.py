"""One self-contained page about one or several runs.

It loads nothing: style, script and images are inside, and its content security policy forbids the
rest, so what a model or a data file says cannot do anything, even if it were not escaped. Charts
need no script; filters and read-outs do.

A page of a quickstart's run weighs some megabyte. It has at most `listing.CARDS` cards, whose
pictures weigh at most `cards.PICTURE_BYTES`; other records of evaluations are listed in short, with
some 500 bytes each. A chart has some 20 bytes for each of its numbers.
"""

import base64
import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from importlib import resources

from etils import epath
from markupsafe import Markup

from r1reward_jax.console import say
from r1reward_jax.evals.paired import FolderComparison
from r1reward_jax.files import write_whole
from r1reward_jax.report import head
from r1reward_jax.report.comparison import compared
from r1reward_jax.report.curves import curves
from r1reward_jax.report.evaluation import Evaluation, evaluation
from r1reward_jax.report.listing import CAP, labels, listing, read_all
from r1reward_jax.report.read import Run, read_runs
from r1reward_jax.report.view import template, visible
from r1reward_jax.types import InputError

LONGEST = 300
"""Characters of an error that are said at the end of a run."""


def write(
    runs: Sequence[str],
    out: str | None = None,
    *,
    tested: FolderComparison | None = None,
    outside: bool = False,
) -> str:
    """Write a report.

    Args:
      runs: folders of runs, finished or not.
      out: the file; by default report.html in the folder of the only run, or, for several, in the
        current one.
      tested: as of `page`.
      outside: as of `page`.

    Returns:
      The path of the file.

    Raises:
      InputError: a folder holds no run, or the file cannot be written.
    """
    found = read_runs(runs)
    path = epath.Path(
        out or (found[0].folder / "report.html" if len(found) == 1 else "report.html")
    )
    # a lone surrogate that got past everything must not cost the page
    content = page(found, tested=tested, outside=outside).encode("utf-8", errors="replace")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
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
                say(f"report: {write([workdir], outside=True)}")
            except Exception as error:
                why = visible(f"{type(error).__name__}: {error}")[:LONGEST]
                say(f"no report: {why}; `r1reward report {workdir}` tries again")


def page(
    runs: Sequence[Run], *, tested: FolderComparison | None = None, outside: bool = False
) -> str:
    """Return the whole document.

    Args:
      runs: what it is about.
      tested: the difference between two of them with p-values, if it was computed.
      outside: images may lie outside the runs' folders and their data's.
    """
    problems = [
        f"{run.name}, {note}" if len(runs) > 1 else note for run in runs for note in run.notes
    ]
    found, items = read_all(runs, problems)
    style, script = (
        resources.files("r1reward_jax.report").joinpath(f"page.{kind}").read_text("utf-8")
        for kind in ("css", "js")
    )
    return template("page.html").render(
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        names=[run.name for run in runs],
        panels=head.panels(runs, labels(runs)),
        differences=head.differences(runs),
        cards=head.cards(runs),
        summary=head.summary(runs),
        changes=[head.before_after(run) for run in runs] if len(runs) == 1 else [],
        evaluation=_evaluation(runs, problems),
        comparison=compared(runs, items, tested),
        phases=curves(runs),
        cap=CAP,
        listing=listing(runs, found, items, problems, outside=outside),
        labels=labels(runs),
        skipped=head.skipped(runs),
        settings=head.settings(runs[0]),
        problems=problems,  # to which the samples have added what cannot be read of them
    )


def _evaluation(runs: Sequence[Run], problems: list[str]) -> Evaluation | None:
    """Return the section about evaluations; those of another form than theirs are noted."""
    try:
        return evaluation(runs)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        problems.append(f"evaluation.json: not as r1reward writes it ({type(error).__name__})")
        return None
