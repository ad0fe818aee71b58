"""AdamW with warm-up and cosine decay, and a global-norm clip."""

from typing import Any

import jax
import optax


def make_schedule(lr: float, steps: int, *, warmup_share: float, final_share: float):
    """Linear warm-up from 0 to `lr`, then a cosine down to `final_share` of it.

    Args:
      lr: peak learning rate.
      steps: updates in all.
      warmup_share: share of the steps spent warming up (0.03 in the paper's run).
      final_share: last learning rate as a share of the peak (0.1).
    """
    warmup = max(1, round(warmup_share * steps))
    # warm-up starts at one step's worth, so that the first update is not wasted
    return optax.warmup_cosine_decay_schedule(
        lr / warmup, lr, warmup, max(steps, warmup + 1), end_value=lr * final_share
    )


def make_optimizer(
    schedule,
    *,
    b1: float,
    b2: float,
    weight_decay: float,
    clip_norm: float,
    frozen: tuple[str, ...] = (),
) -> optax.GradientTransformation:
    """AdamW behind a clip of the global gradient norm.

    Args:
      schedule: learning rate by update.
      b1: decay of the mean.
      b2: decay of the mean square.
      weight_decay: decoupled.
      clip_norm: largest global gradient norm.
      frozen: top-level names of parameters that are not trained: no moments are kept for them,
        and their gradients must be 0.
    """
    adamw = optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay)
    if frozen:
        # moments of frozen parameters would take memory and, with weight decay, move them
        adamw = optax.masked(adamw, lambda params: _trainable(params, frozen))
    return optax.chain(optax.clip_by_global_norm(clip_norm), adamw)


def _trainable(params: Any, frozen: tuple[str, ...]) -> Any:
    """True for every parameter that is trained."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key not in frozen, params)
