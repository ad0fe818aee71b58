"""AdamW with warm-up and cosine decay, and a global-norm clip."""

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
    schedule, *, b1: float, b2: float, weight_decay: float, clip_norm: float
) -> optax.GradientTransformation:
    """AdamW behind a clip of the global gradient norm."""
    return optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay),
    )
