"""`r1reward evaluate`: a reasoning reward model greedily and by votes, or a scalar one."""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from etils import epath
from ml_collections import ConfigDict

from r1reward_jax.cli import configs
from r1reward_jax.cli.run import started
from r1reward_jax.console import say
from r1reward_jax.data.preferences import read_records
from r1reward_jax.evals import evaluate, scalar
from r1reward_jax.evals.evaluate import Judgement
from r1reward_jax.files import write_whole
from r1reward_jax.models.reward_head import has_head
from r1reward_jax.prompts import TEMPLATES
from r1reward_jax.train.build import Policy, make_engine, make_scalar_model
from r1reward_jax.types import PreferenceRecord


def add_arguments(parser: ArgumentParser) -> None:
    configs.add_arguments(parser, default="eval")


def run(args: Namespace) -> None:
    with started(args, "heldout", read_records) as (config, records, policy):
        _evaluate(config, records, policy)


def _evaluate(config: ConfigDict, records: Sequence[PreferenceRecord], policy: Policy) -> None:
    judged = _scalar if has_head(policy.path) else _reasoning
    results, folder = {}, epath.Path(config.workdir)
    for name, judgements in judged(config, policy, records).items():
        samples = len(judgements[0].verdicts)
        results[name] = evaluate.describe(judgements) | {"pairs": len(records), "samples": samples}
        lines = [json.dumps(evaluate.judgement_row(j)) for j in judgements]
        write_whole(folder / f"judgements_{name}.jsonl", "\n".join(lines) + "\n")
    write_whole(folder / "evaluation.json", json.dumps(results, indent=2))
    for key in next(iter(results.values())):
        say(f"{key:>24}" + "".join(f"  {n} {found[key]:8.4g}" for n, found in results.items()))


def _scalar(
    config: ConfigDict, policy: Policy, records: Sequence[PreferenceRecord]
) -> dict[str, list[Judgement]]:
    return {"scalar": scalar.judge(make_scalar_model(config, policy), records)}


def _reasoning(
    config: ConfigDict, policy: Policy, records: Sequence[PreferenceRecord]
) -> dict[str, list[Judgement]]:
    engine = make_engine(config, policy)
    kinds = {"greedy": (1, 0.0), "votes": (config.eval.samples, config.eval.temperature)}
    return {
        name: evaluate.judge(
            engine,
            policy.params,
            records,
            TEMPLATES[config.template],
            samples=samples,
            temperature=temperature,
            seed=config.seed,
        )
        for name, (samples, temperature) in kinds.items()
    }
