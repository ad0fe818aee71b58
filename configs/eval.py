"""Evaluation of a model in both answer orders, greedy and by votes that share its prefill.

Command:  r1reward evaluate --model R1-Reward --benchmark vl_rewardbench --data VL-RewardBench
Chips:    one; a 7B model takes 17 GB in bfloat16 and, with 16 rows, 15 GB for the caches of 16
          completions of 1,024 tokens each and 4 GB for prompts of 4,096 tokens (derived)
Time:     depends on the model; not yet measured
Score:    R1-Reward (paper): VL-RewardBench 71.92, with 15 votes 76.46; Multimodal RewardBench 82.2,
          83.3; MM-RLHF-RewardBench 80.59 (Acc+ 54.35), 86.47 (67.39)

The authors of VL-RewardBench draw 10 votes: eval.samples=10 eval.temperature=0.2 rollout.top_p=0.2.
How the model is asked (template, max_pixels, max_new_tokens, video_rule) comes from the
r1reward.json of its folder, if it has one; the command line overrides it.
"""

from ml_collections import ConfigDict
from r1reward_jax.configs import default


def get_config() -> ConfigDict:
    c = default.get_config()
    c.eval.samples = 15
    c.rollout.slots = 16
    c.rollout.prefill_batch = 4
    c.model.param_dtype = "bfloat16"
    c.data.video_frames = 32  # of MM-RLHF-RewardBench
    c.buckets.tokens = (128, 256, 512, 1024, 2048, 4096, 8192, 16384)
    c.buckets.images = (1, 2, 4, 8, 16)
    c.buckets.patches = (64, 256, 1024, 2560)
    return c
