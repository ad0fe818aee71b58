"""Long-CoT cold start of Qwen2.5-VL-7B (paper, section 4.3; settings: section 5).

Command:  r1reward sft --config sft_7b model.path=Qwen2.5-VL-7B-Instruct \
          data.train=annotated.jsonl workdir=runs/sft
Chips:    not yet run on any; one row per chip and pass on eight
Time:     the paper: 1 epoch in about 8 h on 4 x H800
Score:    the paper's ablation, cold start only: VL-RewardBench 64.80
"""

from ml_collections import ConfigDict
from r1reward_jax.configs import default


def get_config() -> ConfigDict:
    c = default.get_config()
    c.step.micro_tokens = 8 * 3072
    return c
