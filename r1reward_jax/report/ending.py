"""Every run ends with its report."""

import contextlib
from collections.abc import Iterator

from r1reward_jax.console import say
from r1reward_jax.report.page import write


@contextlib.contextmanager
def reported(workdir: str) -> Iterator[None]:
    """Write the report of a run when the block ends, however it ends. A report that fails takes
    nothing else with it."""
    import jax  # here, because `r1reward report` needs none

    try:
        yield
    finally:
        if jax.process_index() == 0:
            _write(workdir)


def _write(workdir: str) -> None:
    try:
        say(f"report: {write([workdir])}")
    except Exception as error:
        say(f"no report: {error!r}; `r1reward report {workdir}` tries again")
