"""Lines, warnings and progress bars: for a person on a terminal, plain and silent elsewhere."""

import io
import logging
import subprocess
import sys
import time
import warnings

import pytest

from r1reward_jax import console
from r1reward_jax.cli.messages import in_our_style
from r1reward_jax.console import counter, detail, note, progress, result, say, warn


@pytest.fixture(autouse=True)
def normal_level():
    """Whatever level a test, or a command before it, has set."""
    console.set_level(console.NORMAL)
    yield
    console.set_level(console.NORMAL)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal(monkeypatch):
    """A terminal that shows stdout and stderr, from within a test: pytest has its own before."""
    screen = Terminal()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, screen)
    for name, value in {"TERM": "xterm", "COLUMNS": "120"}.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return screen


@pytest.fixture(autouse=True)
def level():
    yield
    console.set_level(console.NORMAL)


def test_bars_on_a_terminal(monkeypatch):
    screen = terminal(monkeypatch)
    assert list(progress(range(3), "sft", 10, 7)) == [0, 1, 2]
    with counter("judging", 4) as one_more:
        for place in range(4):
            one_more(place, ["completion"])
        time.sleep(0.6)  # until it is drawn anew
    shown = screen.getvalue()
    assert "sft:" in shown and "70%" in shown and "7/10" in shown  # a resumed phase begins there
    assert "judging:" in shown and "4/4" in shown and "it/s" in shown
    assert console._bars is None and sys.stdout is sys.stderr is screen
    assert shown.rstrip().endswith("\x1b[?25h") or shown.rfind("[?25h") > shown.rfind("[?25l")


def test_bars_within_bars_and_lines_beside_them(monkeypatch):
    screen = terminal(monkeypatch)
    long = "a [bold]line[/bold] of :smile: " + "x" * 200
    for _ in progress(range(2), "rl"):
        with counter("judging", 4) as one_more:
            one_more()
            say(long)
            print("of a library")
    shown = screen.getvalue()
    assert shown.count(long + "\n") == 2 and "of a library" in shown
    assert "rl:" in shown and "judging:" in shown and console._bars is None


def test_an_error_takes_the_bars_away(monkeypatch):
    screen = terminal(monkeypatch)
    with pytest.raises(ZeroDivisionError), counter("judging", 4):
        _ = 1 / 0
    assert console._bars is None and sys.stderr is screen
    loop = progress(range(3), "sft")
    assert next(iter(loop)) == 0
    del loop
    assert console._bars is None


def test_silence_elsewhere(capsys):
    assert list(progress(["a", "b"], "sft")) == ["a", "b"]
    with counter("judging", 2) as one_more:
        one_more()
    say("a line")
    printed = capsys.readouterr()
    assert printed.out == "a line\n" and printed.err == ""


@pytest.mark.parametrize(
    ("level", "out", "err"),
    [
        (console.QUIET, "result\n", "warning: careful\n"),
        (console.NORMAL, "line\nresult\n", "note: by the way\nwarning: careful\n"),
        (console.VERBOSE, "line\ndetail\nresult\n", "note: by the way\nwarning: careful\n"),
    ],
)
def test_levels(level, out, err, capsys):
    console.set_level(level)
    for printed, text in ((say, "line"), (detail, "detail"), (result, "result")):
        printed(text)
    note("by the way")
    warn("careful")
    assert capsys.readouterr() == (out, err)


def test_no_bars_if_quiet(monkeypatch):
    screen = terminal(monkeypatch)
    console.set_level(console.QUIET)
    assert list(progress(range(3), "sft")) == [0, 1, 2] and screen.getvalue() == ""


def test_colours_on_terminals_that_have_them(monkeypatch):
    screen = terminal(monkeypatch)
    warn("careful")
    assert screen.getvalue() == "\x1b[33mwarning: careful\x1b[0m\n"
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            assert console.coloured("text", "33") == "text"


def test_rich_is_imported_with_the_first_bar_only():
    code = "import sys, r1reward_jax.console as c; c.say('x'); c.progress([], 'y'); "
    code += "sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_a_warning_that_comes_again_is_counted(capsys):
    with console.counted_warnings():
        for number in range(3):
            warn(f"update {number} skipped", kind="an update skipped")
            warn("careful")
        warn("of a kind of its own")
        assert len(capsys.readouterr().err.splitlines()) == 3
    *_, careful = lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "warning: 2 times more: an update skipped"
    assert careful == "warning: 2 times more: careful" and len(lines) == 2
    for _ in range(2):
        warn("careful")  # outside a command, every time
    assert capsys.readouterr().err == "warning: careful\n" * 2


@pytest.mark.filterwarnings("default")
def test_what_libraries_say_is_in_our_style(capsys):
    """Python's warnings, a logger without a handler, and one that has its own."""
    loud, own = logging.getLogger("jax._src.somewhere"), logging.getLogger("transformers.models")
    parent = logging.getLogger("transformers")
    before = parent.handlers[:], parent.propagate, parent.level
    try:
        parent.addHandler(logging.StreamHandler(sys.stderr))
        parent.propagate = False
        with in_our_style(debug=False):
            for _ in range(4):
                warnings.warn("one\n  two", UserWarning, stacklevel=1)
                loud.warning("no accelerator: %s", "cpu")
                own.warning("an odd tokenizer")
            loud.info("not for people")
            logging.getLogger("absl").error("a traceback")
    finally:
        parent.handlers[:], parent.propagate, parent.level = before
    said = capsys.readouterr().err
    assert said.count("warning: test_console: one two (UserWarning)") == 1
    assert said.count("warning: jax: no accelerator: cpu") == 1
    assert said.count("an odd tokenizer") == 2 and "warning: transformers: an odd tok" in said
    assert said.count("warning: 3 times more: ") == 2  # Python counts its own
    assert "not for people" not in said and "a traceback" not in said
    assert warnings.showwarning.__module__ != "r1reward_jax.cli.messages"
