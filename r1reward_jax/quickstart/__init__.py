"""Run the whole path in one command, on the embedded world (`data.synthetic`):

world -> base model -> teacher -> cold start -> judge -> StableReinforce -> evaluation -> export.

Nothing below this file knows that the world or the model is small.
"""

import functools
import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ml_collections import ConfigDict

from r1reward_jax.annotate.simulated import SimulatedTeacher
from r1reward_jax.annotate.teacher import annotate, hard
from r1reward_jax.build import (
    load_judge,
    look_at_data,
    make_checkpoints,
    make_engine,
    make_evaluation,
    make_log,
    make_setup,
    rl_config,
    sft_config,
)
from r1reward_jax.console import note, say
from r1reward_jax.data import synthetic
from r1reward_jax.data.preferences import Annotation, write_annotations, write_records
from r1reward_jax.files import write_whole
from r1reward_jax.models.qwen2_5_vl.tiny import make_checkpoint
from r1reward_jax.opening import judge_in_words, show_opening
from r1reward_jax.prompts import (
    SYSTEM,
    TEMPLATES,
    evaluator_prompt,
    judge_prompt,
    parse_analysis,
)
from r1reward_jax.quickstart.measuring import (
    best_accuracy,
    judge_pairs,
    judged_pairs,
    measure_after,
    measure_before,
    measure_judge,
)
from r1reward_jax.report import reported
from r1reward_jax.rollout.engine import Engine
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.runs.run_dir import claim_data, run_folder
from r1reward_jax.runs.stages import Stage, Stages
from r1reward_jax.train.batches import Example
from r1reward_jax.train.rl import run_rl
from r1reward_jax.train.setup import Setup
from r1reward_jax.train.supervised import PhaseConfig, cold_start, run_sft
from r1reward_jax.types import InputError, Params

STAGES = (
    Stage("world", ("seed", "world.*", "teacher.*"), makes_data=True),
    Stage(
        "base_models",
        (
            *("template", "model.*", "tiny.*", "tiny_judge.hidden_size", "tiny_judge.layers"),
            *("tiny_judge.heads", "tiny_judge.kv_heads", "tiny_judge.mlp"),
        ),
        needs=("world",),
    ),
    Stage(
        "cold_start",
        ("sft.*", "optimizer.*", "buckets.*"),
        needs=("base_models",),
        phases=("cold_start",),
    ),
    Stage(
        "judge",
        ("tiny_judge.*", "judge.max_tokens", "optimizer.*", "buckets.*"),
        needs=("base_models",),
        phases=("judge",),
    ),
    Stage("measured_judge", ("judge.*",), needs=("judge",)),
    Stage("measured_before", ("eval.*", "rollout.*"), needs=("cold_start",)),
    Stage(
        "rl",
        ("rl.*", "rollout.*", "judge.*"),
        needs=("cold_start", "judge"),
        phases=("rl",),
        keeps=True,
    ),
    Stage("measured_after", ("eval.*",), needs=("rl", "judge")),
    Stage(
        "controls",
        ("eval.temperature",),
        needs=("cold_start", "rl"),
        phases=("blind", "longer"),
    ),
)
"""What each part of a run depends on: a corrected config repeats what it reaches, and no more."""


def run(config: ConfigDict, *, controls: bool) -> dict[str, Any]:
    """Run everything into `config.workdir`; returns what goes into summary.json. An interrupted run
    resumes where it stopped.

    Args:
      config: like configs/quickstart.py.
      controls: also train a policy that sees shuffled images, and a longer cold start.
    """
    if not config.eval.samples:
        raise InputError("eval.samples=0: a quickstart reports votes; expected 1 or more")
    config = ConfigDict(config.to_dict())
    config.judge.path = f"{config.workdir}/judge"
    folder = run_folder(config.workdir, config.to_dict(), verb="quickstart", stages=STAGES)
    with folder, reported(config.workdir), make_log(config) as log:
        return _run(config, log, controls)


def _run(config: ConfigDict, log: MetricsLog, controls: bool) -> dict[str, Any]:
    started, workdir = time.perf_counter(), config.workdir
    stages = Stages(workdir)
    world, annotated = _make_data(config)  # the same bytes every time
    everything = [r for records in world.values() for r in records]
    claim_data(workdir, synthetic.world_hash(everything))
    stages.once("base_models", lambda: _make_base_models(config, annotated["sft"]))
    say(f"world and base models: {time.perf_counter() - started:.0f} s")

    setup = make_setup(config, f"{workdir}/base")
    engine = make_engine(config, setup)
    look = functools.partial(look_at_data, config, workdir=workdir, policy=setup.policy, tell=note)
    imitated = look("sft", annotated["sft"], phase="cold_start")
    hard_ones = look("rl", hard(annotated["rl"]), world["heldout"], phase="rl")
    show_opening(config, "cold_start", setup, imitated.report)
    cold = _cold_start(config, setup, imitated.items, log, "cold_start")
    stages.once("judge", lambda: _train_judge(config, annotated["sft"], log))
    judge = load_judge(config, setup.judge_mesh)
    assert judge is not None
    heldout = world["heldout"]
    stages.once("measured_judge", lambda: measure_judge(judge, annotated["heldout"]))
    stages.once("measured_before", lambda: measure_before(config, engine, cold, heldout))

    show_opening(config, "rl", setup, hard_ones.report, judge_in_words(config))
    with make_checkpoints(config, "rl") as checkpoints:
        trained = run_rl(
            setup.starting_from(cold),
            rl_config(config),
            hard_ones.items,
            engine,
            judge,
            log=log,
            checkpoints=checkpoints,
            evaluate=make_evaluation(config, engine, hard_ones.heldout),
        )
    after = lambda: measure_after(config, engine, trained, world, judge)  # noqa: E731
    stages.once("measured_after", after)
    setup.policy.save(f"{workdir}/exported", trained)
    if controls:
        work = lambda: _controls(config, setup, engine, cold, world, annotated, log)  # noqa: E731
        stages.once("controls", work)
    summary = stages.found() | {"seconds": round(stages.seconds, 1)}
    write_whole(f"{workdir}/summary.json", json.dumps(summary, indent=2))
    _show(summary, workdir)
    return summary


# ------------------------------------------------------------------ making


def _make_data(config: ConfigDict):
    """Write the world's records and the teacher's annotations of them below workdir/data."""
    c, folder = config.world, f"{config.workdir}/data"
    world = synthetic.make_world(
        folder,
        seed=config.seed,
        sizes={"sft": c.sft_records, "rl": c.rl_records, "heldout": c.heldout_records},
        skills=tuple(c.skills),
        things={"sft": c.things, "rl": c.things, "heldout": c.heldout_things},
    )
    t = config.teacher
    teacher = SimulatedTeacher(config.seed, tuple(t.fallback), t.slip)
    annotated = {
        split: annotate(teacher, records, max_attempts=t.max_attempts)
        for split, records in world.items()
    }
    for split in ("sft", "rl"):
        write_annotations(f"{folder}/{split}_annotated.jsonl", annotated[split])
    write_records(f"{folder}/rl_hard.jsonl", hard(annotated["rl"]))
    write_records(f"{folder}/heldout.jsonl", world["heldout"])
    return world, annotated


def _make_base_models(config: ConfigDict, annotations: Sequence[Annotation]) -> dict[str, Any]:
    """Make a random policy and a random judge as Hugging Face folders; they share a tokenizer."""
    template = TEMPLATES[config.template]
    texts = [f"system\n{SYSTEM}", "user\n", "assistant\n", template.supports, template.contradicts]
    for annotation in annotations:
        prompt = evaluator_prompt(annotation.record, template)
        texts += [str(prompt.content[-1]), annotation.completion]
        text = judge_prompt(parse_analysis(annotation.completion), 1, template)
        texts.append(str(text.content[-1]))
    shared = {"vocab_size": config.tiny.vocab_size, "max_pixels": config.model.max_pixels}
    sizes = {k: v for k, v in config.tiny.items() if k != "vocab_size"}
    make_checkpoint(f"{config.workdir}/base", texts, seed=config.seed, sizes=sizes, **shared)
    j = config.tiny_judge
    sizes |= {k: j[k] for k in ("hidden_size", "layers", "heads", "kv_heads", "mlp")}
    folder = f"{config.workdir}/judge_base"
    make_checkpoint(folder, texts, seed=config.seed + 1, sizes=sizes, **shared)
    return {}


def _cold_start(
    config: ConfigDict,
    setup: Setup,
    annotations: Sequence[Annotation],
    log: MetricsLog,
    phase: str,
) -> Params:
    with make_checkpoints(config, phase) as checkpoints:
        return cold_start(
            setup,
            sft_config(config),
            annotations,
            phase=phase,
            log=log,
            checkpoints=checkpoints,
        )


def _train_judge(
    config: ConfigDict, annotations: Sequence[Annotation], log: MetricsLog
) -> dict[str, Any]:
    """Train the tiny judge and save it where any judge would lie."""
    template, j = TEMPLATES[config.template], config.tiny_judge
    settings = ConfigDict(config.to_dict())
    settings.buckets.tokens = (config.judge.max_tokens,)
    setup = make_setup(settings, f"{config.workdir}/judge_base")
    examples = [
        Example(judge_prompt(analysis, verdict, template), word, "pair")
        for analysis, verdict, fits in judge_pairs(annotations)
        for word in [template.supports if fits else template.contradicts]
    ]
    with make_checkpoints(config, "judge") as checkpoints:
        params = run_sft(
            setup,
            PhaseConfig(j.steps, j.batch, j.lr, max_tokens=2),  # the word, and its end
            examples,
            phase="judge",
            log=log,
            checkpoints=checkpoints,
        )
    setup.policy.save(config.judge.path, params)
    return {}


def _controls(
    config: ConfigDict, setup: Setup, engine: Engine, cold: Params, world, annotated, log
) -> dict[str, float]:
    """Train two controls: does the policy need its images, and would more cold start do as well?"""
    c = config.rl
    images = [a.record.images for a in annotated["sft"]]
    random.Random(config.seed).shuffle(images)
    shuffled = [
        replace(a, record=replace(a.record, images=i))
        for a, i in zip(annotated["sft"], images, strict=True)
    ]
    blind = _cold_start(config, setup, shuffled, log, "blind")
    updates = c.iterations * (c.rollout_batch // c.train_batch)
    settings = ConfigDict(config.to_dict())
    settings.sft.update({"steps": updates, "batch": c.train_batch})
    longer = _cold_start(settings, setup.starting_from(cold), annotated["sft"], log, "longer")
    heldout = world["heldout"]
    return {
        "blind_accuracy": best_accuracy(judged_pairs(config, engine, blind, heldout, 1)),
        "cold_start_longer_accuracy": best_accuracy(
            judged_pairs(config, engine, longer, heldout, 1)
        ),
    }


def _show(summary: dict[str, Any], workdir: str) -> None:
    say("")
    for name, value in summary.items():
        say(f"{name:>32}  {value:.4g}" if isinstance(value, float) else f"{name:>32}  {value}")
    say(f"\nmodel: {workdir}/exported   numbers: {workdir}/summary.json")
