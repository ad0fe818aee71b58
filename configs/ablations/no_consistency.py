"""StableReinforce without the consistency reward, and so without a judge (not in the paper's
ablation).

Command:  r1reward rl --config ablations.no_consistency model.path=runs/sft/exported \
          data.train=rl.jsonl workdir=runs/rl_no_consistency
Chips:    as rl_7b
Time:     as rl_7b, less its judge; not measured
Score:    not known
"""

from ml_collections import ConfigDict
from r1reward_jax.configs import rl_7b


def get_config() -> ConfigDict:
    c = rl_7b.get_config()
    c.rl.consistency_weight = 0.0
    c.judge.required = False
    return c
