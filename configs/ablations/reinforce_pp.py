"""Reinforce++ (arXiv 2501.03262): no Pre-CLIP, no filter, KL in the reward.

Command:  r1reward rl --config ablations.reinforce_pp, the rest as for rl_7b
Chips:    as rl_7b
Time:     as rl_7b; not measured
Score:    the paper: collapses near update 150
"""

from ml_collections import ConfigDict
from r1reward_jax.configs import rl_7b


def get_config() -> ConfigDict:
    c = rl_7b.get_config()
    c.rl.loss = "reinforce_pp"
    c.rl.filter = "none"
    c.rl.kl_coef = 1e-3
    return c
