"""What a config may be, and that it is what the code knows."""

import json

import pytest

from r1reward_jax import config as configs
from r1reward_jax.config import assign, devices
from r1reward_jax.errors import InputError


def overridden(*assignments, name="quickstart"):
    config = configs.load(name)
    configs.override(config, assignments)
    return config


def test_choices_are_the_tables_of_the_code():
    from r1reward_jax.data.benchmarks import BENCHMARKS
    from r1reward_jax.data.synthetic import SKILLS
    from r1reward_jax.evals.voting import RULES
    from r1reward_jax.prompts import TEMPLATES
    from r1reward_jax.responses import NAMED
    from r1reward_jax.rl.advantages import BASELINES, FILTERS, KL
    from r1reward_jax.rl.losses import AGGREGATES, LOSSES
    from r1reward_jax.train.parity import LIMITS

    tables = {
        "template": TEMPLATES,
        "model.param_dtype": LIMITS,
        "model.compute_dtype": LIMITS,
        "rl.loss": LOSSES,
        "rl.aggregate": AGGREGATES,
        "rl.baseline": BASELINES,
        "rl.kl": KL,
        "eval.stop": ("none", *RULES),
        "rl.filter": FILTERS,
    }
    for path, table in tables.items():
        assert set(configs.CHOICES[path]) == set(table), path
    assert set(configs.BENCHMARKS) == set(BENCHMARKS)
    assert set(configs.SKILLS) == set(SKILLS)
    assert set(configs.RESPONSE_FORMATS) == set(NAMED)


def test_choices_without_a_table_are_the_words_that_the_code_compares():
    """Each of them changes what the code does, and another word is refused where it is read."""
    from pathlib import Path

    import r1reward_jax

    package = Path(r1reward_jax.__file__).parent
    places = {
        "rl.consistency_mode": "rl/rewards.py",
        "model.video_rule": "models/qwen2_5_vl/rope.py",
    }
    for path, place in places.items():
        text = (package / place).read_text()
        assert sum(f'"{word}"' in text for word in configs.CHOICES[path]) >= 1, path


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (["rl.baseline=group"], "set rl.samples"),
        (["rl.importance_cap=2.0"], "rl.old_logp=trainer"),
        (["rl.samples=3"], "not a multiple of 3"),
        (["rl.samples=8", "rl.swap_weight=1.0", "rl.rollout_batch=24"], "not a multiple of 16"),
        (["rl.kl=k2"], "rl.kl=k2: expected one of k1, k3"),
        (["rl.loss=ppo"], "ppo_clip"),
        (["rl.min_ratio=2.0", "rl.sigmas=0.0"], r"rl\.min_ratio=2\.0: .*; rl\.sigmas=0\.0: exp"),
        (["rl.temperature=0.0"], "rl.temperature=0.0: expected at least 0.001"),
        (["rl.importance_cap=0.01", "rl.old_logp=trainer"], "at least 1"),
    ],
)
def test_settings_that_do_not_go_together(wrong, named):
    with pytest.raises(InputError, match=named):
        configs.check_rl(overridden(*wrong))


@pytest.mark.parametrize("verb", ["rl", "quickstart"])
def test_rl_samples_from_the_whole_distribution(verb):
    """The ratio knows of no top-k, top-p or penalty; an evaluation may have them."""
    changes = ["rollout.top_k=5", "rollout.top_p=0.9", "rollout.repetition_penalty=1.1"]
    found = configs.problems(overridden(*changes), verb)
    assert [f for f in found if "another one" in f] == [
        f"rollout.{name}: expected {value} in RL, whose ratio is of the whole distribution; "
        "samples would be drawn from another one"
        for name, value in (("top_k=5", 0), ("top_p=0.9", 1.0), ("repetition_penalty=1.1", 1.0))
    ]
    assert not any("another one" in f for f in configs.problems(overridden(*changes), "evaluate"))


def test_all_problems_are_in_one_message():
    with pytest.raises(InputError) as error:
        configs.override(overridden(), ["rl.lrr=1", "sft.steps=x", "mesh.data"])
    assert str(error.value).count("; ") >= 2
    found = configs.problems(overridden("rl.loss=x", "rl.train_batch=3", "workdir="), "quickstart")
    assert len(found) == 3 and found[0].startswith("rl.loss=x") and found[2] == "set workdir=…"


def test_shipped_configs_lack_only_what_a_user_must_give():
    for name in configs.names():
        verb = {"sft_7b": "sft", "eval": "evaluate", "quickstart": "quickstart"}.get(name, "rl")
        assert all(p.startswith("set ") for p in configs.problems(configs.load(name), verb)), name


@pytest.mark.parametrize(
    ("verb", "changes", "count", "message"),
    [
        ("sft", ["mesh.fsdp=3"], 8, "mesh {'data': 1, 'fsdp': 3, 'tensor': 1} needs 3 devices"),
        ("sft", ["sft.batch=12"], 8, "sft.batch=12: expected multiples of 8"),
        ("rl", ["rl.train_batch=12", "rollout.slots=8"], 8, "rl.train_batch=12: expected multiple"),
        ("rl", ["rollout.slots=12"], 8, "rollout.slots=12: expected multiples of 8"),
        ("rl", ["judge.path=x", "judge.batch=12"], 8, "judge.batch=12: expected multiples of 8"),
        ("rl", ["judge.path=x", "judge.devices=8"], 8, "fewer than the 8 devices"),
        ("rl", ["judge.path=x", "judge.devices=4", "rl.train_batch=6"], 8, "multiples of 4"),
        ("quickstart", ["tiny_judge.batch=12"], 8, "tiny_judge.batch=12: expected multiples of 8"),
        ("rl", ["rollout.mesh.data=3"] + [f"rollout.mesh.{n}=1" for n in ("fsdp", "tensor")], 8,
         "rollout.mesh {'data': 3, 'fsdp': 1, 'tensor': 1} needs 3"),
        ("evaluate", ["mesh.fsdp=1", "mesh.tensor=8"], 8, "mesh.tensor=8: expected a divisor"),
    ],
)  # fmt: skip
def test_what_must_fit_the_devices(verb, changes, count, message):
    found = devices.device_problems(overridden(*changes), verb, count, heads=4)
    assert any(message in problem for problem in found), found
    assert devices.device_problems(overridden(), verb, 8, heads=4) == []


def test_older_names_are_understood(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(assign.RENAMED, "rl.rate", "rl.lr")
    assert overridden("rl.rate=0.5").rl.lr == 0.5
    assert "rl.rate is called rl.lr now" in capsys.readouterr().err
    text = "from r1reward_jax.configs import default\n\n\ndef get_config():\n"
    text += "    c = default.get_config()\n    c.rl.rate = 0.25\n    return c\n"
    (tmp_path / "old.py").write_text(text)
    assert configs.load(str(tmp_path / "old.py")).rl.lr == 0.25
    old = overridden().to_dict()
    old["rl"]["rate"] = old["rl"].pop("lr") * 2
    (tmp_path / "old.json").write_text(json.dumps(old))
    new = configs.load(str(tmp_path / "old.json"))
    assert new.rl.lr == 2 * overridden().rl.lr and "rate" not in new.rl
    assert configs.renamed(old) == new.to_dict() and "rate" in old["rl"]
    (tmp_path / "part.yaml").write_text("rl: {rate: 1e-3}")
    assert configs.load(str(tmp_path / "part.yaml")).rl.lr == 1e-3


def test_the_samplers_older_names_are_understood(capsys):
    """Each says once what it is called now."""
    config = configs.load("default")
    older = ["rollout.rows=8", "rollout.refill=2", "rollout.shrink=1", "rollout.lanes=3"]
    configs.override(config, [*older, "judge.rows=16"])
    found = config.rollout
    assert (found.slots, found.prefill_batch, found.compact, found.parallel_samples) == (8, 2, 1, 3)
    assert config.judge.batch == 16
    said = "".join(capsys.readouterr())
    assert said.count("is called") == 5 and "rollout.refill is called rollout.prefill_batch" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("rl.lr=1" + 400 * "0", "rl.lr=inf: expected a finite number"),
        ("seed=1" + 400 * "0", "expected at most 9,223,372,036,854,775,807"),
        ("tiny.vocab_size=1", "tiny.vocab_size=1: expected at least 270"),
        ("tiny.hidden_size=12", "gives tiny.heads=4 heads of 3; expected an even size of at least"),
        ("tiny.hidden_size=16", "gives tiny.heads=4 heads of 4; expected an even size of at least"),
        ("tiny_judge.hidden_size=36", "tiny_judge.heads=4 heads of 9; expected an even size"),
        ("tiny.vision_hidden_size=66", "tiny.vision_hidden_size=66: expected a multiple of 8"),
        ("rl.eps=0", "rl.eps=0.0: expected above 0"),
        ("rl.temperature=1e-5", "rl.temperature=1e-05: expected at least 0.001"),
        ("judge.path=j", "judge.path=j: a quickstart trains a judge of its own; leave it empty"),
        ("judge.url=http://h/v1", "a quickstart trains a judge of its own"),
        ("model.path=m", "model.path=m: a quickstart makes a model of its own"),
        ("data.train=d.jsonl", "data.train=d.jsonl: a quickstart makes data of its own"),
        ("data.heldout=d.jsonl", "data.heldout=d.jsonl: a quickstart makes data of its own"),
        ("eval.benchmark=vl_rewardbench", "a quickstart evaluates on records of its own"),
    ],
)
def test_what_a_quickstart_cannot_use(change, message):
    (found,) = configs.problems(overridden(change), "quickstart")
    assert message in found


def test_the_config_of_an_earlier_quickstart_may_be_taken_again(tmp_path):
    """It names the judge which that run has trained."""
    (tmp_path / "stages.json").write_text("{}")
    change = f"judge.path={tmp_path}/judge"
    assert configs.problems(overridden(change, "workdir=other"), "quickstart") == []


@pytest.mark.parametrize("text", ["a: &x {b: *x}\n", "rl: {lr: &x [*x]}\n"])
def test_an_alias_that_holds_itself(text, tmp_path):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(InputError, match="own.yaml"):
        configs.load(str(tmp_path / "own.yaml"))


def test_packages_are_named_once():
    from pathlib import Path

    text = (Path(__file__).parents[2] / "setup.py").read_text()
    lines = text.partition("install_requires=[")[2].partition("]")[0].split("\n")
    names = [name for x in lines if (name := x.strip(' ",').replace("_", "-").partition(">")[0])]
    assert names and len(names) == len(set(names))


def test_the_ablation_of_reinforce_pp_differs_by_pre_clip_and_filter_alone():
    """The paper's has a KL of 0, as its own run."""
    before, after = (configs.load(c).to_dict()["rl"] for c in ("rl_7b", "ablations.reinforce_pp"))
    changed = {name: value for name, value in after.items() if value != before[name]}
    assert changed == {"loss": "reinforce_pp", "filter": "none"} and after["kl_coef"] == 0
