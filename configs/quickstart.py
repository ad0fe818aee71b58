"""The whole path on an embedded world, on a laptop.

Command:  r1reward quickstart
Chips:    two CPU cores
Time:     about 10 minutes (581 s, seed 7, with 40 iterations of RL that measured 64 records every
          fifth; not timed since); with --controls not timed since 2,500 steps
Score:    rl_accuracy 0.98 to 0.99 after cold_start_accuracy 0.76 to 0.80; see docs/measurements.md
"""

from ml_collections import ConfigDict
from r1reward_jax.configs import default


def get_config() -> ConfigDict:
    c = default.get_config()
    c.workdir = "runs/quickstart"
    c.template = "brief"
    c.model.compute_dtype = "float32"
    c.buckets.tokens = (52, 64)
    c.buckets.images = (1,)
    c.buckets.patches = (36,)
    c.data.threads = 1
    c.optimizer.warmup_share = 0.05
    c.step.remat = False
    c.step.chunk = 4096

    c.sft.steps = 2500
    c.sft.batch = 32
    c.sft.lr = 2e-3
    c.sft.max_completion_tokens = 34
    c.scalar.steps = 1500
    c.scalar.batch = 32
    c.scalar.lr = 1e-3
    c.scalar.max_response_tokens = 8
    c.rl.iterations = 36
    c.rl.lr = 3e-4
    c.rl.old_logp = "sampler"
    c.rollout.slots = 256
    c.rollout.prefill_batch = 64
    c.rollout.max_new_tokens = 34
    c.rollout.unroll = True
    c.judge.required = False  # `quickstart` trains one; `rl` with this config goes without
    c.judge.batch = 64
    c.judge.max_tokens = 64
    c.eval.records = 128  # both orders fill the slots
    c.checkpoint.updates = 250
    c.checkpoint.iterations = 3  # held-out accuracy moves within the first six

    c.world = ConfigDict()  # the embedded world, see data.synthetic
    c.world.skills = ("color", "count")  # also: shape, position
    c.world.things = (1, 1, 2, 2, 3)  # things in a scene to learn from, drawn evenly
    c.world.heldout_things = (1, 2, 3, 3)  # things in a scene to be judged
    c.world.sft_records = 6000  # annotated for the cold start
    c.world.rl_records = 4000  # annotated, of which the hard ones train RL
    c.world.heldout_records = 512  # evaluated on

    c.teacher = ConfigDict()  # simulated, see annotate.simulated
    c.teacher.max_attempts = 3  # until its verdict matches the label
    c.teacher.fallback = (0.0, 0.15, 0.95)  # on the first response: probability by things
    c.teacher.slip = 0.15  # probability of an analysis against its verdict

    c.tiny = ConfigDict()  # the base model, made on the spot
    c.tiny.vocab_size = 512  # upper limit of tokens
    c.tiny.hidden_size = 96  # decoder width
    c.tiny.layers = 4  # decoder layers
    c.tiny.heads = 4  # query heads
    c.tiny.kv_heads = 2  # key and value heads
    c.tiny.mlp = 192  # decoder hidden units
    c.tiny.vision_hidden_size = 64  # vision width
    c.tiny.vision_layers = 2  # vision layers, the last attends fully
    c.tiny.vision_heads = 2  # vision heads
    c.tiny.vision_mlp = 128  # vision hidden units
    c.tiny.rope_theta = 100.0  # base of the decoder's rotary frequencies

    c.tiny_judge = ConfigDict()  # the judge, trained on teacher texts with right and wrong verdicts
    c.tiny_judge.hidden_size = 64  # decoder width
    c.tiny_judge.layers = 2  # decoder layers
    c.tiny_judge.heads = 4  # query heads
    c.tiny_judge.kv_heads = 2  # key and value heads
    c.tiny_judge.mlp = 128  # decoder hidden units
    c.tiny_judge.steps = 150  # updates
    c.tiny_judge.batch = 64  # examples per update
    c.tiny_judge.lr = 3e-3  # peak
    return c
