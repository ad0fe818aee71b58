"""StableReinforce on a cold-started Qwen2.5-VL-7B (paper, section 4.1; settings: section 5).

Command:  r1reward rl --config rl_7b model.path=runs/sft/exported data.train=rl.jsonl \
          judge.path=Qwen2.5-VL-7B-Instruct workdir=runs/rl
Chips:    not yet run on any; one row per chip and pass on eight
Time:     the paper: 12 h on 4 x H800
Score:    VL-RewardBench 71.92, Multimodal RewardBench 82.2, MM-RLHF-RewardBench 80.59 / 54.35
"""

from ml_collections import ConfigDict
from r1reward_jax.configs import default


def get_config() -> ConfigDict:
    c = default.get_config()
    c.step.micro_tokens = 8 * 3072
    return c
