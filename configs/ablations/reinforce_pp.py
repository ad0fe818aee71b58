"""Reinforce++ as in the paper's ablation: no Pre-CLIP and no filter, all else the same.

The KL is 0, as for StableReinforce. Reinforce++ itself (arXiv 2501.03262) has one in the reward:
rl.kl_coef=1e-3 is what the authors' release takes.

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
    return c
