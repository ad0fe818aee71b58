"""The RL loop: it resumes where it stood, and a mesh of eight devices changes nothing."""

import copy
import json
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from r1reward_jax import config as configs
from r1reward_jax import stopping
from r1reward_jax.build import (
    load_judge,
    make_checkpoints,
    make_engine,
    make_meshes,
    reward_config,
    rl_config,
    setup_for,
)
from r1reward_jax.judge.cached import CachedJudge
from r1reward_jax.judge.client import JudgeRefusedError
from r1reward_jax.judge.pending import PendingJudgements
from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.prompts import parse_verdict, well_formed
from r1reward_jax.rl.rewards import RewardConfig, RewardWeights
from r1reward_jax.rollout.engine import Engine
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.sharding import param_shardings
from r1reward_jax.stopping import Stopped
from r1reward_jax.train import rl as loop
from r1reward_jax.train.checkpoint import load_params
from r1reward_jax.train.nan_guard import load_batch
from r1reward_jax.train.optimizer import make_schedule
from r1reward_jax.train.rollout_metrics import join
from r1reward_jax.train.setup import Policy
from r1reward_jax.train.step import loss_and_gradients
from r1reward_jax.types import DivergedError, InputError, RewardBreakdown
from tests.judge.test_local import make_judge
from tests.train.test_step import RL, STEP, one_device


def small_config(folder, **mesh):
    config = configs.load("quickstart")
    overrides = [
        f"workdir={folder}",
        "rl.iterations=4",
        "rl.rollout_batch=16",
        "rl.train_batch=8",
        "rl.lr=1e-3",
        "rollout.slots=16",
        "rollout.max_new_tokens=8",
        "checkpoint.iterations=2",
        *(f"mesh.{axis}={size}" for axis, size in mesh.items()),
    ]
    configs.override(config, overrides)
    return config


def train(config, loaded, world, judge=None, evaluate=None):
    model, params, processor = loaded
    meshes = make_meshes(config)
    params = jax.device_put(params, param_shardings(params, qwen2_5_vl.RULES, meshes.policy))
    policy = Policy(model, params, processor, qwen2_5_vl.RULES, processor.folder)
    setup = setup_for(config, policy, meshes)
    with make_checkpoints(config, "rl") as checkpoints:
        trained = loop.run_rl(
            setup,
            rl_config(config),
            world[1]["rl"],
            make_engine(config, setup),
            judge or CachedJudge(make_judge(loaded)),
            log=MetricsLog(f"{config.workdir}/metrics.jsonl"),
            checkpoints=checkpoints,
            evaluate=evaluate,
        )
    return jax.tree.map(np.asarray, trained)


def metrics(config):
    """Rows without times, and without the memory that was in use."""
    rows = [json.loads(x) for x in Path(f"{config.workdir}/metrics.jsonl").read_text().splitlines()]
    left_out = ("time/", "memory/", "at")
    return [{k: v for k, v in r.items() if not k.startswith(left_out)} for r in rows]


@pytest.fixture(scope="module")
def loaded(loaded):
    """The tiny model with a tokenizer that lets random completions earn real rewards: the first id
    decides the verdict, and every fourth text lacks its first tag."""
    model, params, processor = loaded
    talkative = copy.copy(processor)

    def decode(ids):
        verdict = 1 if ids[0] < 200 else 2
        text = f"<think>{processor.decode(ids)}</think><answer>{verdict}</answer>"
        return text if sum(ids) % 4 else text.removeprefix("<think>")

    talkative.decode = decode
    return model, params, talkative


def test_completions_earn_what_they_deserve(loaded, world, tmp_path, monkeypatch):
    """The judge is asked where the verdict is right, and nowhere else; all terms add up."""
    one_device(monkeypatch)
    config = small_config(tmp_path)
    configs.override(config, ["rl.iterations=1"])
    train(config, loaded, world)
    rows = written(tmp_path)
    for row in rows:
        part, right = row["reward"], parse_verdict(row["text"]) == row["preferred"]
        assert part["result"] == right == (row["judge"] is not None)
        assert part["format"] == well_formed(row["text"])
        assert part["consistency"] == (row["judge"] is not None and row["judge"] >= 0.5)
        total = part["result"] * (1 + 0.5 * part["consistency"]) + 0.5 * part["format"]
        assert part["total"] == pytest.approx(total)
    parts = [tuple(row["reward"].values()) for row in rows]
    assert len({p[0] for p in parts}) == len({p[1] for p in parts}) == 2  # format and result vary


class Measured(list):
    """What stands for an evaluation, and what it has seen."""

    def __call__(self, params):
        self.append(float(abs(params["text"]["embed_tokens"]).mean()))
        return {"eval/accuracy": self[-1]}


@pytest.fixture(scope="module")
def whole(loaded, world, tmp_path_factory):
    """Config, end and evaluations of a run that nothing interrupts."""
    config, seen = small_config(tmp_path_factory.mktemp("whole")), Measured()
    with pytest.MonkeyPatch.context() as patch:
        one_device(patch)
        return config, train(config, loaded, world, evaluate=seen), seen


def test_two_iterations_then_resume_equals_four(whole, loaded, world, tmp_path, monkeypatch):
    """Stopped in the third iteration, behind its metrics and before its checkpoint. Held-out
    records are measured before the first update and with every save, each once."""
    one_device(monkeypatch)
    (config, expected, alone), parts, measured = whole, small_config(tmp_path), Measured()
    write = loop.write_rollouts

    def stopping(log, iteration, *rest):
        if iteration == 3:
            raise KeyboardInterrupt
        write(log, iteration, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_rollouts", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(parts, loaded, world, evaluate=measured)
    assert [row["step"] for row in metrics(parts)] == [0, 1, 2, 3]
    again = train(parts, loaded, world, evaluate=measured)
    jax.tree.map(np.testing.assert_array_equal, expected, again)
    assert [row["step"] for row in metrics(parts)] == [0, 1, 2, 3, 4]
    assert metrics(config) == metrics(parts)
    assert measured == alone and len(set(alone)) == 3  # before the first update, and two saves
    assert [row["step"] for row in metrics(config) if "eval/accuracy" in row] == [0, 2, 4]
    rates = [row["optimizer/lr"] for row in metrics(config)[1:]]
    rate = make_schedule(config.rl.lr, 8, warmup_share=0.05, final_share=0.1)
    assert rates == pytest.approx([float(rate(last)) for last in (1, 3, 5, 7)])
    start = loaded[1]["text"]["embed_tokens"]
    assert not np.array_equal(expected["text"]["embed_tokens"], start)


def test_asked_to_end_it_saves_in_a_rollout_and_in_an_evaluation(
    whole, loaded, world, tmp_path, monkeypatch
):
    """SIGTERM in the fourth iteration's rollout, then in its evaluation: each time there is a
    checkpoint, and the end is that of a run that was not asked."""
    one_device(monkeypatch)
    (config, expected, _), parts, measured = whole, small_config(tmp_path), Measured()
    folder, rollouts, real = tmp_path / "checkpoints" / "rl", 0, Engine.generate

    def signalled():
        assert stopping._State.held, "nothing to save: the process would have ended"
        monkeypatch.setattr(stopping._State, "asked", int(signal.SIGTERM))

    def generate(engine, *args, **settings):
        nonlocal rollouts
        rollouts += 1
        if rollouts == 5:  # the first one is the check of parity
            advanced = engine.programs.cast  # called once the rollout has begun
            monkeypatch.setattr(engine.programs, "cast", lambda p: (signalled(), advanced(p))[1])
        return real(engine, *args, **settings)

    def interrupted(params):
        signalled()
        stopping.check()

    def steps(config):
        return sorted(p.name for p in Path(config.workdir).glob("checkpoints/rl/*"))

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "generate", generate)
        with pytest.raises(Stopped):
            train(parts, loaded, world, evaluate=measured)
    assert [row["step"] for row in metrics(parts)] == [0, 1, 2, 3]
    assert steps(parts) == ["4", "6"]  # two updates in each iteration
    monkeypatch.setattr(stopping._State, "asked", 0)
    with pytest.raises(Stopped):
        train(parts, loaded, world, evaluate=interrupted)
    assert [row["step"] for row in metrics(parts)] == [0, 1, 2, 3]
    assert not stopping._State.held
    monkeypatch.setattr(stopping._State, "asked", 0)
    again = train(parts, loaded, world, evaluate=measured)
    jax.tree.map(np.testing.assert_array_equal, expected, again)
    assert metrics(config) == metrics(parts) and len(written(tmp_path, 4)) == 16
    # neither the checkpoint between the regular ones nor the folder `deleted`
    assert steps(parts) == steps(config) == ["4", "8"]
    assert (folder / "8" / "metrics").exists()


@pytest.mark.slow
def test_every_device_gets_its_share_of_an_update(loaded, world, tmp_path, monkeypatch):
    """Also with the trainer's log-probs and a reference policy."""
    config = small_config(tmp_path, data=2, fsdp=2, tensor=2)
    configs.override(config, ["rl.iterations=1", "rl.kl_coef=0.1", "rl.old_logp=trainer"])
    update, seen = loop.update, []

    def watching(compiled, state, parts, order):
        seen.extend(x for part in parts for x in jax.tree.leaves(part))
        out = update(compiled, state, parts, order)
        assert compiled.step._cache_size() == 1  # all parts are placed alike
        return out

    monkeypatch.setattr(loop, "update", watching)
    train(config, loaded, world)
    assert len(seen) > 20
    for array in seen:
        assert array.shape[0] == 8 and array.addressable_shards[0].data.shape[0] == 2
    (row,) = metrics(config)
    assert row["loss/sampler_gap_max"] < 1e-3


def test_eight_devices_train_like_one(loaded, world, tmp_path, monkeypatch):
    """Sampler, advantages and step on eight devices: same completions, same update."""
    eight = small_config(tmp_path / "eight", data=2, fsdp=2, tensor=2)
    configs.override(eight, ["rollout.mesh.data=4", "rollout.mesh.fsdp=1", "rollout.mesh.tensor=2"])
    eight.rl.iterations = 1
    many = train(eight, loaded, world)
    one = small_config(tmp_path / "one")
    one.rl.iterations = 1
    one_device(monkeypatch)
    few = train(one, loaded, world)
    for a, b in zip(*(written(tmp_path / name) for name in ("one", "eight")), strict=True):
        assert a.pop("judge") == pytest.approx(b.pop("judge"), abs=1e-5)
        assert a == b
    # Adam's first step is lr * sign(g): compare what the updates did, not parameters one by one
    for a, b in zip(metrics(one), metrics(eight), strict=True):
        assert a.pop("phase") == b.pop("phase")
        assert a == pytest.approx(b, rel=2e-3, abs=2e-4)
    same = [np.mean(np.abs(a - b) < 1e-4) for a, b in zip(*map(jax.tree.leaves, (few, many)))]
    assert min(same) > 0.98


def test_the_judge_reads_while_the_rest_is_written(loaded, world, tmp_path, monkeypatch):
    """And the timeline shows it; the profiler traces the step that it is asked for."""
    one_device(monkeypatch)
    config = small_config(tmp_path)
    configs.override(
        config, ["rl.iterations=2", "rollout.slots=4", "rollout.prefill_batch=4", "profile_step=2"]
    )
    judge, generate = make_judge(loaded), Engine.generate
    judge.batch, during = 1, []

    def watched(*args, **settings):
        calls = judge.calls
        rollout = generate(*args, **settings)
        during.append(judge.calls - calls)
        return rollout

    monkeypatch.setattr(Engine, "generate", watched)
    train(config, loaded, world, CachedJudge(judge))
    assert len(during) == 3 and sum(during[1:]) == judge.calls > 4  # the first one is the gate's
    lines = [json.loads(x) for x in (tmp_path / "timeline.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    for line, row in zip(lines, timed(config), strict=True):
        begins = {name: begin for name, begin, _ in line["spans"][::-1]}
        assert line["spans"] == sorted(line["spans"], key=lambda span: span[1])
        phases = ["host", "rollout", "judge", "logprobs", "update", "checkpoint"]
        assert sorted(begins, key=begins.__getitem__) == phases
        _, _, end = next(span for span in line["spans"] if span[0] == "rollout")
        assert sum(name == "host" and b < end for name, b, _ in line["spans"]) >= 4
        seconds = [row[f"time/{name}_s"] for name in phases[:-1] if name != "host"]
        assert min(seconds) > 0 and sum(seconds) <= row["time/step_s"]
        assert 0 < row["time/host_s"] < row["time/step_s"]
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))
    given = [row["judge"] for row in written(tmp_path, 2)]
    said = [p for p in given if p is not None]
    assert 0 < len(said) < len(given) and all(0 < p < 1 for p in said)


def written(folder, iteration=1):
    """Rows of an iteration's completions."""
    lines = (folder / "rollouts" / f"{iteration:05d}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def timed(config):
    """Rows with times."""
    return [json.loads(x) for x in Path(f"{config.workdir}/metrics.jsonl").read_text().splitlines()]


def test_a_judge_that_refuses_ends_the_run_after_a_save(loaded, world, tmp_path, monkeypatch):
    """No iteration is trained on without the consistency that its key would have given."""
    config = small_config(tmp_path)
    configs.override(config, ["rl.iterations=2"])
    read, calls = PendingJudgements.probabilities, []

    def probabilities(self):
        calls.append(1)
        if len(calls) == 2:
            raise JudgeRefusedError("judge http://h/v1: http 401: revoked")
        return read(self)

    monkeypatch.setattr(PendingJudgements, "probabilities", probabilities)
    with pytest.raises(InputError, match="iteration 2 is not judged: .*revoked; saved after itera"):
        train(config, loaded, world)
    assert [row["step"] for row in metrics(config)][-1] == 1
    assert (tmp_path / "checkpoints" / "rl" / "2").is_dir()  # both updates of the first iteration


def test_a_judge_on_devices_of_its_own_changes_nothing(loaded, world, tmp_path, monkeypatch):
    """Policy on four devices, the judge on the four others or on the same ones."""
    mine = [
        "rl.iterations=1",
        f"judge.path={loaded[2].folder}",
        "judge.max_tokens=96",
        "judge.min_mass=0.0",
        "judge.batch=4",
        "mesh.fsdp=4",
        "rollout.slots=16",
    ]
    apart, shared = (small_config(tmp_path / name) for name in ("apart", "shared"))
    configs.override(apart, [*mine, "judge.devices=4"])
    configs.override(shared, mine)
    own = load_judge(apart, make_meshes(apart).judge)
    homes = {d for x in jax.tree.leaves(own.params) for d in x.devices()}
    assert homes == set(jax.devices()[4:])
    few = train(apart, loaded, world, own)
    four = jax.devices()[:4]
    monkeypatch.setattr(jax, "devices", lambda *a: four)
    judge = load_judge(shared, make_meshes(shared).judge)
    jax.tree.map(np.testing.assert_array_equal, few, train(shared, loaded, world, judge))
    assert metrics(apart) == metrics(shared) and own.calls == judge.calls > 0
    configs.override(shared, ["judge.devices=4"])
    with pytest.raises(InputError, match=r"judge\.devices 4: expected fewer than the 4"):
        make_meshes(shared)


OTHER_PATHS = {
    "ppo, sequence mean, batch baseline, KL k3": [
        "rl.loss=ppo_clip",
        "rl.aggregate=sequence",
        "rl.baseline=batch",
        "rl.standardize=False",
        "rl.filter=none",
        "rl.kl=k3",
        "rl.kl_coef=0.1",
    ],
    "reinforce++, leave one out, two epochs": [
        "rl.loss=reinforce_pp",
        "rl.baseline=leave_one_out",
        "rl.samples=2",
        "rl.epochs=2",
        "rl.filter=released",
    ],
    "group, importance weights, both orders": [
        "rl.baseline=group",
        "rl.samples=4",
        "rl.old_logp=trainer",
        "rl.importance_cap=2.0",
        "rl.swap_weight=0.5",
        "step.micro_tokens=300",
    ],
    "decoder only, at another temperature": [
        "model.freeze_vision=True",
        "rl.repetition_weight=0.5",
        "rl.length_weight=0.5",
        "rl.temperature=0.7",
    ],
}


def test_config_becomes_scoring():
    """Every weight where it belongs, and the rows that are each other's other order."""
    config = configs.load("quickstart")
    overrides = ["format_weight=1.0", "consistency_weight=2.0", "swap_weight=3.0"]
    overrides += ["repetition_weight=4.0", "length_weight=5.0", "consistency_mode=signed"]
    overrides += ["repetition_n=7", "length_start=0.5", "samples=2", "rollout_batch=8"]
    configs.override(config, [f"rl.{x}" for x in overrides] + ["rollout.max_new_tokens=20"])
    assert reward_config(config) == RewardConfig(
        RewardWeights(format=1.0, consistency=2.0, swap=3.0, repetition=4.0, length=5.0),
        "signed",
        repetition_n=7,
        length_start=10,
        length_limit=20,
    )
    assert loop._swapped(rl_config(config)) == [2, 3, 0, 1, 6, 7, 4, 5]
    config.rl.swap_weight = 0.0
    assert loop._swapped(rl_config(config)) is None


@pytest.mark.parametrize("name", OTHER_PATHS)
def test_other_paths_train(name, loaded, world, tmp_path, monkeypatch):
    one_device(monkeypatch)
    config = small_config(tmp_path)
    configs.override(config, ["rl.iterations=2", *OTHER_PATHS[name]])
    engines, make = [], make_engine

    def keeping(*arguments):
        engines.append(make(*arguments))
        return engines[-1]

    monkeypatch.setitem(globals(), "make_engine", keeping)
    trained = train(config, loaded, world)
    (engine,) = engines
    (sampler,) = engine.programs._made.values()  # the gate and the run share one
    assert sampler.advance._cache_size() == sampler.insert._cache_size() == 1
    rows = metrics(config)
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["loss/skipped"] == 0 and row["loss/grad_norm"] > 0 for row in rows)
    # sampler and trainer score the same distribution, at any temperature
    assert all(row["loss/sampler_gap_max"] < 1e-3 for row in rows)
    moved = {
        part: max(float(np.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, pair)))
        for part in ("text", "visual")
        for pair in [(trained[part], loaded[1][part])]
    }
    assert moved["text"] > 0
    assert (moved["visual"] > 0) == (not config.model.freeze_vision)
    rollouts = (tmp_path / "rollouts" / "00001.jsonl").read_text().splitlines()
    ids = [json.loads(line)["id"] for line in rollouts]
    assert len(ids) == 16
    samples, orders = config.rl.samples, 2 if config.rl.swap_weight else 1
    assert all(len(set(ids[i : i + samples * orders])) == 1 for i in range(0, 16, samples * orders))


def test_an_alarm_sounds_where_sampler_and_trainer_part(
    loaded, world, tmp_path, monkeypatch, capsys
):
    """They agreed before the first step; here the sampler's log-probs are off by a nat later."""
    one_device(monkeypatch)
    config = small_config(tmp_path)
    config.rl.iterations = 2
    make_batch, calls = loop.rollout_batch, []

    def drifting(*arguments):
        calls.append(1)
        batch = make_batch(*arguments)
        return batch._replace(sampler_logp=batch.sampler_logp + (len(calls) - 1.0))

    monkeypatch.setattr(loop, "rollout_batch", drifting)
    train(config, loaded, world)
    gaps = [row["loss/sampler_gap_max"] for row in metrics(config)]
    assert gaps[0] < 1e-3 and gaps[1] == pytest.approx(1.0, abs=1e-2)
    warned = [x for x in capsys.readouterr().err.splitlines() if "sampler and trainer differ" in x]
    assert len(warned) == 1 and warned[0].startswith("warning: iteration 2")


def test_a_run_that_diverges_stops_and_keeps_what_is_good(loaded, world, tmp_path, monkeypatch):
    """From the second iteration on all rewards are NaN: three updates are skipped, then it ends."""
    one_device(monkeypatch)
    config = small_config(tmp_path)
    configs.override(config, ["optimizer.max_skipped=3", "checkpoint.iterations=0"])
    calls = []

    def score(completions, *_, **__):
        calls.append(len(completions))
        bad = float("nan") if len(calls) > 1 else 1.0
        return [RewardBreakdown(0, 0, 0, bad * len(set(c.token_ids))) for c in completions], {}

    monkeypatch.setattr(loop, "score_completions", score)
    with pytest.raises(DivergedError, match="last one is update 5. Its batch is in .*_5.npz"):
        train(config, loaded, world)
    batch = np.load(tmp_path / "skipped_batch_5.npz")
    assert batch["completions"].shape == (8, 8) and np.isnan(batch["advantages"]).any()
    assert batch["inputs.vision.patches"].shape[0] == 8
    again = load_batch(str(tmp_path / "skipped_batch_5.npz"))
    function = jax.jit(lambda p, b: loss_and_gradients(loaded[0], RL, STEP, p, b))
    value, _, _ = function(loaded[1], jax.tree.map(jax.numpy.asarray, again))
    assert np.isnan(value)  # the same batch spoils the same step
    kept = load_params(str(tmp_path / "checkpoints" / "rl"), loaded[0].abstract_params())
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(kept))
    moved = np.abs(kept["text"]["embed_tokens"] - loaded[1]["text"]["embed_tokens"]).max()
    assert moved > 0  # the first iteration's updates
    assert [row["step"] for row in metrics(config)] == [1, 2, 3]  # with what led there
    assert (tmp_path / "rollouts" / "00003.jsonl").exists()


def test_a_nan_of_any_update_shows():
    nan, most, least = float("nan"), "loss/log_ratio_max", "loss/log_ratio_min"
    several = [{most: 1.0, least: 0.0, "c": 1.0}, {most: nan, least: nan, "c": nan}]
    assert all(np.isnan(value) for value in join(several).values())
    assert join([{most: 1.0, "c": 1.0}, {most: 3.0, "c": 3.0}]) == {most: 3.0, "c": 2.0}
