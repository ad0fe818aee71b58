"""One of the processes of `test_processes`: rollout and both judges, then an evaluation; what it
saw, as JSON."""

import argparse
import json

import jax
import numpy as np

from r1reward_jax import config as configs
from r1reward_jax.build import load_judge, make_engine, make_setup
from r1reward_jax.cli.main import main
from r1reward_jax.prompts import SYSTEM
from r1reward_jax.types import ImagePart, Prompt
from tests.conftest import random_image

LIMITS = [1 + 5 * i % 12 for i in range(9)]


def prompts():
    """Nine, with images, of two widths."""
    words = [1, 2, 60, 4, 5, 60, 7, 8, 9]
    return [
        Prompt(SYSTEM, (ImagePart(random_image(i, 84, 84)), " circle" * n))
        for i, n in enumerate(words)
    ]


def settings(folder: str):
    config = configs.load("default")
    overrides = [
        f"model.path={folder}",
        "template=brief",
        "model.compute_dtype=float32",
        "buckets.tokens=(96,160)",
        "buckets.images=(1,)",
        "buckets.patches=(36,)",
        "rollout.slots=8",
        "rollout.prefill_batch=2",
        "rollout.compact=2",
        "rollout.max_new_tokens=12",
        "judge.batch=8",
        "judge.max_tokens=128",
        "judge.concurrency=4",
        "judge.min_mass=0.0",
    ]
    configs.override(config, overrides)
    return config


def work(folder: str, url: str) -> dict:
    """Completions, the order in which they ended, and what judges say while the rest is written."""
    config = settings(folder)
    config.judge.path = folder
    setup = make_setup(config, folder)
    local = load_judge(config, setup.judge_mesh)
    config.judge.update({"path": "", "url": url, "model": "judge"})
    remote = load_judge(config, None)
    assert local and remote
    waits = {}

    def on_done(place, completions):
        asked = local.start([(completions[0].text, 1)])
        waits[place] = asked, remote.start([(f"analysis number {place} says so", 2)])

    engine = make_engine(config, setup)
    settings_ = {"samples": 1, "temperature": 1.0, "seed": 0, "limits": LIMITS}
    rollout = engine.generate(setup.policy.params, prompts(), on_done=on_done, **settings_)
    return {
        "devices": len(jax.devices()),
        "texts": [row[0].text for row in rollout.completions],
        "logp": np.where(rollout.batch.logp, rollout.batch.logp, 0).tolist(),
        "ended": list(waits),
        "answers": {str(k): [here()[0], there()[0]] for k, (here, there) in waits.items()},
        "steps": rollout.steps,
    }


def evaluate(folder: str, benchmark: str, workdir: str) -> None:
    """`r1reward evaluate` with the settings from above."""
    changed = ["template=brief", "rollout.slots=8", "rollout.prefill_batch=2", "rollout.compact=1"]
    changed += ["buckets.tokens=(96,160)", "buckets.images=(1,)", "buckets.patches=(36,)"]
    changed += ["rollout.max_new_tokens=12", "eval.samples=2", "model.max_pixels=28224"]
    where = ["--benchmark", benchmark, "--workdir", workdir]
    assert main(["evaluate", "--model", folder, *where, *changed]) == 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("rank", "processes", "port", "folder", "url", "benchmark", "workdir"):
        parser.add_argument(f"--{name}")
    args = parser.parse_args()
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    address = f"127.0.0.1:{args.port}"
    jax.distributed.initialize(address, int(args.processes), int(args.rank))
    found = work(args.folder, args.url)
    evaluate(args.folder, args.benchmark, args.workdir)
    print(json.dumps(found))
