"""Knobs of a judge: a run without one says so, and neither addresses nor keys give secrets away."""

import pytest

from r1reward_jax import config as configs
from r1reward_jax.cli.main import main
from r1reward_jax.config.addresses import endpoint, plain_key, plain_url
from r1reward_jax.errors import InputError

SECRET = "hunter2secret"


def wrong(*overrides, name="rl_7b"):
    """What is wrong with the judge of a config."""
    config = configs.load(name)
    configs.override(config, list(overrides))
    found = configs.problems(config, "rl")
    return [line for line in found if "judge" in line or "JUDGE" in line]


def test_a_run_without_a_judge_has_to_say_so():
    (line,) = wrong()
    for way in ("judge.path=", "judge.url=", "judge.model=", "judge=none", "rl.consistency_wei"):
        assert way in line
    for said in ("judge=none", "rl.consistency_weight=0", "judge.url=http://h:1/v1"):
        assert not wrong(said, "judge.model=m")
    assert not wrong(name="quickstart") and not wrong(name="ablations.no_consistency")


def test_judge_none_is_a_part_of_the_config(tmp_path):
    config = configs.load("rl_7b")
    configs.override(config, ["judge.url=http://h/v1", "judge=none"])
    assert (config.judge.url, config.judge.path, config.judge.required) == ("", "", False)
    configs.override(config, ["judge.url=http://h/v1"])  # the last one wins
    assert config.judge.url == "http://h/v1"
    file = tmp_path / "mine.yaml"
    file.write_text("judge: none\n")
    assert configs.load(str(file)).judge.required is False
    with pytest.raises(InputError, match="expected judge=none, or its fields"):
        configs.override(config, ["judge=qwen"])


def test_a_config_without_the_consistency_reward():
    config = configs.load("ablations.no_consistency")
    assert config.rl.consistency_weight == 0 and not config.judge.required


def test_options_for_no_judge(capsys):
    for given in (["judge=none"], ["--judge", "none"], ["--judge=none"]):
        assert main(["rl", "--workdir", "w", *given]) == 2
        error = capsys.readouterr().err
        assert "set model.path=…, data.train=…" in error and "judge" not in error
        assert main(["quickstart", *given]) == 2
        assert "a quickstart trains a judge of its own" in capsys.readouterr().err


# ------------------------------------------------------------------ addresses


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://h:8000/v1", "http://h:8000/v1"),
        (" HTTP://h/v1/ ", "http://h/v1"),
        ("https://h/v1/chat/completions", "https://h/v1"),
        ("https://h/v1/chat/completions/", "https://h/v1"),
        ("http://[::1]:80/v1", "http://[::1]:80/v1"),
        ("http://h", "http://h"),
        ("http://h/v1?", "http://h/v1"),
        ("https://h/o/d?api-version=2024-02-01", "https://h/o/d?api-version=2024-02-01"),
    ],
)
def test_addresses_are_tidied(url, plain):
    assert plain_url("judge.url", url) == plain
    assert not wrong(f"judge.url={url}", "judge.model=m")


def test_an_endpoint_stands_before_the_query():
    found = endpoint("https://h/o/d?api-version=1")
    assert found == "https://h/o/d/chat/completions?api-version=1"


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:8000/v1", "h/v1", "ftp://h/v1", "http://", "http:///v1", "http://☃/v1"),
        *("http://h:99999/v1", "http://h:abc/v1", "http://h:0/v1", "http://h:-1/v1", "http://[::1"),
        *("http://h ost/v1", "http://h/v1 x", "http://h..x/v1", "http://h/v1#a", "http://h/v1?&"),
        f"http://user:{SECRET}@h/v1",
        f"http://{SECRET}@h/v1",
        f"user:{SECRET}@h/v1",
        f"http://h/v1?api_key={SECRET}",
        f"http://h/v1?{SECRET}",
        f"http://h/v1#{SECRET}",
        "http://" + "a" * 300 + "/v1",
    ],
)
def test_what_is_no_address_is_refused_and_no_secret_repeated(url):
    (line,) = wrong(f"judge.url={url}", "judge.model=m")
    assert line.startswith("judge.url") and SECRET not in line and len(line) < 250
    assert line.isascii() or "…" in line


# ----------------------------------------------------------------------- keys


@pytest.mark.parametrize("key", ["schlüssel", "a b", "a\nb", "a\x00b", "\x1b[2J", "a\u2028b"])
def test_keys_that_no_header_can_hold(key, monkeypatch):
    if "\x00" not in key:
        monkeypatch.setenv("JUDGE_API_KEY", key)
        (line,) = wrong("judge.url=http://h/v1", "judge.model=m")
        assert "environment variable JUDGE_API_KEY holds" in line and key not in line
    with pytest.raises(InputError):
        plain_key("JUDGE_API_KEY", key)


def test_white_space_around_a_key_is_left_out():
    assert plain_key("K", " sk-1\r\n") == ("sk-1", True) and plain_key("K", "sk-1") == (
        "sk-1",
        False,
    )


def test_a_variable_that_is_named_has_to_be_there(monkeypatch):
    monkeypatch.delenv("MY_API_KEY", raising=False)
    (line,) = wrong("judge.url=http://h/v1", "judge.model=m", "judge.api_key_env=MY_API_KEY")
    assert "the environment has no such variable" in line


def test_a_config_file_names_only_variables_of_keys(tmp_path, monkeypatch, capsys):
    """Somebody else's config once got any variable's value sent to a server of theirs."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("OTHER_API_KEY", "k")
    file = tmp_path / "theirs.json"
    line = '{"judge": {"url": "http://h/v1", "model": "m", "api_key_env": "%s"}}'
    file.write_text(line % "AWS_SECRET_ACCESS_KEY")
    assert main(["rl", "--config", str(file), "workdir=w"]) == 2
    error = capsys.readouterr().err
    assert "judge.api_key_env=AWS_SECRET_ACCESS_KEY: its value would be sent" in error
    assert SECRET not in error
    given = "judge.api_key_env=AWS_SECRET_ACCESS_KEY"
    assert main(["rl", "--config", str(file), "workdir=w", given]) == 2
    left = "r1reward rl: set model.path=…, data.train=…\n"
    assert capsys.readouterr().err.endswith(left)
    file.write_text(line % "OTHER_API_KEY")
    assert main(["rl", "--config", str(file), "workdir=w"]) == 2
    assert capsys.readouterr().err.endswith(left)
