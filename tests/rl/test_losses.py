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
    "aggregate": losses.token_mean,
    "clip_eps": 0.2,
    "min_ratio": 1e-3,
    "max_ratio": 1e3,
}


def test_the_papers_four_tokens():
    """Unclipped, a negative advantage meets ratio e^9.9: the loss is 19930."""
    per_token = losses.clipped_surrogate(jnp.exp(LOGP - OLD), ADVANTAGES, clip_eps=0.2)
    np.testing.assert_allclose(per_token[0], [19930.37, 1.105, -0.553, 67.14], rtol=1e-3)
    value, _ = losses.ppo_loss(LOGP, OLD, ADVANTAGES, MASK, **KNOBS)
    np.testing.assert_allclose(value, 19998.06 / 4, rtol=1e-4)


def test_pre_clip_bounds_the_four_tokens():
    ratio = losses.pre_clip(LOGP - OLD, min_ratio=1e-3, max_ratio=1e3)
    np.testing.assert_allclose(ratio[0], [1e3, np.e**0.1, np.e**0.1, np.e**4.9], rtol=1e-5)
    value, metrics = jax.jit(lambda *a: losses.stable_reinforce_loss(*a, **KNOBS))(
        LOGP, OLD, ADVANTAGES, MASK
    )
    np.testing.assert_allclose(value, (1000 + 1.10517 - 0.552585 + 67.1449) / 4, rtol=1e-5)
    assert float(metrics["loss/pre_clip_frac"]) == 0.25


def test_gradient_is_zero_where_clipped_or_filtered():
    def loss(logp, advantages):
        return losses.stable_reinforce_loss(logp, OLD, advantages, MASK, **KNOBS)[0]

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
    plain = losses.ppo_loss(logp, *args, **KNOBS)[0]
    stable, grad = jax.value_and_grad(lambda x: losses.stable_reinforce_loss(x, *args, **KNOBS)[0])(
        logp
    )
    assert not np.isfinite(plain)
    assert float(stable) == pytest.approx(1e3, rel=1e-5) and float(grad[0, 0]) == 0.0


def test_old_policy_gets_no_gradient():
    def loss(old):
        return losses.stable_reinforce_loss(LOGP, old, ADVANTAGES, MASK, **KNOBS)[0]

    assert not np.any(jax.grad(loss)(OLD))


def test_means_over_tokens_and_over_sequences():
    per_token = jnp.array([[1.0, 2.0, 3.0], [10.0, 99.0, 99.0], [99.0, 99.0, 99.0]])
    mask = jnp.array([[1, 1, 1], [1, 0, 0], [0, 0, 0]], bool)
    assert float(losses.token_mean(per_token, mask)) == 4.0
    assert float(losses.sequence_mean(per_token, mask)) == 6.0
    assert float(losses.sequence_mean(per_token, mask & False)) == 0.0
    assert float(losses.token_mean(per_token * jnp.nan, mask & False)) == 0.0
