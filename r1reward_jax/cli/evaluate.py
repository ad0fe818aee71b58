"""`r1reward evaluate`"""

import json
from argparse import ArgumentParser, Namespace

from etils import epath

from r1reward_jax.cli import configs
from r1reward_jax.cli.run import start
from r1reward_jax.data.preferences import read_records
from r1reward_jax.evals import evaluate
from r1reward_jax.prompts import TEMPLATES
from r1reward_jax.train.build import make_engine
from r1reward_jax.train.metrics import say


def add_arguments(parser: ArgumentParser) -> None:
    configs.add_arguments(parser, default="eval")


def run(args: Namespace) -> None:
    config, records, policy = start(args, "heldout", read_records)
    engine = make_engine(config, policy)
    results = {}
    folder = epath.Path(config.workdir)
    votes = (config.eval.samples, config.eval.temperature)
    for name, (samples, temperature) in {"greedy": (1, 0.0), "votes": votes}.items():
        judgements = evaluate.judge(
            engine,
            policy.params,
            records,
            TEMPLATES[config.template],
            samples=samples,
            temperature=temperature,
            seed=config.seed,
        )
        results[name] = evaluate.describe(judgements) | {"pairs": len(records), "samples": samples}
        lines = [json.dumps(evaluate.judgement_row(j)) for j in judgements]
        (folder / f"judgements_{name}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "evaluation.json").write_text(json.dumps(results, indent=2))
    for key in results["greedy"]:
        say(f"{key:>24}  greedy {results['greedy'][key]:8.4g}   votes {results['votes'][key]:8.4g}")
