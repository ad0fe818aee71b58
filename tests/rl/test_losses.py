"""Losses, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1reward_jax.rl import losses

LOGP = jnp.full((1, 4), -0.1)
OLD = jnp.array([[-10.0, -0.2, -0.2, -5.0]])
ADVANTAGES = jnp.array([[-1.0, -1.0, 0.5, -0.5]])
MASK = jnp.ones((1, 4), bool)
KNOBS = {
    "clip_eps": 0.2,
    "min_ratio": 1e-3,
    "max_ratio": 1e3,
}


def test_the_papers_four_tokens():
    """Unclipped, a negative advantage meets ratio e^9.9: the loss is 19930."""
    per_token = losses.clipped_surrogate(jnp.exp(LOGP - OLD), ADVANTAGES, clip_eps=0.2)
    np.testing.assert_allclose(per_token[0], [19930.37, 1.105, -0.553, 67.14], rtol=1e-3)
    for baseline in (losses.ppo_clip_loss, losses.reinforce_pp_loss):
        found, _ = baseline(LOGP, OLD, ADVANTAGES, MASK, **KNOBS)
        np.testing.assert_allclose(found[0], [19930.37, 1.105, -0.553, 67.14], rtol=1e-3)


def test_pre_clip_bounds_the_four_tokens():
    ratio = losses.pre_clip(LOGP - OLD, min_ratio=1e-3, max_ratio=1e3)
    np.testing.assert_allclose(ratio[0], [1e3, np.e**0.1, np.e**0.1, np.e**4.9], rtol=1e-5)
    value, metrics = jax.jit(lambda *a: losses.stable_reinforce_loss(*a, **KNOBS))(
        LOGP, OLD, ADVANTAGES, MASK
    )
    np.testing.assert_allclose(value[0], [1000, 1.10517, -0.552585, 67.1449], rtol=1e-5)
    assert float(metrics["loss/pre_clip_frac"]) == 0.25


def test_gradient_is_zero_where_clipped_or_filtered():
    def loss(logp, advantages):
        return losses.stable_reinforce_loss(logp, OLD, advantages, MASK, **KNOBS)[0].mean()

    grad = jax.jit(jax.grad(loss))(LOGP, ADVANTAGES)
    # pre-clipped; inside; inside the surrogate's bound; large ratio but a negative advantage
    assert (np.asarray(grad[0]) != 0).tolist() == [False, True, True, True]
    filtered = jax.grad(loss)(LOGP, ADVANTAGES.at[0, 1].set(0.0))
    assert float(filtered[0, 1]) == 0.0
    clipped = jax.grad(loss)(LOGP, -ADVANTAGES)  # ratio e^4.9 with a positive advantage
    assert float(clipped[0, 3]) == 0.0


def test_ppo_overflows_where_pre_clip_does_not():
    logp, old = jnp.zeros((1, 1)), jnp.full((1, 1), -1e4)
    args = (old, -jnp.ones((1, 1)), jnp.ones((1, 1), bool))
    plain = losses.ppo_clip_loss(logp, *args, **KNOBS)[0].sum()
    stable, grad = jax.value_and_grad(
        lambda x: losses.stable_reinforce_loss(x, *args, **KNOBS)[0].sum()
    )(logp)
    assert not np.isfinite(plain)
    assert float(stable) == pytest.approx(1e3, rel=1e-5) and float(grad[0, 0]) == 0.0


def test_old_policy_gets_no_gradient():
    def loss(old):
        return losses.stable_reinforce_loss(LOGP, old, ADVANTAGES, MASK, **KNOBS)[0].mean()

    assert not np.any(jax.grad(loss)(OLD))


def test_means_over_tokens_and_over_sequences():
    per_token = jnp.array([[1.0, 2.0, 3.0], [10.0, 99.0, 99.0], [99.0, 99.0, 99.0]])
    mask = jnp.array([[1, 1, 1], [1, 0, 0], [0, 0, 0]], bool)
    count, rows = losses.token_count(mask), losses.sequence_count(mask)
    assert (float(count), float(rows)) == (4, 2)
    assert float(losses.token_mean(per_token, mask, count=count)) == 4.0
    assert float(losses.sequence_mean(per_token, mask, count=rows)) == 6.0
    for mean, of in losses.AGGREGATES.values():
        assert float(mean(per_token * jnp.nan, mask & False, count=of(mask & False))) == 0.0


def test_parts_of_a_batch_add_up():
    """With the counts of the whole batch, the losses of its parts sum to that of the whole."""
    rng = np.random.default_rng(0)
    per_token = jnp.asarray(rng.normal(size=(6, 4)), jnp.float32)
    mask = jnp.arange(4) < jnp.asarray(rng.integers(0, 5, 6))[:, None]
    for mean, of in losses.AGGREGATES.values():
        whole = mean(per_token, mask, count=of(mask))
        parts = [mean(per_token[i : i + 2], mask[i : i + 2], count=of(mask)) for i in (0, 2, 4)]
        assert float(sum(parts)) == pytest.approx(float(whole), rel=1e-5)


def test_importance_weights_are_truncated():
    """Twice as likely for the trainer: 2; e^5 times: the cap; padding and gradients: none."""
    old = jnp.log(jnp.array([[0.5, 0.9]])) + jnp.array([[0.0, 5.0]])
    sampler = jnp.log(jnp.array([[0.25, 0.9]]))
    weights = losses.truncated_importance_weights(old, sampler, cap=3.0)
    np.testing.assert_allclose(weights, [[2.0, 3.0]], rtol=1e-6)
    slope = jax.grad(lambda x: losses.truncated_importance_weights(x, sampler, cap=3.0).sum())
    assert not np.any(slope(old))


def test_distance_from_the_old_policy():
    """k3 of a ratio of 2: 2 - 1 - log 2."""
    _, metrics = losses.ppo_clip_loss(
        jnp.log(jnp.array([[0.5]])),
        jnp.log(jnp.array([[0.25]])),
        jnp.ones((1, 1)),
        jnp.ones((1, 1), bool),
        **KNOBS,
    )
    assert float(metrics["loss/kl_old"]) == pytest.approx(1 - np.log(2), rel=1e-5)
    assert float(metrics["loss/clip_frac"]) == 1.0
