"""From rewards to updates: every pass sees the images, old log-probs are old, the filter acts on
standardised advantages."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1reward_jax.build import update_config
from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.prompts import TEMPLATES, evaluator_prompt
from r1reward_jax.rl.advantages import AdvantageConfig, compute_advantages
from r1reward_jax.sharding import make_mesh, put_batch
from r1reward_jax.train.batches import rollout_batch
from r1reward_jax.train.objectives import policy_logprobs
from r1reward_jax.train.optimizer import init_state
from r1reward_jax.train.updates import compile_updates, prepare, split, update
from tests.rollout.test_sampler import make_engine
from tests.train.test_rl import small_config
from tests.train.test_step import STEP, optimizer

ROWS, NEW = 8, 8


@pytest.fixture(scope="module")
def seen(loaded, world):
    """Records, and the same ones with each other's images."""
    records = world[1]["rl"][:ROWS]
    moved = [r.images for r in records[1:] + records[:1]]
    return records, [replace(r, images=i) for r, i in zip(records, moved, strict=True)]


@pytest.fixture(scope="module")
def rollouts(loaded, seen):
    """What the policy samples for both, from the same seeds."""
    params = loaded[1]
    engine = make_engine(loaded, slots=ROWS, max_new_tokens=NEW)
    return [
        engine.generate(
            params,
            [evaluator_prompt(r, TEMPLATES["brief"]) for r in records],
            samples=1,
            temperature=1.0,
            seed=0,
        )
        for records in seen
    ]


@pytest.fixture(scope="module")
def passes(loaded, rollouts, tmp_path_factory):
    """An iteration on the completions of the first rollout, with both sets of images: the
    log-probs before the updates, those of the reference, metrics and parameters behind them."""
    model, params, processor = loaded
    config = small_config(tmp_path_factory.mktemp("updates"))
    config.rl.old_logp, config.rl.kl_coef, config.rl.epochs = "trainer", 0.1, 2
    mesh = make_mesh(1, 1, 1, devices=jax.devices()[:1])
    reference = jax.tree.map(lambda x: 0.9 * x, params)
    found = []
    for shown in rollouts:
        state = init_state(params, optimizer(), qwen2_5_vl.RULES, mesh)
        compiled = compile_updates(update_config(config), STEP, model, optimizer(), state)
        asked = []

        def logprobs(params, batch, compiled=compiled, asked=asked):
            out = compiled.logprobs(params, batch)
            asked.append((params is reference, np.where(batch.mask, out, 0.0)))
            return out

        batch = rollout_batch(replace(rollouts[0], prompts=shown.prompts), processor, NEW)
        parts = [put_batch(part, mesh) for part in split(batch, 2)]
        totals = np.linspace(0, 2, ROWS, dtype=np.float32)
        watched = replace(compiled, logprobs=logprobs)
        parts, _ = prepare(watched, state.params, reference, parts, totals, mesh)
        if found:  # the same old log-probs and advantages: nothing else differs than the images
            same = found[0]["parts"]
            parts = [a._replace(inputs=b.inputs) for a, b in zip(same, parts, strict=True)]
        state, metrics, _ = update(compiled, state, parts, [0, 1])
        found.append(
            {
                "old": np.concatenate([x for is_reference, x in asked if not is_reference]),
                "reference": np.concatenate([x for is_reference, x in asked if is_reference]),
                "metrics": metrics,
                "params": jax.tree.map(np.asarray, state.params),
                "parts": parts,
            }
        )
    return found


def test_the_rollout_sees_the_images(rollouts):
    """Also where the first token happens to be the same one."""
    first, moved = (np.asarray(r.batch.logp)[:, 0, 0] for r in rollouts)
    assert np.all(np.abs(first - moved) > 1e-5)


@pytest.mark.parametrize("name", ["old", "reference"])
def test_the_scoring_passes_see_the_images(name, passes):
    here, moved = (p[name] for p in passes)
    assert here.shape == (ROWS, NEW)
    assert np.all(np.abs(here - moved).max(axis=1) > 1e-5)


def test_the_updates_see_the_images(passes):
    """Their loss and gradients; old log-probs and advantages are the same in both."""
    here, moved = (p["metrics"] for p in passes)
    assert abs(here["loss/entropy"] - moved["loss/entropy"]) > 1e-5
    assert abs(here["loss/total"] - moved["loss/total"]) > 1e-6
    assert abs(here["loss/grad_norm"] - moved["loss/grad_norm"]) > 1e-4
    gap = [np.abs(a - b).max() for a, b in zip(*(jax.tree.leaves(p["params"]) for p in passes))]
    assert max(gap) > 1e-5


def test_old_log_probs_are_those_before_the_updates(loaded, passes):
    """The second part is updated on by a policy that the first one has moved."""
    model, params, _ = loaded
    here = passes[0]
    for part in here["parts"]:
        before = policy_logprobs(model, params, part, STEP)
        gap = np.where(part.mask, np.abs(np.asarray(before) - np.asarray(part.old_logp)), 0.0)
        assert gap.max() < 1e-4 and not np.any(part.on_policy)
    assert here["metrics"]["loss/log_ratio_max"] > 1e-3


def test_advantages_are_filtered_on_the_standardised_scale():
    """One failure among 99 successes is an outlier, whatever rewards are worth."""
    mask, zeros = jnp.ones((100, 1), bool), jnp.zeros((100, 1))
    config = AdvantageConfig(1, "none", True, "paper", 3.0, 1e-8, "k1", 0.0)
    for scale in (0.01, 1.0, 100.0):
        rewards = jnp.full(100, 2.0).at[7].set(0.5) * scale
        kept, metrics = compute_advantages(config, rewards, zeros, zeros, mask)
        assert np.flatnonzero(np.asarray(kept)[:, 0] == 0).tolist() == [7]
        assert float(metrics["advantage/filtered_frac"]) == pytest.approx(0.01)


def test_kl_is_taken_off_the_reward():
    """A token that the policy likes better than the reference costs."""
    mask = jnp.ones((2, 1), bool)
    config = AdvantageConfig(1, "none", False, "none", 3.0, 1e-8, "k1", 0.5)
    logp, ref_logp = jnp.array([[-1.0], [-1.0]]), jnp.array([[-3.0], [-1.0]])
    kept, metrics = compute_advantages(config, jnp.array([2.0, 2.0]), logp, ref_logp, mask)
    np.testing.assert_allclose(kept, [[1.0], [2.0]])
    assert float(metrics["loss/kl_reference"]) == pytest.approx(1.0)
