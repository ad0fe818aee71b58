"""Configs of somebody else: whatever they hold, the answer is quick and names the knob."""

import json
import random
import time

import pytest

from r1reward_jax import config as configs
from r1reward_jax.cli.main import main
from r1reward_jax.errors import InputError

ODD = (
    *(None, 0, -1, 1e9, 10**9, 10**18, 10**30, -(10**30), True, False, 0.5, -0.5, 1e308),
    *(float("nan"), float("inf"), "", "x", "\x1b[2J", "\ud800", "9" * 5000, [], [[]], [0], ["a"]),
    *([1] * 100, [1e9], [None], {}, {"x": 1}, {"": {}}, "null", "[]", [float("nan")]),
)


def flat(body, prefix=""):
    for name, value in body.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def put(body, path, value):
    *parents, last = path.split(".")
    for parent in parents:
        body = body[parent]
    body[last] = value


def problems(tmp_path, body, verb):
    """What is said about a config.json; nothing if it is sound."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(body))
    try:
        return configs.problems(configs.load(str(path)), verb)
    except InputError as error:
        return [str(error)]


def test_every_knob_with_every_odd_value_is_refused_by_name_or_sound(tmp_path):
    """Also quickly, and with a short message: nothing is allocated for a number."""
    whole = configs.load("quickstart").to_dict()
    for path in list(flat(whole))[::3]:
        rng, began = random.Random(path), time.monotonic()
        for value in rng.sample(ODD, 2):
            body = json.loads(json.dumps(whole))
            put(body, path, value)
            said = problems(tmp_path, body, "quickstart")
            mine = [line for line in said if path in line or path.split(".")[0] in line]
            kinds = type(value), type(json.loads(json.dumps(whole)).get(path, value))
            assert mine or not said or value == {}, (path, value, said, kinds)
            assert sum(map(len, said)) < 4000
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "rollout.max_new_tokens=1000000000",
            "rollout.max_new_tokens=1000000000: expected at most",
        ),
        ("rollout.slots=1000000000", "rollout.slots=1000000000: expected at most 1,048,576"),
        ("buckets.tokens=(1000000000,)", "buckets.tokens"),
        ("buckets.tokens=(1,)*9", "buckets.tokens"),
        ("data.threads=100000", "data.threads=100000: expected at most 1,024"),
        ("tiny.layers=100000", "tiny.layers"),
        ("sft.steps=1e99", "sft.steps"),
        ("model.max_pixels=10000000000", "model.max_pixels"),
    ],
)
def test_sizes_that_nothing_can_have_are_refused(assignment, message):
    config = configs.load("quickstart")
    said = configs.override_problems(config, [assignment]) + configs.problems(config, "quickstart")
    assert message in " ".join(said)


def test_the_shipped_configs_are_far_from_the_limits():
    for name in configs.names():
        config = configs.load(name)
        config.workdir, config.model.path, config.data.train = "w", "a/b", "x"
        wrong = " ".join(configs.problems(config, "sft"))
        assert "at most" not in wrong, wrong


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{c}: &{c} [*{p},*{p},*{p},*{p},*{p},*{p},*{p}]\n"
        for p, c in zip("abcdefghijklmnop", "bcdefghijklmnopq")),
        "a: &a {x: 1, y: 2, z: 3}\n" + "".join(
            f"{c}: &{c} {{{', '.join(f'k{n}: *{p}' for n in range(9))}}}\n"
            for p, c in zip("abcdefghijklmnop", "bcdefghijklmnopq")),
        "rl: &rl\n  lr: *rl",
        "? [1, 2]\n: 3",
        "1: 2",
        "- a\n- b",
        "rl: {lr: .nan}",
        "base: [quickstart]",
        "base: {a: 1}",
        "seed: 2001-01-01",
        "seed: !!python/object/apply:os.system ['true']",
        "\x00",
        "{" * 10_000,
        "[" * 100_000,
    ],
    ids=range(14),
)  # fmt: skip
def test_odd_yaml_and_json_are_answered_in_one_short_line(text, tmp_path, capsys):
    for name in ("odd.yaml", "odd.json"):
        (tmp_path / name).write_text(text)
        assert main(["sft", "--config", str(tmp_path / name)]) == 2
        said = capsys.readouterr().err
        assert len(said) < 5000 and "r1reward sft: " in said, said[:300]


def test_mutated_configs_end_in_the_products_own_error(tmp_path):
    """Bytes of a whole config.json changed, cut and doubled at random."""
    rng, whole = random.Random(0), json.dumps(configs.load("quickstart").to_dict()).encode()
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            at, kind = rng.randrange(len(data)), rng.randrange(4)
            if kind == 0:
                data[at] = rng.randrange(256)
            elif kind == 1:
                del data[at : at + rng.randrange(40)]
            elif kind == 2:
                data[at:at] = rng.choice([b"null", b"[", b"{}", b'"', b"1e999", b"-", b"\xff"])
            else:
                data[at:at] = data[at : at + rng.randrange(60)]
        (tmp_path / "config.json").write_bytes(data)
        try:
            config = configs.load(str(tmp_path / "config.json"))
            configs.problems(config, rng.choice(["sft", "rl", "evaluate", "quickstart"]))
        except InputError as error:
            assert len(str(error)) < 4200
