"""The training steps: they see the images, shard, donate and resume."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1reward_jax.cli import configs
from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.rl.losses import stable_reinforce_loss, token_mean
from r1reward_jax.train.batches import make_train_batch
from r1reward_jax.train.mesh import make_mesh, param_shardings, put_batch
from r1reward_jax.train.optimizer import make_optimizer, make_schedule
from r1reward_jax.train.sft import run_sft
from r1reward_jax.train.state import init_state
from r1reward_jax.train.step import StepConfig, jit_step, sft_loss, train_step
from r1reward_jax.types import InputError

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
        old_logp=rng.normal(-2, 0.1, (8, 48)).astype(np.float32),
        advantages=rng.normal(size=(8, 48)).astype(np.float32),
    )


def rl_loss(logp, batch):
    return stable_reinforce_loss(
        logp,
        batch.old_logp,
        batch.advantages,
        batch.mask,
        aggregate=token_mean,
        clip_eps=0.2,
        min_ratio=1e-3,
        max_ratio=1e3,
    )


def gradients(loaded, batch, loss):
    from r1reward_jax.train.step import batch_logprobs

    model, params, _ = loaded
    batch = jax.tree.map(jnp.asarray, batch)

    def objective(p):
        return loss(batch_logprobs(model, p, batch, STEP)[0], batch)[0]

    return jax.jit(jax.value_and_grad(objective))(params)


def test_the_loss_sees_the_image(loaded, batch):
    """The release's actor is blind: here, other pixels give another loss and other gradients."""
    vision = batch.inputs.vision
    moved = vision._replace(patches=vision.patches[::-1])
    other = batch._replace(inputs=batch.inputs._replace(vision=moved))
    for loss in (sft_loss, rl_loss):
        (a, grads_a), (b, grads_b) = (gradients(loaded, x, loss) for x in (batch, other))
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
        step = jit_step(model, optimizer(), rl_loss, STEP, state)
        _, metrics = step(state, put_batch(batch, mesh))
        found.append({k: float(v) for k, v in metrics.items()})
    for name in found[0]:
        assert found[0][name] == pytest.approx(found[1][name], rel=1e-4, abs=1e-5), name


def test_the_state_is_donated_and_not_recompiled(loaded, batch):
    model, params, _ = loaded
    mesh = make_mesh(1, 1, 1, devices=jax.devices()[:1])
    state = init_state(params, optimizer(), qwen2_5_vl.RULES, mesh)
    step = jit_step(model, optimizer(), sft_loss, STEP, state)
    rows = put_batch(batch, mesh)
    new, _ = step(state, rows)
    assert all(x.is_deleted() for x in jax.tree.leaves(state.params))
    assert not any(x.is_deleted() for x in jax.tree.leaves(params))
    step(new, rows)
    assert step._cache_size() == 1


def test_a_gradient_that_is_not_finite_changes_nothing(loaded, batch):
    model, params, _ = loaded
    bad = batch._replace(advantages=np.full_like(batch.advantages, np.nan))
    mesh = make_mesh(1, 1, 1, devices=jax.devices()[:1])
    state = init_state(params, optimizer(), qwen2_5_vl.RULES, mesh)
    before = jax.tree.map(np.asarray, (state.params, state.opt_state))
    after, metrics = jax.jit(lambda s, b: train_step(model, optimizer(), rl_loss, STEP, s, b))(
        state, put_batch(bad, mesh)
    )
    assert float(metrics["loss/skipped"]) == 1.0 and int(after.step) == 1
    jax.tree.map(np.testing.assert_array_equal, before, (after.params, after.opt_state))


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


def one_device(monkeypatch):
    """Loops take all devices; tests of them take one."""
    device = jax.devices()[:1]
    monkeypatch.setattr(jax, "devices", lambda *a: device)


def test_two_steps_then_resume_equals_four(loaded, world, tmp_path, monkeypatch):
    from r1reward_jax.annotate.simulated import SimulatedTeacher
    from r1reward_jax.annotate.teacher import annotate
    from r1reward_jax.prompts import TEMPLATES
    from r1reward_jax.train.batches import cold_start_example
    from r1reward_jax.train.build import Policy
    from r1reward_jax.train.checkpoint import Checkpoints
    from r1reward_jax.train.metrics import MetricsLog

    one_device(monkeypatch)
    model, params, processor = loaded
    teacher = SimulatedTeacher(0, (0.0, 0.5, 0.5), 0.1)
    annotations = annotate(teacher, world[1]["sft"][:20], max_attempts=3)
    examples = [cold_start_example(a, TEMPLATES["brief"]) for a in annotations]

    def train(name, stop_after=None):
        with Checkpoints(str(tmp_path / name), every=2, keep=3) as checkpoints:
            save = checkpoints.save

            def stopping(state):
                save(state)
                if int(state.step) == stop_after:
                    raise KeyboardInterrupt

            monkeypatch.setattr(checkpoints, "save", stopping)
            return run_sft(
                small_config(tmp_path),
                Policy(model, params, processor, qwen2_5_vl.RULES, processor.folder),
                examples,
                phase="cold_start",
                steps=4,
                batch=8,
                lr=1e-3,
                capacity=96,
                log=MetricsLog(str(tmp_path / name / "metrics.jsonl")),
                checkpoints=checkpoints,
            )

    whole = jax.tree.map(np.asarray, train("whole"))
    with pytest.raises(KeyboardInterrupt):
        train("parts", stop_after=2)
    resumed = train("parts")
    jax.tree.map(np.testing.assert_array_equal, whole, jax.tree.map(np.asarray, resumed))
    assert not np.array_equal(whole["text"]["embed_tokens"], params["text"]["embed_tokens"])
