"""What may change between two starts of a run, and which stages a corrected config repeats."""

import json

import pytest

from r1reward_jax import config as configs
from r1reward_jax.config.renamed import RENAMED
from r1reward_jax.quickstart import STAGES
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.runs.resume import (
    DEVICES,
    LENGTHS,
    MAY_CHANGE,
    OF_VERB,
    UNREAD,
    Change,
    exactness,
    flat,
    matches,
)
from r1reward_jax.runs.run_dir import claim_data, run_folder
from r1reward_jax.runs.stages import Stages
from r1reward_jax.runs.verbs import OLDER
from r1reward_jax.types import InputError


def claim(folder, overrides=(), *, verb="rl", stages=(), data_hash="a", phase="rl"):
    """Start a run, or start it once more; it writes one line of metrics."""
    config = configs.load("quickstart")
    configs.override(config, list(overrides))
    config.workdir = str(folder)
    with run_folder(str(folder), config.to_dict(), verb=verb, stages=stages):
        claim_data(str(folder), data_hash)
        if phase:
            MetricsLog(f"{folder}/metrics.jsonl").write(phase, 1, {"loss/total": 1.0})
    return json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize(
    ("override", "means"),
    [
        ("judge.timeout_s=90.0", "the same where the same judge model"),
        ("data.threads=4", "no number of the run depends on it"),
        ("wandb='mine'", "no number of the run depends on it"),
        ("profile_step=3", "no number of the run depends on it"),
        ("checkpoint.keep=9", "no number of the run depends on it"),
        ("checkpoint.iterations=9", "which checkpoints are measured"),
        ("checkpoint.updates=9", "`rl` does not read it"),
        ("rl.max_gap=0.5", "no number of the run depends on it: it only says"),
        ("optimizer.max_skipped=9", "no number of the run depends on it: it only says"),
        ("eval.samples=9", "`rl` does not read it"),
        ("eval.benchmark='vlrewardbench'", "`rl` does not read it"),
        ("data.train='moved.jsonl'", "must have the same hash"),
        ("eval.records=9", "on which records, and so which is best, changes"),
        ("mesh.fsdp=2", "may differ in rounding"),
        ("rollout.mesh.data=2", "may differ in rounding"),
        ("judge.devices=1", "may differ in rounding"),
        ("step.micro_tokens=512", "may differ in rounding"),
        ("rl.iterations=99", "the learning-rate schedule is now that of the longer run"),
        ("sft.lr=0.5", "`rl` does not read it"),
    ],
)
def test_what_leaves_the_numbers_as_they_are_may_change(override, means, tmp_path, capsys):
    """Each of these was refused once, and a run of days could not resume."""
    before = claim(tmp_path)
    after = claim(tmp_path, [override])
    (entry,) = after["resumed"]
    (change,) = entry["changed"]
    knob = override.split("=")[0]
    assert change["knob"] == knob and means in change["exactness"]
    assert change["old"] == flat(before["config"])[knob] != change["new"]
    assert change["new"] == flat(after["config"])[knob]
    assert f"{knob}: {change['old']} -> {change['new']}: " in capsys.readouterr().out
    assert claim(tmp_path, [override])["resumed"][1]["changed"] == []  # it is the config now
    assert flat(configs.load(str(tmp_path / "config.json")).to_dict())[knob] == change["new"]


def test_a_judge_may_move_and_neither_come_nor_go(tmp_path):
    """A run whose judge had vanished once resumed without its consistency reward."""
    served = lambda url: [f"judge.url={url}", "judge.model=a"]  # noqa: E731
    claim(tmp_path / "with", served("http://one:8000/v1"))
    (entry,) = claim(tmp_path / "with", served("http://two:8000/v1"))["resumed"]
    assert "the same where the same judge model" in entry["changed"][0]["exactness"]
    with pytest.raises(InputError, match=r"another run \(judge\.url: http://two:8000/v1 -> \)"):
        claim(tmp_path / "with", served(""))
    claim(tmp_path / "without", served(""))
    with pytest.raises(InputError, match=r"another run \(judge\.url:  -> http://one"):
        claim(tmp_path / "without", served("http://one:8000/v1"))


@pytest.mark.parametrize("verb", ["rl", "quickstart"])
def test_a_knob_that_an_older_run_lacks_had_its_default(verb, tmp_path):
    """Each new knob once made all older folders those of other runs."""
    claim(tmp_path, verb=verb)
    path = tmp_path / "run.json"
    body = json.loads(path.read_text())
    del body["config"]["rollout"]["top_k"], body["config"]["model"]["video_rule"]
    del body["config"]["buckets"]["tokens"]
    body["config"]["rollout"]["rows"] = body["config"]["rollout"].pop("slots") - 1  # older name
    if verb == "rl":  # whose default is another one
        body["config"]["buckets"]["tokens"] = [52, 64]
    path.write_text(json.dumps(body))
    with pytest.raises(InputError, match=r"another run \(rollout\.top_k: 0 -> 5\)"):
        claim(tmp_path, ["rollout.top_k=5"], verb=verb)
    (entry,) = claim(tmp_path, verb=verb)["resumed"]
    assert [c["knob"] for c in entry["changed"]] == ["rollout.slots"]


@pytest.mark.parametrize(
    "override",
    ["seed=7", "rl.lr=0.5", "judge.model='other'", "rl.iterations=35", "buckets.tokens=(52,)"],
)
def test_what_changes_the_numbers_is_refused(override, tmp_path):
    before = claim(tmp_path)
    with pytest.raises(InputError, match=rf"another run \({override.split('=')[0]}: "):
        claim(tmp_path, [override, "data.threads=4"])
    assert json.loads((tmp_path / "run.json").read_text()) == before


def test_names_of_earlier_versions_resume(tmp_path):
    claim(tmp_path, verb="train")
    assert claim(tmp_path, verb="rl")["verb"] == "rl"
    with pytest.raises(InputError, match="verb: rl -> scalar-rm"):
        claim(tmp_path, verb="scalar")


def test_every_pattern_names_a_knob():
    knobs = flat(configs.load("quickstart").to_dict())
    patterns = [*DEVICES, *(p for several, _ in MAY_CHANGE for p in several)]
    patterns += [p for several, _ in OF_VERB.values() for p in several]
    patterns += [p for several in UNREAD.values() for p in several]
    patterns += [*LENGTHS.values(), *(p for stage in STAGES for p in stage.knobs)]
    for pattern in patterns:
        assert any(matches(knob, [pattern]) for knob in knobs), pattern
    for old, new in RENAMED.items():
        assert (old in knobs) != (new in knobs)
    assert not OLDER.keys() & UNREAD.keys() and LENGTHS.keys() <= UNREAD.keys()


_MODEL = ("seed", "template", "buckets.*", "model.m*", "model.v*", "model.*_dtype")
_TRAINED = (*_MODEL, "model.freeze_vision", "optimizer.[!m]*")
_SAMPLED = (
    *("rollout.max_new_tokens", "rollout.top_k", "rollout.top_p", "rollout.repetition_penalty"),
)
_VIDEO = ("data.video_fps", "data.video_frames")
_JUDGE = (
    *("judge.lines", "judge.max_tokens", "judge.url", "judge.min_mass", "judge.mode"),
    "judge.answer_tokens",
)
REFUSED = {
    "sft": (*_TRAINED, "prompt_from", "model.path", *_VIDEO, *_SAMPLED, "sft.[!s]*"),
    "rl": (
        *(*_TRAINED, "prompt_from", "model.path", *_VIDEO, *_SAMPLED, *_JUDGE),
        *("judge.path", "judge.model"),
        *("rl.[!im]*", "rl.importance_cap", "rl.min_ratio", "rl.max_ratio"),
    ),
    "scalar-rm": (*_TRAINED, "model.path", *_VIDEO, "scalar.[!s]*"),
    "evaluate": (
        *(*_MODEL, "model.path", *_VIDEO, *_SAMPLED, "scalar.max_response_tokens"),
        *("eval.benchmark", "eval.data", "eval.samples", "eval.temperature", "eval.stop"),
        *("prompt_from", "eval.response_format", "eval.generation"),
    ),
    "quickstart": (
        *(*_TRAINED, *_SAMPLED, *_JUDGE, "sft.*", "eval.samples", "eval.temperature"),
        *("rl.[!im]*", "rl.importance_cap", "rl.min_ratio", "rl.max_ratio"),
        *("world.*", "teacher.*", "tiny.*", "tiny_judge.*"),
    ),
}
"""Patterns of the knobs whose change each verb refuses; a quickstart may repeat stages instead."""


@pytest.mark.parametrize("verb", UNREAD)
def test_every_knob_is_accepted_or_refused_on_purpose(verb):
    """A new knob belongs to a table of `runs.resume`, or to REFUSED."""
    knobs = flat(configs.load("quickstart" if verb == "quickstart" else "default").to_dict())
    del knobs["workdir"]  # which places are compared from
    for knob, value in knobs.items():
        more = value + 1 if type(value) is int else f"{value}, another"
        accepted = exactness(Change(knob, value, more), verb) is not None
        assert accepted != matches(knob, REFUSED[verb]), f"{verb}: {knob}"
    for pattern in REFUSED[verb]:
        assert any(matches(knob, [pattern]) for knob in knobs), pattern


def test_every_knob_of_a_quickstart_belongs_somewhere():
    """What a quickstart refuses is what its stages read, and so may repeat."""
    for knob, value in flat(configs.load("quickstart").to_dict()).items():
        known = exactness(Change(knob, value, None), "quickstart")
        assert known or knob == "workdir" or any(matches(knob, s.knobs) for s in STAGES), knob
    names = [stage.name for stage in STAGES]
    for i, stage in enumerate(STAGES):
        assert set(stage.needs) <= set(names[:i])


# ------------------------------------------------------------------ stages


def started(folder, overrides=(), phase="cold_start"):
    return claim(folder, overrides, verb="quickstart", stages=STAGES, phase=phase)


def finish(folder, *names, phases=()):
    """Leave behind what finished stages and trainings do."""
    stages = Stages(str(folder))
    for name in names:
        stages.once(name, lambda name=name: {f"{name}_number": 1})
    for phase in phases:
        (folder / "checkpoints" / phase / "12").mkdir(parents=True)


def known(folder):
    return set(json.loads((folder / "stages.json").read_text())["found"])


COLD = ("base_models", "judge", "measured_judge", "measured_before")


def test_a_run_that_failed_before_rl_is_corrected_without_its_cold_start(tmp_path, capsys):
    """What was found wrong with `rl.*` once cost the cold start."""
    started(tmp_path, ["rl.lr=7.0"])
    finish(tmp_path, *COLD, phases=("cold_start", "judge"))
    run = started(tmp_path, ["rl.lr=0.5"])
    assert run["resumed"][0]["repeated"] == ["rl", "measured_after", "controls"]
    assert run["resumed"][0]["changed"][0]["knob"] == "rl.lr" and run["data_hash"] == "a"
    assert known(tmp_path) == set(COLD)
    assert (tmp_path / "checkpoints" / "cold_start" / "12").exists()
    assert "rl, measured_after, controls (rl.lr: 7.0 -> 0.5)" in capsys.readouterr().out


def test_a_correction_repeats_what_it_reaches(tmp_path, capsys):
    started(tmp_path)
    finish(tmp_path, *COLD, phases=("cold_start", "judge"))
    run = started(tmp_path, ["tiny_judge.steps=9"])
    assert known(tmp_path) == {"base_models", "measured_before"}
    assert (tmp_path / "checkpoints" / "cold_start" / "12").exists()
    assert (tmp_path / "set_aside" / "judge_1" / "12").exists()
    assert not (tmp_path / "checkpoints" / "judge").exists()
    assert "set_aside/judge_1; delete it" in capsys.readouterr().out
    assert run["resumed"][0]["repeated"][:2] == ["judge", "measured_judge"]
    finish(tmp_path, "judge", phases=("judge",))
    run = started(tmp_path, ["tiny_judge.steps=9", "world.rl_records=99"])
    assert known(tmp_path) == set() and run["data_hash"] == "a"  # claimed anew
    assert (tmp_path / "set_aside" / "judge_2" / "12").exists()
    assert started(tmp_path, ["tiny_judge.steps=9", "world.rl_records=99"])


def test_updates_of_rl_are_never_thrown_away(tmp_path):
    started(tmp_path)
    finish(tmp_path, *COLD, phases=("cold_start", "judge", "rl"))
    for override in ("rl.lr=0.5", "sft.lr=0.5", "seed=3", "optimizer.b1=0.5"):
        with pytest.raises(InputError, match="holds another run"):
            started(tmp_path, [override])
    assert known(tmp_path) == set(COLD)
    # what only measures is measured again
    assert started(tmp_path, ["eval.samples=9"])["resumed"][0]["repeated"] == [
        "measured_before",
        "measured_after",
    ]
    assert (tmp_path / "checkpoints" / "rl" / "12").exists()


def test_the_first_line_of_rl_is_an_update(tmp_path):
    started(tmp_path, phase="rl")
    with pytest.raises(InputError, match="holds another run"):
        started(tmp_path, ["rl.lr=0.5"])


def test_more_iterations_repeat_what_comes_behind_them(tmp_path):
    started(tmp_path)
    finish(tmp_path, *COLD, "measured_after", "controls", phases=("rl", "longer"))
    run = started(tmp_path, ["rl.iterations=50"])
    assert run["resumed"][0]["repeated"] == ["measured_after", "controls"]
    assert known(tmp_path) == set(COLD) and (tmp_path / "checkpoints" / "rl" / "12").exists()
    assert (tmp_path / "set_aside" / "longer_1").exists()
