"""The settings of the released code where they differ from the paper; its defects are not among
them.

Command:  r1reward rl --config ablations.released, the rest as for rl_7b
Chips:    as rl_7b
Time:     as rl_7b; not measured
Score:    not known
"""

from ml_collections import ConfigDict
from r1reward_jax.configs import rl_7b


def get_config() -> ConfigDict:
    c = rl_7b.get_config()
    c.rl.lr = 3e-7
    c.rl.kl_coef = 1e-3
    c.rl.aggregate = "sequence"
    c.rl.filter = "released"
    c.rl.consistency_mode = "signed"
    return c
