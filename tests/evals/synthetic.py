"""Judgements by simulation: a model with a known accuracy, position bias and length."""

import json

import numpy as np

from r1reward_jax.evals.types import ORDERS, Judgement, PairJudgement
from r1reward_jax.types import other

GROUPS = ("general", "hallucination", "reasoning")


def simulate(pairs=200, *, votes=15, seed=0, bias=0.3, skill=1.2, unparsable=0.03, per_unit=1):
    """Judgements of a model that sees the better response with a margin of its own for each pair,
    and leans towards the first position."""
    rng = np.random.default_rng(seed)
    margins = rng.normal(skill, 1.5, pairs)
    labels = np.random.default_rng(99).integers(1, 3, pairs)  # the same for every model
    found = []
    for i, (margin, label) in enumerate(zip(margins, labels)):
        orders = [
            _shown(rng, margin, v, votes, bias, unparsable, shown)
            for v, shown in zip(_orders(int(label)), ORDERS)
        ]
        group = GROUPS[i * len(GROUPS) // pairs]
        found.append(PairJudgement(i, f"id-{i // 2}", group, f"u{i // per_unit}", tuple(orders)))
    return found


def _orders(label):
    return label, other(label)


def _shown(rng, margin, preferred, votes, bias, unparsable, shown):
    p = 1 / (1 + np.exp(-(margin * (1 if preferred == 1 else -1) + bias)))
    draws = rng.random(votes) < p
    lost = rng.random(votes + 1) < unparsable
    spread = np.clip(p + rng.normal(0, 0.1, votes), 0.001, 0.999)
    return Judgement(
        label=preferred,
        position=None if lost[-1] else (1 if p > 0.5 else 2),
        first_probability=None if lost[-1] else float(p),
        votes=tuple(None if x else (1 if d else 2) for d, x in zip(draws, lost)),
        vote_probabilities=tuple(None if x else float(s) for s, x in zip(spread, lost)),
        tokens=int(rng.integers(80, 300)),
        vote_tokens=tuple(map(int, rng.integers(80, 400, votes))),
        prompt_tokens=int(rng.integers(500, 900)),
        well_formed=not lost[-1],
        truncated=bool(lost[-1]),
        shown=shown,
    )


def rows(judged):
    """As lines of judgements.jsonl."""
    for j in judged:
        for order, s in enumerate(j.orders, 1):
            yield {
                "row": j.row,
                "order": order,
                "id": j.id,
                "group": j.group,
                "unit": j.unit,
                "question": f"What of {j.row}?",
                "responses": [f"one {j.row}", f"two {j.row}"][:: 1 if order == 1 else -1],
                "preferred": s.label,
                "images": [],
                "verdicts": [s.position],
                "probabilities": [s.first_probability],
                "texts": [f"<think>so it is</think><answer>{s.position}</answer>"],
                "finish_reasons": ["length" if s.truncated else "eos"],
                "tokens": [s.tokens],
                "well_formed": [s.well_formed],
                "votes": s.votes,
                "vote_probabilities": s.vote_probabilities,
                "vote_tokens": s.vote_tokens,
                "prompt_tokens": s.prompt_tokens,
                "skipped": s.skipped,
                "stopped": s.stopped,
                "stopped_tokens": s.stopped_tokens,
                "scores": None,
            }


def write_run(folder, judged, summary=None, **config):
    """An evaluation's folder."""
    folder.mkdir(parents=True)
    config = {"workdir": str(folder), "seed": 0} | config
    about = {"verb": "evaluate", "started": "2026-01-02T03:04:05Z", "config": config}
    (folder / "run.json").write_text(json.dumps(about))
    (folder / "config.json").write_text(json.dumps(config))
    lines = "".join(json.dumps(row) + "\n" for row in rows(judged))
    (folder / "judgements.jsonl").write_text(lines)
    if summary is not None:
        (folder / "evaluation.json").write_text(json.dumps(summary))
    return folder
