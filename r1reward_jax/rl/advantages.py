"""From rewards to advantages: returns, standardisation over the global batch, the 3-sigma filter.

Reinforce++ (arXiv 2501.03262) uses each completion token's return, standardised over all completion
tokens of the rollout batch, as its advantage. The paper (section 4.1) sets the outliers of that
distribution to 0: with 255 completions of reward 1, one of reward 0 and equal lengths, the single
failure has z = -15.969 and would dominate the update. The price: of two rewards the rarer one is
dropped wherever it has less than a tenth of the tokens, sqrt(p / (1 - p)) > 3, so that a policy
that is right more than 90 % of the time no longer learns from its failures. The paper accepts that
for stability; nothing is centred again behind the filter.

Estimators other than the plain return subtract a baseline from the rewards first.

All arrays are float32. Rewards come one per completion, those of a prompt's M samples side by side.
Token arrays are [B, C]; the mask is true on a prefix of each row. Padding gives 0 and never
matters. A batch of equal returns gives 0 everywhere once standardised, and so does one with a
single token or none. NaNs are passed on, so that the step (`train.step`) skips the update and
`train.nan_guard` counts it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from r1reward_jax.rl.logprobs import masked_mean

FAR_APART = 1e18
"""Distance of returns from which on their squares, or sums of these, may leave float32."""
ROUNDING = 1e-5
"""By how much float32 may round a z away from its value, relative to it (`filter_outliers`)."""


def no_baseline(rewards: Float[Array, "B M"], *, eps: float) -> Float[Array, "B M"]:
    """Return the rewards as they are: Reinforce++ leaves the baseline to the standardisation."""
    del eps
    return rewards


def batch_baseline(rewards: Float[Array, "B M"], *, eps: float) -> Float[Array, "B M"]:
    """r - mean over the batch: REINFORCE (Williams 1992, section 4) with the simplest baseline.

    Args:
      rewards: of all samples of the batch.
      eps: not used.
    """
    del eps
    return rewards - rewards.mean()


def leave_one_out(rewards: Float[Array, "B M"], *, eps: float) -> Float[Array, "B M"]:
    """RLOO (arXiv 2402.14740, equation 8): r minus the mean of the prompt's other samples.

    Args:
      rewards: of M samples of each prompt; with M = 1 they are returned unchanged.
      eps: not used.
    """
    del eps
    others = rewards.shape[1] - 1
    if not others:
        return rewards
    x = _from_largest(rewards)
    return x - (x.sum(1, keepdims=True) - x) / others


def group_relative(rewards: Float[Array, "B M"], *, eps: float) -> Float[Array, "B M"]:
    """GRPO (arXiv 2402.03300, section 4.1.2): (r - mean) / (std + eps) over a prompt's samples.

    Args:
      rewards: of M samples of each prompt; with M of 1 all advantages are 0.
      eps: added to the population deviation.
    """
    x = _from_largest(rewards)
    return (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + eps)


def _from_largest(rewards: Float[Array, "B M"]) -> Float[Array, "B M"]:
    """Return rewards relative to the largest of their prompt: equal rewards are exactly 0, so that
    no rounding of their mean is blown up to an advantage."""
    return rewards - rewards.max(1, keepdims=True)


BASELINES: dict[str, Callable] = {
    "none": no_baseline,
    "batch": batch_baseline,
    "leave_one_out": leave_one_out,
    "group": group_relative,
}
"""(rewards [B, M], eps) -> rewards [B, M] with a baseline taken off."""


def token_rewards(
    rewards: Float[Array, " B"],
    kl: Float[Array, "B C"],
    mask: Bool[Array, "B C"],
    *,
    kl_coef: float,
) -> Float[Array, "B C"]:
    """r_t = [t is the last token] * r(x, y) - kl_coef * kl_t   (Reinforce++, equation 5).

    Args:
      rewards: one per completion.
      kl: per-token divergence from the reference; zeros if there is none.
      mask: true on completion tokens, a prefix of each row.
      kl_coef: beta, in reward units per nat.
    """
    index = jnp.arange(mask.shape[1])
    last = index == (jnp.sum(mask, axis=1, keepdims=True) - 1)
    earned = last * rewards[:, None]
    # a coefficient of 0 charges nothing, also for an infinite KL: 0 * inf would be NaN
    return jnp.where(mask, earned - kl_coef * kl if kl_coef else earned, 0.0)


def kl_k1(logp: Float[Array, "B C"], ref_logp: Float[Array, "B C"]) -> Float[Array, "B C"]:
    """Return the plain estimator of KL(policy || reference): logp - ref_logp, unbiased, of either
    sign."""
    return logp - ref_logp


def kl_k3(logp: Float[Array, "B C"], ref_logp: Float[Array, "B C"]) -> Float[Array, "B C"]:
    """Schulman's k3: exp(d) - 1 - d with d = ref_logp - logp; unbiased and never negative."""
    d = ref_logp - logp
    return jnp.expm1(d) - d


def returns(token_reward: Float[Array, "B C"], mask: Bool[Array, "B C"]) -> Float[Array, "B C"]:
    """R_t = sum of r_s for s >= t: the return without discount; 0 on padding.

    Args:
      token_reward: 0 on padding.
      mask: true on completion tokens.
    """
    tail = jnp.cumsum(token_reward[:, ::-1], axis=1)[:, ::-1]
    return jnp.where(mask, tail, 0.0)


def standardize(
    x: Float[Array, "B C"], mask: Bool[Array, "B C"], *, eps: float
) -> Float[Array, "B C"]:
    """z = (x - mean) / (std + eps) over all masked tokens (paper, section 4.1), with the population
    deviation.

    Under jit on a mesh the sums run over the global batch.

    Args:
      x: returns.
      mask: true on completion tokens.
      eps: added to the deviation, in units of reward.
    """
    # measured from the largest value: equal rewards differ by exactly 0, and no rounding of their
    # mean is blown up to z = 1
    x = x - jnp.max(jnp.where(mask, x, -jnp.inf), initial=-jnp.finfo(x.dtype).max)
    # squares of what is far apart would be infinite, and z 0 everywhere; else the unit is 1
    span = jnp.max(jnp.where(mask, -x, 0.0), initial=0.0)
    unit = jnp.where(span > FAR_APART, span, 1.0)
    x = x / unit
    mean = masked_mean(x, mask)
    std = jnp.sqrt(masked_mean((x - mean) ** 2, mask))
    return jnp.where(mask, (x - mean) / (std + eps / unit), 0.0)


def filter_outliers(z: Float[Array, "B C"], *, sigmas: float) -> Float[Array, "B C"]:
    """The paper's advantage filter (section 4.1): z where |z| <= sigmas, else 0. What is exactly
    `sigmas` away is kept, whichever way z was rounded.

    Args:
      z: standardised advantages.
      sigmas: 3 in the paper.
    """
    # not "where <=": a NaN is no outlier, it must be seen further on
    return jnp.where(jnp.abs(z) > sigmas * (1 + ROUNDING), 0.0, z)


def filter_released(
    z: Float[Array, "B C"], x: Float[Array, "B C"], mask: Bool[Array, "B C"], *, sigmas: float
) -> Float[Array, "B C"]:
    """Apply the filter of the authors' release, for comparison: it compares with the raw scale.

    Keeps z where it lies within `sigmas` of the mean of the *raw* returns x, and |z| <= 10. With
    rewards 2.0 and 0.5 it drops every failure above about 68 % batch accuracy.

    One difference stays: the release's z has a floor of the deviation, (x - mean) / sqrt(max(var,
    1e-8)), where `standardize` adds eps to it. They part where the returns deviate by less than
    about 1e-4, which the paper's rewards, in steps of one half, only do by being all the same.

    Args:
      z: standardised advantages.
      x: the returns that they come from.
      mask: true on completion tokens.
      sigmas: 3 in the release.
    """
    far = jnp.abs(z - masked_mean(x, mask)) > sigmas
    return jnp.where(far | (jnp.abs(z) > 10.0), 0.0, z)


FILTERS: dict[str, Callable] = {
    "paper": lambda z, x, mask, sigmas: filter_outliers(z, sigmas=sigmas),
    "released": lambda z, x, mask, sigmas: filter_released(z, x, mask, sigmas=sigmas),
    "none": lambda z, x, mask, sigmas: z,
}
"""(standardised advantages, returns, mask, sigmas) -> advantages with outliers set to 0."""
KL = {"k1": kl_k1, "k3": kl_k3}
"""(log-probs, log-probs of the reference) -> KL per token."""


@dataclass(frozen=True)
class AdvantageConfig:
    """Hold the static settings of the advantages; names as in configs/default.py."""

    samples: int
    """M, completions of a prompt."""
    baseline: str
    """A name in BASELINES."""
    standardize: bool
    """Whether the advantages are z; if not, returns whose z the filter kept."""
    filter: str
    """A name in FILTERS."""
    sigmas: float
    """Of the filter."""
    eps: float
    """Added to standard deviations."""
    kl: str
    """A name in KL."""
    kl_coef: float
    """Reward per nat of KL from the reference; 0 needs no reference."""


def compute_advantages(
    config: AdvantageConfig,
    rewards: Float[Array, " B"],
    logp: Float[Array, "B C"],
    ref_logp: Float[Array, "B C"],
    mask: Bool[Array, "B C"],
) -> tuple[Float[Array, "B C"], dict[str, Array]]:
    """Turn rewards into filtered advantages, over the whole rollout batch: baseline, KL, returns,
    standardisation, filter (paper, section 4.1).

    With the baseline "group" z standardises once more over the batch: plain GRPO needs
    `standardize` off.

    Args:
      config: names and numbers.
      rewards: totals, those of a prompt's samples side by side.
      logp: of the completion tokens under the old policy, the one that sampled them.
      ref_logp: under the reference policy; `logp` itself where there is none, and the KL is 0.
      mask: true on completion tokens.

    Returns:
      Advantages, 0 on padding, and metrics of returns and advantages.
    """
    c = config
    kl = KL[c.kl](logp, ref_logp)
    centred = BASELINES[c.baseline](rewards.reshape(-1, c.samples), eps=c.eps).reshape(-1)
    x = returns(token_rewards(centred, kl, mask, kl_coef=c.kl_coef), mask)
    z = standardize(x, mask, eps=c.eps)
    kept = FILTERS[c.filter](z, x, mask, c.sigmas)
    dropped = (kept == 0) & (z != 0)
    kept = kept if c.standardize else jnp.where(dropped, 0.0, x)
    mean, kept_mean = masked_mean(x, mask), masked_mean(kept, mask)
    return kept, {
        "advantage/filtered_frac": masked_mean(dropped * 1.0, mask),
        "advantage/mean": mean,
        "advantage/std": jnp.sqrt(masked_mean((x - mean) ** 2, mask)),
        "advantage/abs_max": jnp.max(jnp.abs(z)),
        "advantage/kept_mean": kept_mean,
        "advantage/kept_std": jnp.sqrt(masked_mean((kept - kept_mean) ** 2, mask)),
        "advantage/kept_abs_max": jnp.max(jnp.abs(kept)),
        "loss/kl_reference": masked_mean(kl, mask),
    }
