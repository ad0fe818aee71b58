"""The StableReinforce loss (arXiv 2505.02835v2, section 4.1) and the PPO loss (section 3.2) that it
fixes.

    rho_t = exp(clip(logp_t - old_logp_t, log delta_min, log delta_max))        (Pre-CLIP)
    L     = -mean_t min(rho_t * A_t, clip(rho_t, 1 - eps, 1 + eps) * A_t)

PPO exponentiates first and clips later; for a negative advantage the clip does not act on large
ratios, and exp overflows. Pre-CLIP bounds the ratio before it is exponentiated.

Log-probs are in nats, per sampled token, in rows of C places of which the mask marks those of the
completion. They may come in bfloat16; the maths is in float32. Padding, also with junk in it, never
matters; a batch without tokens has loss 0. No gradient flows into old log-probs; callers pass
advantages and importance weights as constants, which are already filtered and capped.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from r1reward_jax.rl.logprobs import masked_mean


def log_ratio(logp: Float[Array, "B C"], old_logp: Float[Array, "B C"]) -> Float[Array, "B C"]:
    """log pi(y_t) / pi_old(y_t), float32; no gradient into the old policy."""
    return logp.astype(jnp.float32) - jax.lax.stop_gradient(old_logp.astype(jnp.float32))


def pre_clip(
    log_ratio: Float[Array, "B C"], *, min_ratio: float, max_ratio: float
) -> Float[Array, "B C"]:
    """exp(clip(log_ratio, log min_ratio, log max_ratio)); zero gradient outside the bounds.

    Args:
      log_ratio: logp - old_logp.
      min_ratio: smallest ratio, 1e-3 in the paper.
      max_ratio: largest ratio, 1e3 in the paper.
    """
    return jnp.exp(jnp.clip(log_ratio, jnp.log(min_ratio), jnp.log(max_ratio)))


def clipped_surrogate(
    ratio: Float[Array, "B C"], advantages: Float[Array, "B C"], *, clip_eps: float
) -> Float[Array, "B C"]:
    """-min(ratio * A, clip(ratio, 1 - eps, 1 + eps) * A), per token (PPO, arXiv 1707.06347,
    equation 7)."""
    clipped = jnp.clip(ratio, 1.0 - clip_eps, 1.0 + clip_eps)
    return -jnp.minimum(ratio * advantages, clipped * advantages)


def token_count(mask: Bool[Array, "B C"]) -> Float[Array, ""]:
    """Return what `token_mean` divides by: the tokens of a batch."""
    return jnp.sum(mask) * 1.0


def token_mean(
    losses: Float[Array, "B C"], mask: Bool[Array, "B C"], *, count: Float[Array, ""]
) -> Float[Array, ""]:
    """Return the mean over tokens: every token counts the same.

    Args:
      losses: per token.
      mask: true on completion tokens.
      count: tokens of the whole batch, of which these rows may be a part.
    """
    return masked_mean(losses, mask, denominator=jnp.maximum(count, 1.0))


def sequence_count(mask: Bool[Array, "B C"]) -> Float[Array, ""]:
    """Return what `sequence_mean` divides by: the rows of a batch that have tokens."""
    return jnp.sum(jnp.any(mask, axis=1)) * 1.0


def sequence_mean(
    losses: Float[Array, "B C"], mask: Bool[Array, "B C"], *, count: Float[Array, ""]
) -> Float[Array, ""]:
    """Return the mean over the tokens of each sequence, then over sequences: every sequence counts
    the same (the authors' release).

    Args:
      losses: per token.
      mask: true on completion tokens.
      count: sequences of the whole batch, of which these rows may be a part.
    """
    lengths = jnp.sum(mask, axis=1)
    per_row = jnp.sum(jnp.where(mask, losses, 0.0), axis=1) / jnp.maximum(lengths, 1)
    return masked_mean(per_row, lengths > 0, denominator=jnp.maximum(count, 1.0))


def stable_reinforce_loss(
    logp: Float[Array, "B C"],
    old_logp: Float[Array, "B C"],
    advantages: Float[Array, "B C"],
    mask: Bool[Array, "B C"],
    *,
    clip_eps: float,
    min_ratio: float,
    max_ratio: float,
) -> tuple[Float[Array, "B C"], dict[str, Any]]:
    """Return the clipped surrogate of the Pre-CLIPped ratio; advantages are already filtered.

    Args:
      logp: of the sampled tokens under the policy being trained.
      old_logp: under the policy that sampled them.
      advantages: standardised and filtered, constants.
      mask: true on completion tokens.
      clip_eps: 0.1 to 0.3; the release uses 0.2.
      min_ratio: Pre-CLIP bound, 1e-3.
      max_ratio: Pre-CLIP bound, 1e3.

    Returns:
      The loss of each token, 0 on padding (`token_mean` or `sequence_mean` makes one number of
      it), and metrics: share of tokens outside the Pre-CLIP bounds, share where the surrogate is
      clipped, extreme ratios, distance from the old policy.
    """
    change = jnp.where(mask, log_ratio(logp, old_logp), 0.0)  # padding is no distance
    ratio = pre_clip(change, min_ratio=min_ratio, max_ratio=max_ratio)
    per_token = clipped_surrogate(ratio, advantages, clip_eps=clip_eps)
    outside = (change < jnp.log(min_ratio)) | (change > jnp.log(max_ratio))
    metrics = ratio_metrics(change, advantages, mask, clip_eps=clip_eps)
    metrics["loss/pre_clip_frac"] = masked_mean(outside * 1.0, mask)
    return jnp.where(mask, per_token, 0.0), metrics


def ppo_clip_loss(
    logp: Float[Array, "B C"],
    old_logp: Float[Array, "B C"],
    advantages: Float[Array, "B C"],
    mask: Bool[Array, "B C"],
    *,
    clip_eps: float,
    min_ratio: float,
    max_ratio: float,
) -> tuple[Float[Array, "B C"], dict[str, Any]]:
    """Return the loss of the baseline PPO: the same surrogate of the plain ratio exp(logp -
    old_logp). Arguments as in `stable_reinforce_loss`; the Pre-CLIP bounds are not used."""
    del min_ratio, max_ratio
    change = jnp.where(mask, log_ratio(logp, old_logp), 0.0)
    per_token = clipped_surrogate(jnp.exp(change), advantages, clip_eps=clip_eps)
    metrics = ratio_metrics(change, advantages, mask, clip_eps=clip_eps)
    return jnp.where(mask, per_token, 0.0), metrics


reinforce_pp_loss = ppo_clip_loss
"""The baseline Reinforce++ (arXiv 2501.03262, section 3) is PPO's clipped surrogate without a
critic. What is its own lies in `rl.advantages`: KL in the token rewards, returns, and
standardisation over the global batch. The filter is a knob of its own: set `rl.filter=none`, as
configs/ablations/reinforce_pp.py does."""


def truncated_importance_weights(
    old_logp: Float[Array, "B C"], sampler_logp: Float[Array, "B C"], *, cap: float
) -> Float[Array, "B C"]:
    """min(pi_old(y_t) / pi_sampler(y_t), cap): corrects for a sampler that computes differently
    from the trainer (truncated importance sampling, Ionides 2008). A constant that
    `train.objectives` multiplies the token losses with where `rl.importance_cap` is set (off by
    default).

    Args:
      old_logp: of the sampled tokens by the trainer's forward pass.
      sampler_logp: of the same tokens, as the sampler recorded them.
      cap: largest weight, for instance 2.
    """
    change = jax.lax.stop_gradient(log_ratio(old_logp, sampler_logp))
    return jnp.exp(jnp.minimum(change, jnp.log(cap)))


def bradley_terry_loss(better: Float[Array, " B"], worse: Float[Array, " B"]) -> Float[Array, " B"]:
    """-log sigmoid(r(x, y_w) - r(x, y_l)), per pair: how scalar reward models learn (arXiv
    2203.02155, equation 1), the paper's baseline. `train.bradley_terry` trains with it; it is no RL
    loss, so it is not in LOSSES.

    Args:
      better: scores of the preferred responses.
      worse: scores of the others.
    """
    return jax.nn.softplus(worse.astype(jnp.float32) - better.astype(jnp.float32))


def ratio_metrics(
    change: Float[Array, "B C"],
    advantages: Float[Array, "B C"],
    mask: Bool[Array, "B C"],
    *,
    clip_eps: float,
) -> dict[str, Any]:
    """Measure how far the policy is from the old one: clipped fraction, extreme log-ratios, KL (k3,
    of log-ratios within 20: beyond, one token would make it infinite).

    Args:
      change: log-ratios, 0 on padding.
      advantages: that the surrogate weighs.
      mask: true on completion tokens; without any, the extremes are infinite (-inf, inf).
      clip_eps: of the surrogate.
    """
    ratio, near = jnp.exp(change), jnp.clip(change, -20.0, 20.0)
    clipped = jnp.where(advantages > 0, ratio > 1 + clip_eps, ratio < 1 - clip_eps)
    return {
        "loss/clip_frac": masked_mean((clipped & (advantages != 0)) * 1.0, mask),
        "loss/log_ratio_max": jnp.max(jnp.where(mask, change, -jnp.inf)),
        "loss/log_ratio_min": jnp.min(jnp.where(mask, change, jnp.inf)),
        "loss/kl_old": masked_mean(jnp.expm1(near) - near, mask),
    }


LOSSES = {
    "stable_reinforce": stable_reinforce_loss,
    "ppo_clip": ppo_clip_loss,
    "reinforce_pp": reinforce_pp_loss,
}
AGGREGATES = {"token": (token_mean, token_count), "sequence": (sequence_mean, sequence_count)}
"""How token losses become one number, and what they are divided by."""
