"""Knobs that older versions called otherwise."""

RENAMED = {
    "rollout.rows": "rollout.slots",
    "rollout.refill": "rollout.prefill_batch",
    "rollout.shrink": "rollout.compact",
    "rollout.lanes": "rollout.parallel_samples",
    "judge.rows": "judge.batch",
    "eval.prompt_from": "prompt_from",
}
"""Old to new path: the old one is understood, with a note, on the command line, in config files and
in the folders of older runs."""
