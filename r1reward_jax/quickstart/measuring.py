"""Measure the quickstart: its judge, the cold start, and the model behind RL."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ml_collections import ConfigDict

from r1reward_jax.build import reward_config
from r1reward_jax.console import say
from r1reward_jax.data import synthetic
from r1reward_jax.data.preferences import Annotation
from r1reward_jax.evals import evaluate, metrics
from r1reward_jax.evals.journal import judgement_row
from r1reward_jax.evals.text_only import text_only_accuracy
from r1reward_jax.evals.types import PairJudgement
from r1reward_jax.files import write_whole
from r1reward_jax.prompts import (
    TEMPLATES,
    parse_analysis,
    parse_verdict,
)
from r1reward_jax.rl.rewards import score_completions
from r1reward_jax.rollout.engine import Engine
from r1reward_jax.types import Judge, Params, PreferenceRecord, Verdict, other


def measure_judge(judge: Judge, annotations: Sequence[Annotation]) -> dict[str, float]:
    """Measure the judge on held-out pairs."""
    pairs = judge_pairs(annotations)
    scores = judge.score([(analysis, verdict) for analysis, verdict, _ in pairs])
    right = {True: [], False: []}
    for (_, _, fits), probability in zip(pairs, scores, strict=True):
        right[fits].append(probability is not None and (probability >= 0.5) == fits)
    balanced = sum(sum(r) / len(r) for r in right.values()) / 2
    say(f"judge: balanced accuracy {balanced:.3f} on {len(pairs)} held-out pairs")
    return {"judge_balanced_accuracy": balanced}


def judge_pairs(annotations: Sequence[Annotation]) -> list[tuple]:
    """Return (analysis, verdict, consistent?), every analysis with both verdicts."""
    pairs = []
    for annotation in annotations:
        analysis = parse_analysis(annotation.completion)
        supported = synthetic.supports(analysis)
        if supported is not None:
            pairs += [(analysis, supported, True), (analysis, other(supported), False)]
    return pairs


def truly_consistent(text: str) -> bool:
    """Say whether the analysis argues for the verdict, by the world's own parser."""
    verdict = parse_verdict(text)
    return verdict is not None and synthetic.supports(parse_analysis(text)) == verdict


def judged_pairs(
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


def best_accuracy(pairs: Sequence[PairJudgement]) -> float:
    """Return the better accuracy: of greedy verdicts, or the mean of single samples."""
    return max(metrics.accuracy(pairs), metrics.sample_accuracy(pairs))


def measure_before(config: ConfigDict, engine: Engine, params: Params, records) -> dict[str, Any]:
    pairs = judged_pairs(config, engine, params, records, 1)
    best, greedy = best_accuracy(pairs), metrics.accuracy(pairs)
    say(f"cold start: accuracy {best:.3f}, greedy {greedy:.3f}")
    return {
        "cold_start_accuracy": best,
        "cold_start_greedy_accuracy": greedy,
        "cold_start_sample_accuracy": metrics.sample_accuracy(pairs),
        "truth_consistent_share_before": metrics.vote_share(pairs, truly_consistent),
        "mean_response_tokens_before": metrics.mean_vote_tokens(pairs),
    }


def measure_after(
    config: ConfigDict,
    engine: Engine,
    params: Params,
    world: dict[str, list[PreferenceRecord]],
    judge: Judge,
) -> dict[str, Any]:
    heldout = world["heldout"]
    pairs = judged_pairs(config, engine, params, heldout, config.eval.samples)
    blank = judged_pairs(config, engine, params, evaluate.without_images(heldout), 0)
    write_judgements(config, judge, heldout, pairs)
    described = metrics.describe(pairs)
    texts = [c.text for j in metrics.judgements_of(pairs) for c in j.completions[1:]]
    agreed = sum(p is not None and p >= 0.5 for p in supported(judge, texts))
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


def supported(judge: Judge, texts: Sequence[str]) -> list[float | None]:
    """Return the judge's probability for each text; None where there is no verdict to judge."""
    pairs: list[tuple[str, Verdict]] = [
        (parse_analysis(text), v) for text in texts if (v := parse_verdict(text)) is not None
    ]
    answers = iter(judge.score(pairs))
    return [None if parse_verdict(text) is None else next(answers) for text in texts]


def write_judgements(
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
    answers = supported(judge, [c.text for c in texts])
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
