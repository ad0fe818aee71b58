"""The training steps: they see the images, shard, donate and resume."""

import functools
import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1reward_jax import config as configs
from r1reward_jax.build import load_policy, make_meshes, setup_for
from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.prompts import SYSTEM
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.sharding import make_mesh, param_shardings, put_batch
from r1reward_jax.train.batches import make_train_batch
from r1reward_jax.train.objectives import (
    NLL,
    StepConfig,
    batch_logprobs,
    micro_batches,
    policy_logprobs,
    policy_objective,
)
from r1reward_jax.train.optimizer import init_state, make_optimizer, make_schedule
from r1reward_jax.train.setup import Policy
from r1reward_jax.train.step import jit_step, loss_and_gradients, train_step
from r1reward_jax.train.supervised import PhaseConfig, fit
from r1reward_jax.types import DivergedError, ImagePart, InputError, Prompt
from tests.conftest import random_image
from tests.speed import AS_ALWAYS

STEP = StepConfig(chunk=64, remat=False, compute_dtype=jnp.float32)
TEXTS = ["<think>red circle</think><answer>1</answer>", "no", "<think>", "<answer>2</answer>"]


def optimizer(lr=1e-3):
    return make_optimizer(lr, b1=0.9, b2=0.95, weight_decay=0.0, clip_norm=1.0)


@pytest.fixture(scope="module")
def batch(loaded, world):
    """Eight rows with images, some advantages, log-probs of nowhere in particular."""
    from r1reward_jax.prompts import TEMPLATES, evaluator_prompt

    processor = loaded[2]
    prompts = [
        processor.encode(evaluator_prompt(r, TEMPLATES["brief"])) for r in world[1]["rl"][:8]
    ]
    completions = [processor.encode_completion(TEXTS[i % 4]) for i in range(8)]
    rng = np.random.default_rng(0)
    return make_train_batch(
        prompts,
        completions,
        processor,
        capacity=48,
        sampler_logp=rng.normal(-2, 0.1, (8, 48)).astype(np.float32),
        advantages=rng.normal(size=(8, 48)).astype(np.float32),
    )


KNOBS = {"clip_eps": 0.2, "min_ratio": 1e-3, "max_ratio": 1e3}
RL = policy_objective("stable_reinforce", "token", importance_cap=0.0, **KNOBS)


def gradients(loaded, batch, objective, config=STEP):
    """(loss, metrics, gradients) on one device."""
    model, params, _ = loaded
    function = _gradients_of(model, objective, config)
    return jax.device_get(function(params, jax.tree.map(jnp.asarray, batch)))


@functools.cache
def _gradients_of(model, objective, config):
    """Traced once for all tests that ask for it."""
    return jax.jit(functools.partial(loss_and_gradients, model, objective, config))


def norm(tree) -> float:
    """On the host: a program for every shape would take longer."""
    return float(
        np.sqrt(sum(np.sum(np.square(x, dtype=np.float64)) for x in jax.tree.leaves(tree)))
    )


def test_the_loss_sees_the_image(loaded, batch):
    """The release's actor is blind: here, other pixels give another loss and other gradients."""
    vision = batch.inputs.vision
    moved = vision._replace(patches=vision.patches[::-1])
    other = batch._replace(inputs=batch.inputs._replace(vision=moved))
    for objective in (NLL, RL):
        (a, _, grads_a), (b, _, grads_b) = (gradients(loaded, x, objective) for x in (batch, other))
        assert abs(float(a) - float(b)) > 1e-6
        assert np.abs(grads_a["visual"]["patch_embed"]["kernel"]).max() > 0
        gap = grads_a["text"]["embed_tokens"] - grads_b["text"]["embed_tokens"]
        assert np.abs(gap).max() > 1e-6


@pytest.mark.parametrize("shape", [(2, 2, 2)])
def test_sharded_equals_one_device(loaded, batch, shape):
    model, params, _ = loaded
    found = []
    for sizes, devices in [((1, 1, 1), jax.devices()[:1]), (shape, jax.devices())]:
        mesh = make_mesh(*sizes, devices=devices)
        state = init_state(params, optimizer(), qwen2_5_vl.RULES, mesh)
        step = jit_step(model, optimizer(), RL, STEP, state)
        _, metrics = step(state, put_batch(batch, mesh))
        found.append({k: float(v) for k, v in metrics.items()})
    for name in found[0]:
        assert found[0][name] == pytest.approx(found[1][name], rel=1e-4, abs=1e-5), name


def test_the_state_is_donated_and_not_recompiled(loaded, batch):
    model, params, _ = loaded
    mesh = make_mesh(1, 1, 1, devices=jax.devices()[:1])
    state = init_state(params, optimizer(), qwen2_5_vl.RULES, mesh)
    step = jit_step(model, optimizer(), NLL, STEP, state)
    rows = put_batch(batch, mesh)
    new, _ = step(state, rows)
    assert all(x.is_deleted() for x in jax.tree.leaves(state.params))
    assert not any(x.is_deleted() for x in jax.tree.leaves(params))
    step(new, rows)
    assert step._cache_size() == 1


OBJECTIVES = {
    # advantages of both signs cancel: what is left is small beside the rounding of its parts
    name: (policy_objective("ppo_clip", name, importance_cap=2.0, **KNOBS), 5e-6)
    for name in ("token", "sequence")
} | {"imitation": (NLL, 1e-6)}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_micro_batches_change_nothing_but_memory(loaded, batch, name):
    """Rows of different lengths: gradients are those of the large batch, metrics as well."""
    objective, limit = OBJECTIVES[name]
    width = batch.inputs.tokens.shape[1]
    split = replace(STEP, micro_tokens=2 * width)
    assert micro_batches(batch, split) == 4
    value, metrics, whole = gradients(loaded, batch, objective)
    found, joined, parts = gradients(loaded, batch, objective, split)
    assert float(found) == pytest.approx(float(value), rel=1e-5)
    gap = norm(jax.tree.map(np.subtract, parts, whole))
    assert gap <= limit * norm(whole)
    for name in metrics:
        assert float(joined[name]) == pytest.approx(float(metrics[name]), rel=1e-4, abs=1e-6), name


def test_importance_weights_weigh_the_loss(loaded, batch):
    """Tokens of the policy's own log-probs, where the surrogate is -A: the sampler thought them
    half as likely, or a tenth, which counts as much as the cap."""
    model, params, _ = loaded
    rows = jax.tree.map(jnp.asarray, batch)
    own = jax.jit(lambda p, b: batch_logprobs(model, p, b, STEP)[0])(params, rows)
    factor = jnp.where(jnp.arange(8)[:, None] % 2 == 0, 2.0, 10.0)
    sampler = own - jnp.log(factor)
    rows = rows._replace(old_logp=own, sampler_logp=sampler)
    capped = policy_objective("stable_reinforce", "token", importance_cap=3.0, **KNOBS)
    weights = jnp.minimum(factor, 3.0)
    expected = -jnp.sum(jnp.where(batch.mask, weights * rows.advantages, 0.0)) / batch.mask.sum()
    assert float(gradients(loaded, rows, capped)[0]) == pytest.approx(float(expected), rel=1e-4)


def test_micro_batches_fit_the_budget_and_the_devices(batch):
    width = batch.inputs.tokens.shape[1]  # of 8 rows
    found = {
        (rows, shards): micro_batches(
            batch, replace(STEP, micro_tokens=int(rows * width), row_shards=shards)
        )
        for rows, shards in [(8, 1), (7, 1), (3, 1), (0.5, 1), (2, 4), (4, 4), (0.5, 8)]
    }
    assert found == {
        (8, 1): 1,
        (7, 1): 2,
        (3, 1): 4,
        (0.5, 1): 8,  # never less than a row
        (2, 4): 2,  # nor than a row per device
        (4, 4): 2,
        (0.5, 8): 1,
    }
    assert micro_batches(batch, STEP) == 1


def test_log_probs_by_micro_batches_keep_their_rows(loaded, batch):
    model, params, _ = loaded
    rows = jax.tree.map(jnp.asarray, batch)
    width = batch.inputs.tokens.shape[1]
    whole, parts = (
        jax.jit(lambda p, b, c=c: policy_logprobs(model, p, b, c))(params, rows)
        for c in (STEP, replace(STEP, micro_tokens=2 * width))
    )
    np.testing.assert_allclose(
        np.where(batch.mask, parts, 0), np.where(batch.mask, whole, 0), atol=1e-5
    )


def test_micro_batches_on_eight_devices(loaded, batch):
    """Two parts of four rows over 2 x 2 x 2 devices: the same update as on one, in one part."""
    model, params, _ = loaded
    width = batch.inputs.tokens.shape[1]
    found = []
    for sizes, devices, step in [
        ((1, 1, 1), jax.devices()[:1], STEP),
        ((2, 2, 2), jax.devices(), replace(STEP, micro_tokens=4 * width, row_shards=4)),
    ]:
        mesh = make_mesh(*sizes, devices=devices)
        state = init_state(params, optimizer(), qwen2_5_vl.RULES, mesh)
        _, metrics = jit_step(model, optimizer(), RL, step, state)(state, put_batch(batch, mesh))
        found.append({k: float(v) for k, v in metrics.items()})
    assert found[1] == pytest.approx(found[0], rel=1e-4, abs=1e-5)


def test_bfloat16_passes_move_float32_weights(loaded, batch):
    """Steps too small for bfloat16 are not lost, and the pass is really made in bfloat16."""
    model, params, _ = loaded
    mesh = make_mesh(1, 1, 1, devices=jax.devices()[:1])
    state = init_state(params, optimizer(1e-5), qwen2_5_vl.RULES, mesh)
    half = replace(STEP, compute_dtype=jnp.bfloat16)
    new, metrics = jit_step(model, optimizer(1e-5), NLL, half, state)(state, put_batch(batch, mesh))
    exact = float(gradients(loaded, batch, NLL)[0])
    assert 1e-6 < abs(float(metrics["loss/total"]) - exact) < 0.05 * exact
    old = params["text"]["layers"]["mlp"]["gate_proj"]["kernel"]
    moved = new.params["text"]["layers"]["mlp"]["gate_proj"]["kernel"]
    assert moved.dtype == jnp.float32
    lost = moved.astype(jnp.bfloat16) == old.astype(jnp.bfloat16)
    assert np.mean(lost) > 0.9 and np.mean(moved != old) > 0.9


def test_donated_bytes_are_aliased(loaded, batch):
    """The compiled step writes its new state where the old one lay."""
    model, params, _ = loaded
    mesh = make_mesh(1, 1, 1, devices=jax.devices()[:1])
    state = init_state(params, optimizer(), qwen2_5_vl.RULES, mesh)
    step = jit_step(model, optimizer(), NLL, STEP, state)
    compiled = step.lower(state, put_batch(batch, mesh)).compile()
    donated = sum(x.nbytes for x in jax.tree.leaves(state))
    assert compiled.memory_analysis().alias_size_in_bytes == donated


def test_a_frozen_tower_is_not_trained(loaded, batch):
    """Nor does it have moments, nor does weight decay move it; the decoder learns as before."""
    model, params, _ = loaded
    mesh = make_mesh(1, 1, 1, devices=jax.devices()[:1])
    settings = {"b1": 0.9, "b2": 0.95, "weight_decay": 0.1, "clip_norm": 1e9}
    frozen = make_optimizer(1e-3, **settings, frozen=("visual",))
    state = init_state(params, frozen, qwen2_5_vl.RULES, mesh)
    moments = sum(x.size for x in jax.tree.leaves(state.opt_state))
    assert moments < 2.01 * sum(x.size for x in jax.tree.leaves(params["text"]))
    step = jit_step(model, frozen, NLL, replace(STEP, frozen=("visual",)), state)
    new, _ = step(state, put_batch(batch, mesh))
    jax.tree.map(np.testing.assert_array_equal, new.params["visual"], params["visual"])
    assert np.abs(new.params["text"]["embed_tokens"] - params["text"]["embed_tokens"]).max() > 0


def test_old_log_probs_are_the_policys_own_where_nothing_changed(loaded, batch):
    """The same loss and gradients as with log-probs from a forward pass before the update."""
    model, params, _ = loaded
    rows = jax.tree.map(jnp.asarray, batch)
    own = jax.jit(lambda p, b: batch_logprobs(model, p, b, STEP)[0])(params, rows)
    computed = rows._replace(old_logp=own)
    reused = rows._replace(old_logp=jnp.full_like(own, 7.0), on_policy=jnp.ones(8, bool))
    (a, _, grads_a), (b, _, grads_b) = (gradients(loaded, x, RL) for x in (computed, reused))
    assert float(a) == pytest.approx(float(b), abs=1e-6)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), grads_a, grads_b)
    assert max(float(np.abs(x).max()) for x in jax.tree.leaves(grads_b)) > 1e-3


def test_a_gradient_that_is_not_finite_changes_nothing(loaded, batch):
    model, params, _ = loaded
    bad = batch._replace(advantages=np.full_like(batch.advantages, np.nan))
    mesh = make_mesh(1, 1, 1, devices=jax.devices()[:1])
    state = init_state(params, optimizer(), qwen2_5_vl.RULES, mesh)
    before = jax.tree.map(np.asarray, (state.params, state.opt_state))
    after, metrics = jax.jit(lambda s, b: train_step(model, optimizer(), RL, STEP, s, b))(
        state, put_batch(bad, mesh)
    )
    assert float(metrics["loss/skipped"]) == 1.0 and int(after.step) == 1
    jax.tree.map(np.testing.assert_array_equal, before, (after.params, after.opt_state))


@pytest.mark.parametrize(("steps", "last"), [(5, 2), (2, 2)])
def test_supervised_training_that_diverges_stops(loaded, batch, tmp_path, monkeypatch, steps, last):
    """Two updates without finite gradients, in the middle of a phase and at its very end."""
    one_device(monkeypatch)
    model, params, processor = loaded
    config = small_config(tmp_path)
    config.optimizer.max_skipped = 2
    sick = jax.tree.map(lambda x: x * jnp.nan, params)
    policy = Policy(model, sick, processor, qwen2_5_vl.RULES, processor.folder)
    with pytest.raises(DivergedError, match=f"update {last}"):
        fit(
            setup_for(config, policy, make_meshes(config)),
            PhaseConfig(steps, batch=8, lr=1e-3, max_tokens=8),
            NLL,
            lambda first: itertools.repeat(batch),
            phase="sft",
            columns=("loss/total",),
            log=MetricsLog(str(tmp_path / "metrics.jsonl")),
            checkpoints=None,
        )
    assert (tmp_path / f"skipped_batch_{last}.npz").exists()


def test_every_parameter_has_a_rule(loaded):
    mesh = make_mesh(1, 4, 2)
    shardings = param_shardings(loaded[0].abstract_params(), qwen2_5_vl.RULES, mesh)
    kernels = [
        s
        for path, s in jax.tree_util.tree_flatten_with_path(shardings)[0]
        if path[-1].key in ("kernel", "embed_tokens")
    ]
    assert all(any(axis == "fsdp" for axis in s.spec) for s in kernels)
    with pytest.raises(InputError, match="no sharding rule"):
        param_shardings({"new": jnp.ones(2)}, qwen2_5_vl.RULES, mesh)


def test_mesh_and_batch_that_do_not_fit(loaded, batch):
    with pytest.raises(InputError, match="mesh"):
        make_mesh(3, 1, 1)
    with pytest.raises(InputError, match="8 rows"):
        put_batch(batch, make_mesh(1, 3, 1, devices=jax.devices()[:3]))
    with pytest.raises(InputError, match="cannot be split"):
        mesh = make_mesh(1, 1, 7, devices=jax.devices()[:7])
        param_shardings(loaded[0].abstract_params(), qwen2_5_vl.RULES, mesh)


def test_schedule_warms_up_and_decays():
    schedule = make_schedule(1.0, 100, warmup_share=0.1, final_share=0.1)
    assert float(schedule(0)) == pytest.approx(0.1)
    assert float(schedule(10)) == pytest.approx(1.0)
    assert float(schedule(100)) == pytest.approx(0.1)


def small_config(folder):
    config = configs.load("quickstart")
    config.mesh.fsdp = 1
    config.mesh.data = 1
    config.workdir = str(folder)
    return config


def test_rows_of_activations_stay_whole(checkpoint):
    """With parameters split over fsdp, no activation of the forward and backward pass is split by
    features, and none is gathered."""
    config = configs.load("quickstart")
    overrides = ["buckets.tokens=(128,)", "buckets.patches=(36,)", "mesh.fsdp=8"]
    configs.override(config, overrides)
    mesh = make_meshes(config).policy
    policy = load_policy(config, checkpoint, mesh)
    prompt = Prompt(SYSTEM, (ImagePart(random_image(0, 84, 84)), " circle" * 5))
    batch = policy.processor.collate([policy.processor.encode(prompt)] * 16)
    batch = put_batch(batch, mesh)

    def program(model):
        loss = lambda p, b: model.hidden(p, b, remat=True).sum()  # noqa: E731
        lowered = jax.jit(jax.value_and_grad(loss)).lower(policy.params, batch)
        return lowered.compile(compiler_options=AS_ALWAYS).as_text()

    rows, gathered, features = "f32[2,128,64]", "f32[16,128,64]", "f32[16,128,8]"
    text = program(policy.model)
    assert rows in text and gathered not in text and features not in text
    assert features in program(replace(policy.model, rows=None))  # or this would prove nothing


def one_device(monkeypatch):
    """Loops take all devices; tests of them take one."""
    device = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda *a: device)
