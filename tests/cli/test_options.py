"""Knobs as options, verbs by their older names, configs from files."""

import json
from argparse import Namespace

import pytest

from r1reward_jax import config as configs
from r1reward_jax import console
from r1reward_jax.cli import options
from r1reward_jax.cli.main import VERBS, Parser, _without_common, fill, main, parsed
from r1reward_jax.config import knobs
from r1reward_jax.errors import InputError


def overrides(*arguments, verb="rl") -> list[str]:
    return parsed(verb, arguments).overrides


def test_a_knob_in_three_ways():
    assert overrides("--rl.lr=1e-6") == overrides("--rl.lr", "1e-6") == overrides("rl.lr=1e-6")
    given = [
        "a.b=1",
        "--seed",
        "3",
        "--rl.lr",
        "2",
        "c.d=4",
        "--workdir=w",
        "--rl.temperature",
        "-1",
    ]
    assert overrides(*given) == ["a.b=1", "seed=3", "rl.lr=2", "c.d=4", "workdir=w"] + [
        "rl.temperature=-1"
    ]
    assert overrides("--config", "rl_7b", "x=1", "--template=brief") == ["x=1", "template=brief"]


def test_switches_and_projects():
    assert overrides("--step.remat", "--seed=1") == ["step.remat=true", "seed=1"]
    assert overrides("--step.remat", "false") == ["step.remat=false"]
    assert overrides("--wandb", "rl.lr=1") == ["wandb=r1reward", "rl.lr=1"]
    assert overrides("--wandb", "mine") == ["wandb=mine"] == overrides("--wandb=mine")
    assert configs.load("default").wandb == ""  # nothing is sent unless it is asked for
    with pytest.raises(InputError, match="--rl.lr: expected a value, like 0.0003"):
        overrides("--rl.lr")


def test_the_last_one_wins():
    args = Namespace(
        config="rl_7b",
        default_config="rl_7b",
        overrides=overrides(
            "rl.lr=1.0", "--rl.lr", "2.0", "seed=4", "--seed", "5", "workdir=a", "--workdir", "b"
        )
        + ["model.path=org/m", "judge=none", "data.train="],
    )
    with pytest.raises(InputError, match="set data.train=…"):
        options.config_from(args, "rl")
    args.overrides.append("data.train=" + __file__)
    config = options.config_from(args, "rl")
    assert (config.rl.lr, config.seed, config.workdir) == (2.0, 5, "b")


def test_values_of_every_kind():
    config = configs.load("quickstart")
    configs.override(
        config,
        ["buckets.tokens=64,96", "world.skills=color,shape", "step.remat=true", "rl.lr=1"]
        + ["judge.url=http://h/v1?a=b"],
    )
    assert config.buckets.tokens == (64, 96) and config.world.skills == ("color", "shape")
    assert config.step.remat is True and config.rl.lr == 1.0
    assert config.judge.url == "http://h/v1?a=b"


def test_every_knob_has_its_comment_in_the_help(capsys):
    with pytest.raises(SystemExit):
        main(["rl", "--help-all"])
    text = capsys.readouterr().out
    for path, _ in configs.items(configs.load("default")):
        (line,) = [x for x in text.splitlines() if x.strip().startswith(f"--{path} = ")]
        assert "  # " in line, path
    with pytest.raises(SystemExit):
        main(["rl", "--help"])
    short = capsys.readouterr().out
    assert "--rl.lr =" not in short and "exit codes: 0 done" in short


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(verb, capsys):
    assert main(["help", verb]) == 0
    text = capsys.readouterr().out
    assert f"usage: r1reward {verb}" in text and "exit codes" in text and "--debug" in text


def test_older_names_of_verbs(capsys):
    for old, new in {"train": "rl", "scalar": "scalar-rm", "check": "parity"}.items():
        assert main([old, "model.path="]) == 2
        assert capsys.readouterr().err.startswith(f"r1reward {new}: ")
        assert old not in VERBS
    assert main(["score", "--model", "m"]) == 2
    assert capsys.readouterr().err.startswith("r1reward compare: the following arguments")


def test_compare_of_two_folders_is_compare_evals(tmp_path, capsys):
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 2
    note, error = capsys.readouterr().err.splitlines()
    assert note == "note: two evaluations are compared by `r1reward compare-evals`"
    assert error.startswith("r1reward compare-evals: ")


def test_compare_without_a_model_is_not_compare_evals(capsys):
    assert main(["compare", "--question", "foo", "--a", "x", "--b", "y"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("r1reward compare: ") and "required: --model" in error


def test_a_common_option_that_is_a_value_stays(capsys):
    asked = ["--question", "q", "--a", "-v", "--b", "-q", "--debug"]
    rest, found = _without_common(["compare", *asked, "-v"])
    assert rest == ["compare", "--question", "q", "--a=-v", "--b=-q"]
    assert found == {"--debug", "-v"}
    assert parsed("compare", ["--model=m", *rest[1:]]).a == "-v"
    assert _without_common(["rl", "--workdir", "-v"])[0] == ["rl", "--workdir=-v"]
    assert _without_common(["rl", "--wandb", "-v"]) == (["rl", "--wandb"], {"-v"})


@pytest.mark.parametrize("verb", ["evaluate", "parity"])
def test_verbs_without_metrics_have_no_wandb(verb, capsys):
    with pytest.raises(InputError, match="no option --wandb here: this verb logs no metrics"):
        overrides("--wandb", "mine", verb=verb)
    assert main(["help", verb]) == 0
    assert "--wandb" not in capsys.readouterr().out


def test_a_switch_takes_true_or_false():
    for word in ("0", "no", "yes"):
        with pytest.raises(InputError, match=f"--rl.standardize {word}: expected true or false"):
            overrides("--rl.standardize", word)
    assert overrides("--rl.standardize", "False") == ["rl.standardize=False"]
    assert overrides("--step.remat", "rl.lr=1") == ["step.remat=true", "rl.lr=1"]


def test_debug_quiet_and_verbose_anywhere(capsys):
    for call in (["--debug", "sft", "rl.x=1"], ["sft", "rl.x=1", "--debug"]):
        with pytest.raises(InputError, match="rl.x"):
            main(call)
    assert main(["-q", "config", "list"]) == 0 and console._level == console.QUIET
    assert "rl_7b" in capsys.readouterr().out  # what was asked for
    assert main(["config", "list", "--verbose"]) == 0 and console._level == console.VERBOSE
    assert main(["config", "list"]) == 0 and console._level == console.NORMAL


def test_completion_knows_verbs_and_options(capsys):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert "compare-evals" in script and "--response-format" in script
    assert main(["completion", "fish"]) == 2
    assert "invalid choice: 'fish'" in capsys.readouterr().err


def test_parts_of_configs_as_yaml_and_json(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("base: rl_7b\nrl: {lr: 3e-7, loss: ppo_clip}\n")
    config = configs.load(str(tmp_path / "a.yaml"))
    assert config.rl.lr == 3e-7 and config.step.micro_tokens == 8 * 3072  # of rl_7b
    assert "sets rl.loss, rl.lr; all else is of rl_7b" in capsys.readouterr().err
    (tmp_path / "b.json").write_text(json.dumps({"buckets": {"tokens": [64, 96]}}))
    config = configs.load(str(tmp_path / "b.json"))
    assert config.buckets.tokens == (64, 96) and config.step.micro_tokens == 0  # of default
    (tmp_path / "c.yaml").write_text("tiny: {layers: 3}\n")
    assert configs.load(str(tmp_path / "c.yaml")).tiny.layers == 3  # of quickstart
    for text, message in [
        ("base: rl_8b\n", "did you mean 'rl_7b'?"),
        ("rl: {lrr: 1}\n", "did you mean 'rl.lr'?"),
        ("rl: {lr: fast}\n", "expected float"),
        ("- 1\n", "not a config"),
        ("rl: [\n", "not a config"),
        ("3: 4\n", "not a config"),
    ]:
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(InputError, match=message.replace("?", r"\?")):
            configs.load(str(tmp_path / "bad.yaml"))


def test_show_and_diff(tmp_path, capsys):
    assert main(["config", "diff", "rl_7b", "ablations.released"]) == 0
    assert "rl.filter: paper -> released" in capsys.readouterr().out
    folder = tmp_path / "run"
    folder.mkdir()
    config = configs.load("quickstart")
    config.rl.lr = 0.5
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    assert main(["config", "diff", "quickstart", str(folder)]) == 0
    assert capsys.readouterr().out == "rl.lr: 0.0003 -> 0.5\n"
    assert main(["config", "show", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "rl.lr = 0.5" in shown and "# peak (the release: 3e-7)" in shown
    assert list(knobs.differences(config, config)) == []


def test_what_a_config_file_says_itself(tmp_path):
    """Also a value that is the default's: whoever writes it down means it."""
    text = "from r1reward_jax.configs import eval\n\n\ndef get_config():\n"
    text += "    c = eval.get_config()\n    c.model.compute_dtype = 'bfloat16'\n    return c\n"
    (tmp_path / "mine.py").write_text(text)
    said = configs.explicit(str(tmp_path / "mine.py"), configs.load("eval"))
    assert {"model.compute_dtype", "eval.samples", "rollout.slots"} <= said
    assert "template" not in said and "rl.lr" not in said


def test_parsers_name_the_nearest_option():
    parser = Parser(prog="r1reward compare")
    fill(parser, "compare")
    with pytest.raises(InputError, match=r"did you mean '--image'\?"):
        parser.parse_args(["--model=m", "--question=q", "--a=a", "--b=b", "--imagee=x"])
