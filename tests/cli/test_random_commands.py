"""Random command lines: each is done or ends in one line of our own."""

import os
import random

import pytest

from r1reward_jax import config as configs
from r1reward_jax.cli.main import VERBS, Parser, fill, main, parsed
from r1reward_jax.errors import InputError
from r1reward_jax.runs.verbs import OLDER

KNOBS = [knob for knob, _ in configs.items(configs.load("quickstart"))]
VALUES = [
    *("", " ", "-", "--", "=", "a=b", "0", "-1", "1e400", "nan", "9" * 5000, "true", "None", "[]"),
    *("(", "(1,", "{", "@", "@missing", "@/dev/zero", "missing", "/", "..", "/dev/zero", "\x00"),
    *("\udcff", "\x1b[2J", "é", "😀", "'", '"', "%s", "%(prog)s", "http://a:b@c:99999", "gs://x/y"),
    *("file://host/x", "x.yaml", "x.json", "x.py", "x" * 5000, "1_0", "١", "(" * 500, "-" * 500),
]
COMPUTE = {"quickstart", "bench", "doctor"}
"""Verbs that need nothing that could be missing: only their arguments are read."""


def options_of(verb):
    parser = Parser(prog="r1reward")
    fill(parser, verb)
    return [name for name in parser._option_string_actions if name != "--debug"]


def random_arguments(rng, verb):
    """Options of the verb, knobs and values, joined or apart, and now and then letters changed."""
    own, words = options_of(verb), []
    for _ in range(rng.randint(0, 6)):
        name = rng.choice([*own, *own, *(f"--{k}" for k in rng.choices(KNOBS, k=6)), "-x", "--y"])
        if rng.random() < 0.1:
            at = rng.randrange(len(name))
            name = name[:at] + rng.choice(["", "-", "=", ".", "é", "\x00"]) + name[at + 1 :]
        value = rng.choice(VALUES)
        words += rng.choice([[name], [name, value], [f"{name}={value}"], [value]])
        words += [f"{rng.choice(KNOBS)}={value}"] if rng.random() < 0.3 else []
    return words


def random_verb(rng):
    return rng.choice([*VERBS, *VERBS, *OLDER])


@pytest.mark.parametrize("count", [150, pytest.param(20_000, marks=pytest.mark.slow)])
def test_any_command_line_is_read_or_refused(count, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    rng, refused = random.Random(count), 0
    for _ in range(count):
        verb = random_verb(rng)
        arguments = random_arguments(rng, OLDER.get(verb, verb))
        if OLDER.get(verb, verb) in COMPUTE:
            try:
                parsed(OLDER.get(verb, verb), arguments)
            except InputError:
                refused += 1
            except SystemExit as end:
                assert end.code == 0, arguments
            continue
        place = rng.randint(0, 1) * len(arguments)
        call = [*arguments[:place], verb, *arguments[place:]]
        try:
            code = main(call)
        except SystemExit as end:
            assert end.code == 0, call
            continue
        except Exception as error:
            raise AssertionError(call) from error
        said = capsys.readouterr().err
        problems = [line for line in said.splitlines() if line.startswith("r1reward")]
        assert code in (0, 2) and len(problems) == (code == 2), (call, said)
        assert not any(len(line) > 5000 or "\x1b" in line for line in problems), call
        refused += code == 2
    assert refused > count / 2
