"""Evaluation of a checkpoint in both answer orders, greedy and by votes.

Command:  r1reward evaluate model.path=runs/rl/exported data.heldout=bench.jsonl workdir=runs/eval
Chips:    one with room for the model
Time:     depends on the model; not yet measured
Score:    see rl_7b
"""

from ml_collections import ConfigDict
from r1reward_jax.configs import default


def get_config() -> ConfigDict:
    c = default.get_config()
    c.eval.samples = 15
    return c
