"""Run the whole path in one command, on the embedded world (`data.synthetic`):

world -> base model -> teacher -> cold start -> judge -> StableReinforce -> evaluation -> export.

Nothing below this file knows that the world or the model is small.
"""

import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from ml_collections import ConfigDict

from r1reward_jax.annotate.simulated import SimulatedTeacher
from r1reward_jax.annotate.teacher import annotate, hard
from r1reward_jax.build import (
    load_judge,
    make_checkpoints,
    make_engine,
    make_evaluation,
    make_log,
    make_setup,
    reward_config,
    rl_config,
    sft_config,
)
from r1reward_jax.console import say
from r1reward_jax.data import synthetic
from r1reward_jax.data.preferences import Annotation, write_annotations, write_records
from r1reward_jax.evals import evaluate, metrics
from r1reward_jax.evals.journal import judgement_row
from r1reward_jax.evals.text_only import text_only_accuracy
from r1reward_jax.evals.types import PairJudgement
from r1reward_jax.files import write_whole
from r1reward_jax.models.qwen2_5_vl.tiny import make_checkpoint
from r1reward_jax.prompts import (
    SYSTEM,
    TEMPLATES,
    evaluator_prompt,
    judge_prompt,
    parse_analysis,
    parse_verdict,
)
from r1reward_jax.report import reported
from r1reward_jax.rl.rewards import score_completions
from r1reward_jax.rollout.engine import Engine
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.runs.run_dir import claim_data, run_folder
from r1reward_jax.runs.stages import Stage, Stages
from r1reward_jax.train.batches import Example
from r1reward_jax.train.rl import run_rl
from r1reward_jax.train.setup import Setup
from r1reward_jax.train.supervised import PhaseConfig, cold_start, run_sft
from r1reward_jax.types import InputError, Judge, Params, PreferenceRecord, Verdict, other

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
    cold = _cold_start(config, setup, annotated["sft"], log, "cold_start")
    stages.once("judge", lambda: _train_judge(config, annotated["sft"], log))
    judge = load_judge(config, setup.judge_mesh)
    assert judge is not None
    heldout = world["heldout"]
    stages.once("measured_judge", lambda: _measure_judge(judge, annotated["heldout"]))
    stages.once("measured_before", lambda: _measure_before(config, engine, cold, heldout))

    with make_checkpoints(config, "rl") as checkpoints:
        trained = run_rl(
            setup.starting_from(cold),
            rl_config(config),
            hard(annotated["rl"]),
            engine,
            judge,
            log=log,
            checkpoints=checkpoints,
            evaluate=make_evaluation(config, engine, heldout),
        )
    after = lambda: _measure_after(config, engine, trained, world, judge)  # noqa: E731
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
        for analysis, verdict, fits in _judge_pairs(annotations)
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


def _measure_judge(judge: Judge, annotations: Sequence[Annotation]) -> dict[str, float]:
    """Measure the judge on held-out pairs."""
    pairs = _judge_pairs(annotations)
    scores = judge.score([(analysis, verdict) for analysis, verdict, _ in pairs])
    right = {True: [], False: []}
    for (_, _, fits), probability in zip(pairs, scores, strict=True):
        right[fits].append(probability is not None and (probability >= 0.5) == fits)
    balanced = sum(sum(r) / len(r) for r in right.values()) / 2
    say(f"judge: balanced accuracy {balanced:.3f} on {len(pairs)} held-out pairs")
    return {"judge_balanced_accuracy": balanced}


def _judge_pairs(annotations: Sequence[Annotation]) -> list[tuple]:
    """Return (analysis, verdict, consistent?), every analysis with both verdicts."""
    pairs = []
    for annotation in annotations:
        analysis = parse_analysis(annotation.completion)
        supported = synthetic.supports(analysis)
        if supported is not None:
            pairs += [(analysis, supported, True), (analysis, other(supported), False)]
    return pairs


# --------------------------------------------------------------- measuring


def truly_consistent(text: str) -> bool:
    """Say whether the analysis argues for the verdict, by the world's own parser."""
    verdict = parse_verdict(text)
    return verdict is not None and synthetic.supports(parse_analysis(text)) == verdict


def _judged(
    config: ConfigDict, engine: Engine, params: Params, records, votes: int
) -> list[PairJudgement]:
    """Judge in both orders: greedily, and with so many votes at the evaluation temperature."""
    return evaluate.judge(
        engine,
        params,
        records,
        TEMPLATES[config.template],
        temperatures=(0.0, *[config.eval.temperature] * votes),
        seed=config.seed + 1,
        threads=config.data.threads,
    )


def _best_accuracy(pairs: Sequence[PairJudgement]) -> float:
    """Return the better accuracy: of greedy verdicts, or the mean of single samples."""
    return max(metrics.accuracy(pairs), metrics.sample_accuracy(pairs))


def _measure_before(config: ConfigDict, engine: Engine, params: Params, records) -> dict[str, Any]:
    pairs = _judged(config, engine, params, records, 1)
    best, greedy = _best_accuracy(pairs), metrics.accuracy(pairs)
    say(f"cold start: accuracy {best:.3f}, greedy {greedy:.3f}")
    return {
        "cold_start_accuracy": best,
        "cold_start_greedy_accuracy": greedy,
        "cold_start_sample_accuracy": metrics.sample_accuracy(pairs),
        "truth_consistent_share_before": metrics.vote_share(pairs, truly_consistent),
        "mean_response_tokens_before": metrics.mean_vote_tokens(pairs),
    }


def _measure_after(
    config: ConfigDict,
    engine: Engine,
    params: Params,
    world: dict[str, list[PreferenceRecord]],
    judge: Judge,
) -> dict[str, Any]:
    heldout = world["heldout"]
    pairs = _judged(config, engine, params, heldout, config.eval.samples)
    blank = _judged(config, engine, params, evaluate.without_images(heldout), 0)
    _write_judgements(config, judge, heldout, pairs)
    described = metrics.describe(pairs)
    texts = [c.text for j in metrics.judgements_of(pairs) for c in j.completions[1:]]
    agreed = sum(p is not None and p >= 0.5 for p in _supported(judge, texts))
    return {
        "rl_accuracy": described["accuracy"],
        "rl_strict_accuracy": described["strict_accuracy"],
        "rl_sample_accuracy": metrics.sample_accuracy(pairs),
        f"vote{config.eval.samples}_accuracy": metrics.vote_accuracy(pairs),
        "blank_accuracy": metrics.accuracy(blank),
        "text_only_classifier_accuracy": text_only_accuracy(world["sft"], heldout),
        "consistent_share": agreed / len(texts),
        "truth_consistent_share_after": metrics.vote_share(pairs, truly_consistent),
        "verdict_1_share": described["verdict_1_share"],
        "format_share": described["format_share"],
        "mean_response_tokens_after": metrics.mean_vote_tokens(pairs),
    }


def _supported(judge: Judge, texts: Sequence[str]) -> list[float | None]:
    """Return the judge's probability for each text; None where there is no verdict to judge."""
    pairs: list[tuple[str, Verdict]] = [
        (parse_analysis(text), v) for text in texts if (v := parse_verdict(text)) is not None
    ]
    answers = iter(judge.score(pairs))
    return [None if parse_verdict(text) is None else next(answers) for text in texts]


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
        "blind_accuracy": _best_accuracy(_judged(config, engine, blind, heldout, 1)),
        "cold_start_longer_accuracy": _best_accuracy(_judged(config, engine, longer, heldout, 1)),
    }


def _write_judgements(
    config: ConfigDict,
    judge: Judge,
    records: Sequence[PreferenceRecord],
    pairs: Sequence[PairJudgement],
) -> None:
    """Write judgements.jsonl, the greedy texts with their rewards. Skipped prompts have no text,
    and so no rewards."""
    judged = metrics.judgements_of(pairs)
    written = [i for i, j in enumerate(judged) if j.completions]
    texts = [judged[i].completions[0] for i in written]
    answers = _supported(judge, [c.text for c in texts])
    labels: list[Verdict | None] = [judged[i].label for i in written]
    asked = {k: p for k, p in enumerate(answers) if p is not None}
    rewards, _ = score_completions(texts, labels, asked, reward_config(config))
    rows = [
        judgement_row(records[i // 2], j, i) | {"rewards": [], "judge": []}
        for i, j in enumerate(judged)
    ]
    for i, reward, answer in zip(written, rewards, answers, strict=True):
        rows[i] |= {"rewards": [asdict(reward)], "judge": [answer]}
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_whole(f"{config.workdir}/judgements.jsonl", text)


def _show(summary: dict[str, Any], workdir: str) -> None:
    say("")
    for name, value in summary.items():
        say(f"{name:>32}  {value:.4g}" if isinstance(value, float) else f"{name:>32}  {value}")
    say(f"\nmodel: {workdir}/exported   numbers: {workdir}/summary.json")
