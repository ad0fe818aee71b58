"""Advantages, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1reward_jax.rl import advantages as adv

MASK = jnp.array([[1, 1, 1], [1, 0, 0]], bool)


def test_token_rewards_sit_on_the_last_token():
    kl = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    found = adv.token_rewards(jnp.array([2.0, 0.5]), kl, MASK, kl_coef=0.1)
    np.testing.assert_allclose(found, [[-0.1, -0.2, 1.7], [0.1, 0, 0]], atol=1e-6)


def test_returns_sum_from_the_right():
    found = adv.returns(jnp.array([[-0.1, -0.2, 1.7], [0.1, 9.0, 9.0]]) * MASK, MASK)
    np.testing.assert_allclose(found, [[1.4, 1.5, 1.7], [0.1, 0, 0]], atol=1e-6)


def test_kl_estimators():
    logp, ref = jnp.log(jnp.array([[0.5]])), jnp.log(jnp.array([[0.25]]))
    np.testing.assert_allclose(adv.kl_k1(logp, ref), [[np.log(2)]], rtol=1e-6)
    np.testing.assert_allclose(adv.kl_k3(logp, ref), [[0.5 - 1 + np.log(2)]], rtol=1e-5)


def test_standardize_uses_the_population_deviation():
    x = jnp.array([[1.0, 2.0, 3.0], [6.0, 99.0, 99.0]])  # mean 3, variance 3.5
    found = adv.standardize(x, MASK, eps=0.0)
    s = 3.5**0.5
    np.testing.assert_allclose(found, [[-2 / s, -1 / s, 0], [3 / s, 0, 0]], rtol=1e-6)


def test_one_failure_among_255_successes():
    rewards = jnp.ones((256, 1)).at[0].set(0.0)
    mask = jnp.ones((256, 1), bool)
    z = jax.jit(adv.standardize, static_argnames="eps")(rewards, mask, eps=0.0)
    assert float(z[0, 0]) == pytest.approx(-(255**0.5), abs=1e-3)  # -15.969
    kept = adv.filter_outliers(z, sigmas=3.0)
    assert float(kept[0, 0]) == 0.0
    np.testing.assert_array_equal(kept[1:], z[1:])


@pytest.mark.parametrize(("accuracy", "kept"), [(0.68, 1), (0.69, 1), (0.89, 1), (0.91, 0)])
def test_paper_filter_drops_failures_above_90_percent(accuracy, kept):
    z, _, _ = _two_levels(accuracy)
    found = adv.filter_outliers(z, sigmas=3.0)
    assert bool(found[-1, 0] != 0) == kept
    assert float(found[0, 0]) != 0


@pytest.mark.parametrize(("accuracy", "kept"), [(0.68, 1), (0.69, 0), (0.89, 0), (0.91, 0)])
def test_released_filter_drops_failures_above_69_percent(accuracy, kept):
    z, x, mask = _two_levels(accuracy)
    found = adv.filter_released(z, x, mask, sigmas=3.0)
    assert bool(found[-1, 0] != 0) == kept


def _two_levels(accuracy: float):
    """1,000 one-token completions, rewards 2.0 (right) and 0.5 (wrong)."""
    right = round(1000 * accuracy)
    x = jnp.where(jnp.arange(1000) < right, 2.0, 0.5)[:, None]
    mask = jnp.ones((1000, 1), bool)
    return adv.standardize(x, mask, eps=0.0), x, mask


def test_filter_is_on_the_standardised_scale():
    """Rewards 100 times as large are filtered the same."""
    x = jnp.array([[0.0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]]).T
    mask = jnp.ones_like(x, bool)
    for scale in (0.01, 1.0, 100.0):
        z = adv.standardize(x * scale, mask, eps=1e-8)
        assert float(adv.filter_outliers(z, sigmas=3.0)[0, 0]) == 0.0


@pytest.mark.parametrize("reward", [1.1, 1.8, 0.3])
def test_equal_rewards_teach_nothing(reward):
    """Rounding of the mean must not be blown up to z = 1."""
    x = jnp.full((64, 12), reward)
    assert not np.any(adv.standardize(x, jnp.ones((64, 12), bool), eps=1e-8))


@pytest.mark.parametrize("far", [1e17, 1e19, 1e30, 1e38])
def test_rewards_that_are_far_apart(far):
    """Their squares are infinite in float32, their z is not."""
    x = jnp.zeros((8, 1)).at[0].set(-far)
    z = jax.jit(adv.standardize, static_argnames="eps")(x, jnp.ones((8, 1), bool), eps=1e-8)
    np.testing.assert_allclose(z[:2, 0], [-(7**0.5), 7**-0.5], rtol=1e-5)


def test_a_coefficient_of_zero_charges_nothing():
    """Also where the policies have nothing in common: 0 * inf is NaN."""
    kl = jnp.array([[jnp.inf, 1.0, -jnp.inf], [jnp.inf, 0.0, 0.0]])
    found = adv.token_rewards(jnp.array([2.0, 0.5]), kl, MASK, kl_coef=0.0)
    np.testing.assert_array_equal(found, [[0, 0, 2.0], [0.5, 0, 0]])
    charged = adv.token_rewards(jnp.array([2.0, 0.5]), kl, MASK, kl_coef=0.1)
    assert charged[0, 0] == -jnp.inf  # with a coefficient it must be seen


@pytest.mark.parametrize("wrong", [1, 10, 25])
def test_what_is_three_sigma_away_is_kept(wrong):
    """One of ten, however many: |z| is 3 exactly, and float32 rounds it to either side."""
    z = jax.jit(adv.standardize, static_argnames="eps")
    for columns in (1, 34):
        x = jnp.ones((10 * wrong, columns)).at[:wrong].set(0.0)
        kept = adv.filter_outliers(z(x, jnp.ones(x.shape, bool), eps=0.0), sigmas=3.0)
        np.testing.assert_allclose(kept[:wrong], -3.0, rtol=1e-5)
    x = jnp.ones((10 * wrong + 1, 1)).at[:wrong].set(0.0)  # one right one more: it is farther away
    assert not adv.filter_outliers(z(x, x >= 0, eps=0.0), sigmas=3.0)[:wrong].any()


GROUPS = jnp.array([[1.0, 0.0, 2.0, 1.0], [3.0, 3.0, 3.0, 3.0]])


def test_leave_one_out():
    found = adv.leave_one_out(GROUPS, eps=0.0)
    np.testing.assert_allclose(found, [[0, -4 / 3, 4 / 3, 0], [0, 0, 0, 0]], atol=1e-6)


def test_group_relative():
    s = 0.5**0.5  # population deviation of 1, 0, 2, 1
    found = adv.group_relative(GROUPS, eps=1e-8)
    np.testing.assert_allclose(found, [[0, -1 / s, 1 / s, 0], [0, 0, 0, 0]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reward", [0.3, 0.9, 1.1, 1.3, 1.5, 1.7, 2.0])
def test_equal_samples_of_a_prompt_teach_nothing(reward):
    """Under jit, where a division by M is a multiplication by a rounded number."""
    for samples in (2, 3, 5, 6, 7, 8, 14, 15):
        x = jnp.full((4, samples), reward)
        for baseline in (adv.leave_one_out, adv.group_relative):
            assert not np.any(jax.jit(baseline, static_argnames="eps")(x, eps=1e-8))


def test_batch_baseline_and_none():
    np.testing.assert_allclose(adv.batch_baseline(GROUPS, eps=0.0), GROUPS - 2.0)
    np.testing.assert_array_equal(adv.no_baseline(GROUPS, eps=0.0), GROUPS)


def test_what_is_not_a_number_is_no_outlier():
    """A filter that dropped NaN would hide a broken reward from the guard of the updates."""
    z, mask = jnp.array([[jnp.nan, 1.0, 4.0]]), jnp.ones((1, 3), bool)
    for kept in (
        adv.filter_outliers(z, sigmas=3.0),
        adv.filter_released(z, z * 0, mask, sigmas=3.0),
    ):
        assert np.isnan(kept[0, 0])
