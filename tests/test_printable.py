"""What somebody's data have in them reaches a terminal and files harmless, and not at length."""

import io
import json
import os
import sys

import pytest

from r1reward_jax import console, files
from r1reward_jax.cli.main import main
from r1reward_jax.errors import LONGEST, InputError, about, printable, record_name

NASTY = {
    "\x1b]0;title\x07\x1b[2Jx": "\\x1b]0;title\\x07\\x1b[2Jx",
    "a\rb\x08c\x7f\x9b31m": "a\\rb\\x08c\\x7f\\x9b31m",
    "half \ud83d of it": "half \\ud83d of it",
    "\u202egnp.exe\u2066": "\\u202egnp.exe\\u2066",
    "a\u2028b\u2029c\ufeff\u200b": "a\\u2028b\\u2029c\\ufeff\\u200b",
    "größer 日本語 👍 שלום": "größer 日本語 👍 שלום",
}


@pytest.mark.parametrize(("text", "shown"), NASTY.items(), ids=ascii)
def test_what_moves_hides_or_turns_is_shown_as_an_escape(text, shown, capsys):
    assert printable(text) == shown == str(InputError(text))
    for say in (console.result, console.say, console.warn, console.note):
        say(text)
    out, err = capsys.readouterr()
    assert out == f"{shown}\n" * 2 and err == f"warning: {shown}\nnote: {shown}\n"


def test_line_breaks_cannot_forge_a_message(capsys):
    assert printable("a\nb\tc") == "a\nb\tc" and printable("a\nb", lines=False) == "a\\nb"
    console.warn("record x\nwarning: all is well")
    assert capsys.readouterr().err == "warning: record x\n  warning: all is well\n"
    with pytest.raises(InputError, match=r"^record a\\nb: why$"), about(record_name("a\nb")):
        raise InputError("why")


def test_messages_are_short_however_long_the_data_are():
    assert len(str(InputError("x" * 500_000))) < LONGEST + 100
    assert "(500,000 characters)" in str(InputError("x" * 500_000))
    assert len(record_name("x" * 500_000)) < 300


def test_a_forged_id_is_one_line_of_an_error(tmp_path, capsys, checkpoint):
    row = {"id": "x\nr1reward sft: all is well\x1b[2J", "question": 3}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    call = ["sft", f"workdir={tmp_path}/run", f"model.path={checkpoint}"]
    assert main([*call, f"data.train={tmp_path}/rows.jsonl"]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said and not any(
        line.startswith("r1reward") for line in said.splitlines()[1:]
    )


def test_half_a_character_costs_no_file(tmp_path):
    files.write_whole(tmp_path / "page.html", "a\ud800b")
    assert (tmp_path / "page.html").read_text() == "a\\ud800b"
    growing = files.GrowingFile(tmp_path / "lines")
    growing.append('{"id": "\udfff"}\n')
    growing.close()
    # in json, the escape is the character again
    assert json.loads((tmp_path / "lines").read_text()) == {"id": "\udfff"}


def test_what_cannot_be_written_leaves_no_part(tmp_path, monkeypatch):
    (tmp_path / "page.html").write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_whole(tmp_path / "page.html", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text() == "old"


def test_files_are_on_the_disk_before_they_get_their_name(tmp_path, monkeypatch):
    """And all of an export: a loss of power leaves whole files."""
    seen = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda n: (seen.append(sorted(os.listdir(tmp_path))), real(n)))
    files.write_whole(tmp_path / "run.json", "{}")
    assert seen == [["run.json.part"]]
    (tmp_path / "model.safetensors").write_bytes(b"x")
    seen.clear()
    files.sync_folder(tmp_path)
    assert len(seen) == 3  # two files, and the folder with their names


def test_a_terminal_that_knows_only_ascii_is_no_reason_to_crash(monkeypatch):
    from r1reward_jax.cli import main as module
    from r1reward_jax.cli import terminal

    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(terminal.stopping, "listen", lambda: None)
    monkeypatch.setattr(module, "main", lambda: print("größer …") or 0)
    with pytest.raises(SystemExit):
        terminal.command_line()
    assert stream.buffer.getvalue() == b"gr\\xf6\\xdfer \\u2026\n"
