"""The StableReinforce loss (paper, section 3.2, equations 5 to 8) and the PPO loss it mends.

    rho_t = exp(clip(logp_t - old_logp_t, log delta_min, log delta_max))        (Pre-CLIP)
    L     = -mean_t min(rho_t * A_t, clip(rho_t, 1 - eps, 1 + eps) * A_t)

PPO exponentiates first and clips later; for a negative advantage the clip does not act on large
ratios, and exp overflows. Pre-CLIP bounds the ratio before it is exponentiated.
"""

from collections.abc import Callable
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
    """-min(ratio * A, clip(ratio, 1 - eps, 1 + eps) * A), per token (PPO, arXiv 1707.06347, 7)."""
    clipped = jnp.clip(ratio, 1.0 - clip_eps, 1.0 + clip_eps)
    return -jnp.minimum(ratio * advantages, clipped * advantages)


def token_mean(losses: Float[Array, "B C"], mask: Bool[Array, "B C"]) -> Float[Array, ""]:
    """Every token counts the same."""
    return masked_mean(losses, mask)


def sequence_mean(losses: Float[Array, "B C"], mask: Bool[Array, "B C"]) -> Float[Array, ""]:
    """Every sequence counts the same: mean over its tokens, then over sequences (the release)."""
    lengths = jnp.sum(mask, axis=1)
    per_row = jnp.sum(jnp.where(mask, losses, 0.0), axis=1) / jnp.maximum(lengths, 1)
    return masked_mean(per_row, lengths > 0)


def stable_reinforce_loss(
    logp: Float[Array, "B C"],
    old_logp: Float[Array, "B C"],
    advantages: Float[Array, "B C"],
    mask: Bool[Array, "B C"],
    *,
    aggregate: Callable[[Array, Array], Array],
    clip_eps: float,
    min_ratio: float,
    max_ratio: float,
) -> tuple[Float[Array, ""], dict[str, Any]]:
    """The clipped surrogate of the Pre-CLIPped ratio; advantages come filtered.

    Args:
      logp: of the sampled tokens under the policy being trained.
      old_logp: under the policy that sampled them.
      advantages: standardised and filtered, constants.
      mask: true on completion tokens.
      aggregate: `token_mean` or `sequence_mean`.
      clip_eps: 0.1 to 0.3; the release uses 0.2.
      min_ratio: Pre-CLIP bound, 1e-3.
      max_ratio: Pre-CLIP bound, 1e3.

    Returns:
      The loss and metrics: share of tokens outside the Pre-CLIP bounds, share where the surrogate
      is clipped, extreme ratios.
    """
    change = log_ratio(logp, old_logp)
    ratio = pre_clip(change, min_ratio=min_ratio, max_ratio=max_ratio)
    per_token = clipped_surrogate(ratio, advantages, clip_eps=clip_eps)
    outside = (change < jnp.log(min_ratio)) | (change > jnp.log(max_ratio))
    metrics = _ratio_metrics(change, advantages, mask, clip_eps)
    metrics["loss/pre_clip_frac"] = masked_mean(outside * 1.0, mask)
    return aggregate(per_token, mask), metrics


def ppo_loss(
    logp: Float[Array, "B C"],
    old_logp: Float[Array, "B C"],
    advantages: Float[Array, "B C"],
    mask: Bool[Array, "B C"],
    *,
    aggregate: Callable[[Array, Array], Array],
    clip_eps: float,
    min_ratio: float,
    max_ratio: float,
) -> tuple[Float[Array, ""], dict[str, Any]]:
    """The baseline: the same surrogate of the plain ratio exp(logp - old_logp). Arguments as
    above; the Pre-CLIP bounds are not used."""
    del min_ratio, max_ratio
    change = log_ratio(logp, old_logp)
    per_token = clipped_surrogate(jnp.exp(change), advantages, clip_eps=clip_eps)
    return aggregate(per_token, mask), _ratio_metrics(change, advantages, mask, clip_eps)


def _ratio_metrics(change, advantages, mask, clip_eps: float) -> dict[str, Any]:
    ratio = jnp.exp(change)
    clipped = jnp.where(advantages > 0, ratio > 1 + clip_eps, ratio < 1 - clip_eps)
    return {
        "loss/clip_frac": masked_mean((clipped & (advantages != 0)) * 1.0, mask),
        "loss/log_ratio_max": jnp.max(jnp.where(mask, change, -jnp.inf)),
        "loss/log_ratio_min": jnp.min(jnp.where(mask, change, jnp.inf)),
    }


LOSSES = {"stable_reinforce": stable_reinforce_loss, "ppo": ppo_loss}
AGGREGATES = {"token": token_mean, "sequence": sequence_mean}
