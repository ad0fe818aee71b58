"""StableReinforce without its advantage filter (paper, ablation).

Command:  r1reward rl --config ablations.no_filter, the rest as for rl_7b
Chips:    as rl_7b
Time:     as rl_7b; not measured
Score:    the paper: VL-RewardBench 68.96
"""

from ml_collections import ConfigDict
from r1reward_jax.configs import rl_7b


def get_config() -> ConfigDict:
    c = rl_7b.get_config()
    c.rl.filter = "none"
    return c
