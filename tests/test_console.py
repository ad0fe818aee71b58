"""Progress bars: with rate and time left on a terminal, silent elsewhere."""

import io
import sys

from r1reward_jax.console import counter, progress, say


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bars_on_a_terminal(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    assert list(progress(range(3), "sft", 10, 7)) == [0, 1, 2]
    with counter("judging", 4) as one_more:
        for place in range(4):
            one_more(place, ["completion"])
    shown = screen.getvalue()
    assert "sft:  70%" in shown and "7/10" in shown  # a resumed phase begins where it stood
    assert "judging: " in shown and "/4 [" in shown and "it/s" in shown


def test_silence_elsewhere(capsys):
    assert list(progress(["a", "b"], "sft")) == ["a", "b"]
    with counter("judging", 2) as one_more:
        one_more()
    say("a line")
    printed = capsys.readouterr()
    assert printed.out == "a line\n" and printed.err == ""
