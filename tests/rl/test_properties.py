"""What must hold for every batch: drawn by hypothesis, jitted, on one and on eight devices."""

import functools

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from r1reward_jax.rl import advantages as adv
from r1reward_jax.rl import losses
from r1reward_jax.rl.advantages import AdvantageConfig, compute_advantages
from r1reward_jax.sharding import make_mesh
from r1reward_jax.testing import reward_batches, token_batches

BOUNDS = {"min_ratio": 1e-3, "max_ratio": 1e3}
KNOBS = {"clip_eps": 0.2, **BOUNDS}
PAPER = AdvantageConfig(1, "none", True, "paper", 3.0, 1e-8, "k1", 0.05)
examples = settings(max_examples=60, deadline=None, derandomize=True)
AGGREGATES = pytest.mark.parametrize("aggregate", losses.AGGREGATES)


def loss_of(aggregate, logp, old_logp, advantages, mask):
    mean, count = losses.AGGREGATES[aggregate]
    per_token, metrics = losses.stable_reinforce_loss(logp, old_logp, advantages, mask, **KNOBS)
    return mean(per_token, mask, count=count(mask)), metrics


@functools.cache
def jitted(aggregate):
    """(loss, metrics) and the gradient by the log-probs."""
    return jax.jit(jax.value_and_grad(functools.partial(loss_of, aggregate), has_aux=True))


estimate = jax.jit(functools.partial(compute_advantages, PAPER))


@AGGREGATES
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@examples
@given(batch=token_batches())
def test_loss_and_gradients_are_finite(aggregate, dtype, batch):
    """Log-probs in [-1e4, 0] and advantages up to 1e4: where PPO's exp overflows."""
    floats = [jnp.asarray(x, dtype) for x in batch[:3]]
    (value, metrics), grad = jitted(aggregate)(*floats, batch.mask)
    assert value.dtype == jnp.float32 and grad.dtype == dtype
    assert np.isfinite(value) and np.all(np.isfinite(np.asarray(grad, np.float32)))
    if batch.mask.any():
        assert all(np.isfinite(x) for x in metrics.values())


@examples
@given(batch=token_batches(least_logp=-8.0, most_advantage=5.0), seed=st.integers(0, 9))
def test_clipped_and_filtered_tokens_get_no_gradient(batch, seed):
    filtered = np.random.default_rng(seed).random(batch.mask.shape) < 0.3
    a = np.where(filtered, 0.0, batch.advantages).astype(np.float32)
    _, grad = jitted("token")(batch.logp, batch.old_logp, a, batch.mask)
    change = batch.logp - batch.old_logp
    edge = np.min([abs(change - np.log(x)) for x in (0.8, 1.2, 1e-3, 1e3)], axis=0) < 1e-5
    outside = (change < np.log(1e-3)) | (change > np.log(1e3))
    clipped = np.where(a > 0, change > np.log(1.2), change < np.log(0.8))
    dead = (outside | clipped | (a == 0) | ~batch.mask) & ~edge
    assert not np.any(np.asarray(grad)[dead])
    alive = ~dead & ~edge & (np.abs(a) > 1e-3)
    assert np.all(np.asarray(grad)[alive] != 0)


@examples
@given(change=st.floats(-6.875, 6.875, width=32))
def test_pre_clip_is_exp_inside_its_bounds(change):
    inside = jnp.full((1, 1), change, jnp.float32)
    ratio = jax.jit(functools.partial(losses.pre_clip, **BOUNDS))
    np.testing.assert_allclose(ratio(inside), jax.jit(jnp.exp)(inside), rtol=1e-6)


@examples
@given(change=st.floats(-1e4, 1e4, width=32))
def test_pre_clip_stays_inside_its_bounds(change):
    ratio = float(losses.pre_clip(jnp.full((1, 1), change), **BOUNDS)[0, 0])
    assert 0.999e-3 <= ratio <= 1.001e3


@examples
@given(
    batch=reward_batches(),
    scale=st.floats(0.01, 100),
    shift=st.floats(-3, 3),
)
def test_the_filter_drops_beyond_three_sigma_on_any_scale(batch, scale, shift):
    x = np.broadcast_to(batch.rewards[:, None], batch.mask.shape).astype(np.float32)
    inside = x[batch.mask].astype(np.float64)
    assume(inside.std() > 1e-3)
    exact = (x - inside.mean()) / inside.std()
    clear = batch.mask & (np.abs(np.abs(exact) - 3) > 1e-3) & (np.abs(exact) > 1e-2)
    z = jax.jit(adv.standardize, static_argnames="eps")(
        (x * scale + shift * scale).astype(np.float32), batch.mask, eps=1e-8
    )
    kept = np.asarray(adv.filter_outliers(z, sigmas=3.0))
    np.testing.assert_allclose(np.asarray(z)[batch.mask], exact[batch.mask], atol=2e-3)
    np.testing.assert_array_equal(kept[clear] == 0, np.abs(exact[clear]) > 3)


@examples
@given(
    failures=st.integers(1, 9),
    scale=st.floats(0.01, 100),
    shift=st.floats(-3, 3),
    seed=st.integers(0, 99),
)
def test_the_filter_meets_outliers_on_any_scale(failures, scale, shift, seed):
    """Batches of 64 rows do hold |z| > 3, unlike the small ones above: few failures are dropped,
    and nothing else; seven or more are kept."""
    failed = np.random.default_rng(seed).permutation(64) < failures
    rewards = ((np.where(failed, 0.0, 1.0) + shift) * scale).astype(np.float32)[:, None]
    z = jax.jit(adv.standardize, static_argnames="eps")(rewards, np.ones((64, 1), bool), eps=1e-8)
    dropped = (
        np.asarray(jax.jit(adv.filter_outliers, static_argnames="sigmas")(z, sigmas=3.0))[:, 0] == 0
    )
    outliers = ((64 - failures) / failures) ** 0.5 > 3
    assert outliers == (failures < 7)
    np.testing.assert_array_equal(dropped, failed & outliers)


@AGGREGATES
@examples
@given(batch=token_batches(), junk=st.floats(-1e4, 1e4, width=32))
def test_padding_never_matters(aggregate, batch, junk):
    other = [np.where(batch.mask, x, np.float32(junk)) for x in batch[:3]]
    (a, metrics_a), grad_a = jitted(aggregate)(*batch)
    (b, metrics_b), grad_b = jitted(aggregate)(*other, batch.mask)
    assert float(a) == float(b)
    np.testing.assert_array_equal(grad_a, grad_b)
    assert not np.any(np.asarray(grad_a)[~batch.mask])
    assert {k: float(v) for k, v in metrics_a.items()} == {
        k: float(v) for k, v in metrics_b.items()
    }


@examples
@given(batch=reward_batches(), junk=st.floats(-1e4, 1e4, width=32))
def test_padding_never_matters_to_advantages(batch, junk):
    other = [np.where(batch.mask, x, np.float32(junk)) for x in (batch.logp, batch.ref_logp)]
    kept, metrics = estimate(*batch)
    again, metrics_again = estimate(batch.rewards, *other, batch.mask)
    np.testing.assert_array_equal(kept, again)
    assert {k: float(v) for k, v in metrics.items()} == {
        k: float(v) for k, v in metrics_again.items()
    }
    assert not np.any(np.asarray(kept)[~batch.mask])


@examples
@given(batch=reward_batches(), order=st.permutations(range(8)))
def test_permuting_the_batch_permutes_the_result(batch, order):
    """Whole pipeline: advantages, then loss and gradients."""
    order = np.asarray(order)
    kept, _ = estimate(*batch)
    shuffled, _ = estimate(*(x[order] for x in batch))
    np.testing.assert_allclose(np.asarray(kept)[order], shuffled, atol=2e-4)
    (a, _), grad = jitted("sequence")(batch.logp, batch.ref_logp, kept, batch.mask)
    (b, _), grad_b = jitted("sequence")(
        batch.logp[order], batch.ref_logp[order], np.asarray(kept)[order], batch.mask[order]
    )
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(grad)[order], grad_b, rtol=1e-4, atol=1e-5)


@AGGREGATES
@settings(max_examples=15, deadline=None, derandomize=True)
@given(batch=token_batches(least_logp=-20.0, most_advantage=5.0))
def test_jit_equals_eager(aggregate, batch):
    (a, metrics_a), grad_a = jitted(aggregate)(*batch)
    eager = jax.value_and_grad(functools.partial(loss_of, aggregate), has_aux=True)
    (b, metrics_b), grad_b = eager(*map(jnp.asarray, batch))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grad_a, grad_b, rtol=1e-5, atol=1e-6)
    for name in metrics_a:
        np.testing.assert_allclose(metrics_a[name], metrics_b[name], rtol=1e-4, atol=1e-5)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(batch=reward_batches())
def test_jit_equals_eager_for_advantages(batch):
    kept, metrics = estimate(*batch)
    eager, eager_metrics = compute_advantages(PAPER, *map(jnp.asarray, batch))
    np.testing.assert_allclose(kept, eager, atol=2e-4)
    for name in metrics:
        np.testing.assert_allclose(metrics[name], eager_metrics[name], rtol=1e-3, atol=1e-4)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(batch=reward_batches())
def test_eight_devices_equal_one(batch):
    """Rows over eight devices: standardisation, filter, loss and gradients are global."""
    rows = NamedSharding(make_mesh(8, 1, 1), P("data"))
    split = jax.device_put(batch, rows)
    kept, metrics = estimate(*batch)
    kept_split, metrics_split = estimate(*split)
    np.testing.assert_allclose(kept, kept_split, atol=2e-4)
    for name in metrics:
        np.testing.assert_allclose(metrics[name], metrics_split[name], rtol=1e-3, atol=1e-4)
    (a, _), grad = jitted("token")(batch.logp, batch.ref_logp, np.asarray(kept), batch.mask)
    (b, _), grad_split = jitted("token")(split.logp, split.ref_logp, kept_split, split.mask)
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(grad, grad_split, rtol=1e-3, atol=1e-4)
