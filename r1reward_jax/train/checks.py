"""Settings of an RL run that do not go together, found before anything is sampled."""

from ml_collections import ConfigDict

from r1reward_jax.rl.advantages import BASELINES, KL
from r1reward_jax.rl.losses import AGGREGATES, LOSSES
from r1reward_jax.types import InputError


def check_rl(config: ConfigDict) -> None:
    """Raise InputError for settings that do not go together."""
    c = config.rl
    if c.rollout_batch % c.train_batch:
        raise InputError(
            f"rl.rollout_batch {c.rollout_batch}: not a multiple of rl.train_batch {c.train_batch}"
        )
    together = c.samples * (2 if c.swap_weight else 1)
    if c.rollout_batch % together:
        raise InputError(
            f"rl.rollout_batch {c.rollout_batch}: not a multiple of {together}, the samples of a "
            "prompt (in both orders with rl.swap_weight)"
        )
    if c.baseline in ("leave_one_out", "group") and c.samples == 1:
        raise InputError(f"rl.baseline {c.baseline} compares samples of a prompt: set rl.samples")
    if c.importance_cap and c.old_logp == "sampler":
        raise InputError("rl.importance_cap corrects trainer log-probs: set rl.old_logp=trainer")
    ranges = {
        "min_ratio": 0 < c.min_ratio < 1,
        "max_ratio": c.max_ratio > 1,
        "clip_eps": 0 < c.clip_eps < 1,
        "sigmas": c.sigmas > 0,
        "temperature": c.temperature > 0,
        "importance_cap": c.importance_cap == 0 or c.importance_cap >= 1,
    }
    wrong = [f"rl.{name}={c[name]}" for name, right in ranges.items() if not right]
    if wrong:
        raise InputError(
            f"{', '.join(wrong)}: expected min_ratio and clip_eps between 0 and 1, max_ratio above "
            "1, sigmas and temperature above 0, importance_cap 0 or at least 1"
        )
    allowed = {
        "loss": LOSSES,
        "aggregate": AGGREGATES,
        "baseline": BASELINES,
        "kl": KL,
        "filter": ("paper", "released", "none"),
        "old_logp": ("trainer", "sampler"),
        "consistency_mode": ("binary", "signed"),
    }
    for name, values in allowed.items():
        if c[name] not in values:
            raise InputError(f"rl.{name} is {c[name]!r}, expected one of {list(values)}")
