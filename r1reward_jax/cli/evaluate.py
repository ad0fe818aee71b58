"""`r1reward evaluate`: a reward model on a benchmark, in both answer orders."""

import hashlib
import json
import os
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from r1reward_jax import config as configs
from r1reward_jax.build import make_engine, make_scalar_model, make_setup
from r1reward_jax.cli.run import frames
from r1reward_jax.console import say
from r1reward_jax.data.benchmarks import BENCHMARKS, Benchmark, read_benchmark
from r1reward_jax.evals import evaluate
from r1reward_jax.evals.calibration import calibration
from r1reward_jax.evals.journal import (
    Journal,
    judgement_row,
    read_judged,
    record_row,
    require_images,
)
from r1reward_jax.evals.summary import summarize
from r1reward_jax.evals.table import table
from r1reward_jax.evals.types import Judgement
from r1reward_jax.evals.voting import RULES
from r1reward_jax.files import write_whole
from r1reward_jax.inference import scalar
from r1reward_jax.inference.settings import ModelSettings
from r1reward_jax.models import port_of
from r1reward_jax.models.reward_head import has_head
from r1reward_jax.prompt_file import with_prompt_from
from r1reward_jax.prompts import TEMPLATES, Template, response_format
from r1reward_jax.report import reported
from r1reward_jax.runs.provenance import folder_hash
from r1reward_jax.runs.run_dir import claim_data, run_folder
from r1reward_jax.types import InputError, PreferenceRecord, Record, RelevanceRecord

FLAGS = {
    "model": ("model.path", "FOLDER", "Hugging Face folder of the model"),
    "benchmark": (
        "eval.benchmark",
        "NAME|FILE",
        f"{', '.join(BENCHMARKS)}, or a .json, .jsonl or .parquet file of records",
    ),
    "data": ("eval.data", "DIR", "where the benchmark's files are (default: that of the FILE)"),
    "prompt_from": (
        "eval.prompt_from",
        "FILE",
        "a text with {question}, {first} and {second}, or a .jsonl (:ROW) of the R1-Reward-RL set",
    ),
    "response_format": (
        "eval.response_format",
        "NAME|REGEX",
        "answer, boxed, brackets, judgment, or an expression with the group ([12]) or ([AB])",
    ),
}
"""Options that are short for a field of the config."""
LANES = 3
"""Samples of a prompt that are written at a time where votes may end early, by default."""


def add_arguments(parser: ArgumentParser) -> None:
    for name, (path, metavar, text) in FLAGS.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, metavar=metavar, help=f"{text}; same as {path}=…")
    configs.add_arguments(parser, default="eval")


def run(args: Namespace) -> None:
    config = _config(args)
    # mistakes are told before a large model is loaded
    configs.require(config, "model.path", "eval.benchmark")
    c, path = config.eval, config.model.path
    port_of(path)
    template = _template(config)
    benchmark, records, notes = read_benchmark(c.benchmark, c.data, frames(config))
    evaluate.require_labels(records)
    _require_effect(config, records)
    require_images(records, config.data.threads)
    for note in notes:
        say(note)
    model, prompt = folder_hash(path), hashlib.sha256(repr(template).encode()).hexdigest()
    with run_folder(config.workdir, config.to_dict(), verb=args.verb), reported(config.workdir):
        claim_data(config.workdir, _hash(records), model=model, prompt=prompt)
        _judge(config, template, records)
        if jax.process_index() == 0:
            _sum_up(config, benchmark, notes)


def _template(config: ConfigDict) -> Template:
    """How the model is asked, and where its verdict stands."""
    form = response_format(config.eval.response_format)
    template = replace(TEMPLATES[config.template], response=form)
    if not config.eval.prompt_from:
        return template
    template = with_prompt_from(template, config.eval.prompt_from)
    behind = template.evaluator.rpartition("{second}")[2].replace("{images}", "").strip()
    say(
        f"prompt from {config.eval.prompt_from}: {len(behind):,} characters behind the second "
        "response" + ("" if behind else "; nothing there says how to answer")
    )
    return template


def _require_effect(config: ConfigDict, records: Sequence[Record]) -> None:
    """Raise InputError for settings that would do nothing here."""
    c, scalar_model = config.eval, has_head(config.model.path)
    candidates = any(isinstance(r, RelevanceRecord) for r in records)
    if scalar_model and candidates:
        raise InputError(f"{config.model.path}: a scalar model scores responses, not candidates")
    given = {"prompt_from": c.prompt_from, "response_format": c.response_format != "answer"}
    idle = [name for name, value in given.items() if value and scalar_model]
    if c.prompt_from and candidates:
        idle.append("prompt_from")
    if idle:
        what = "a scalar model" if scalar_model else "records of a query and two candidates"
        raise InputError(f"eval.{idle[0]}: has no effect on {what}; leave it out")
    if c.stop != "none" and not c.samples:
        raise InputError(f"eval.stop={c.stop}: there are no votes to stop (eval.samples=0)")


def _config(args: Namespace) -> ConfigDict:
    """The config, with what the model's folder says about how it is asked; the command line has the
    last word."""
    flags = [f"{FLAGS[f][0]}={value}" for f in FLAGS if (value := getattr(args, f)) is not None]
    args.overrides = [*flags, *args.overrides]
    given = configs.config_from(args)
    known = _of_model(given.model.path)
    if given.eval.stop != "none" and not given.rollout.lanes:  # all at once saves nothing
        known.append(f"rollout.lanes={LANES}")
    args.overrides = [*known, *args.overrides]
    config = configs.config_from(args)
    config.workdir = config.workdir or _folder(config)
    return config


def _of_model(path: str) -> list[str]:
    """Overrides for a model's folder and this machine: bfloat16 is slow on CPUs."""
    known = []
    if jax.default_backend() == "cpu":
        known = ["model.param_dtype=float32", "model.compute_dtype=float32"]
    if path and (settings := ModelSettings.load(path)):
        known += [
            f"template={settings.template}",
            f"model.max_pixels={settings.max_pixels}",
            f"model.video_rule={settings.video_rule}",
            f"rollout.max_new_tokens={settings.max_new_tokens}",
        ]
    return known


def _folder(config: ConfigDict) -> str:
    """runs/evaluate/MODEL-BENCHMARK; an export is called after its run."""
    parts = [p for p in epath.Path(config.model.path).parts if p not in ("exported", "/", ".")]
    return f"runs/evaluate/{(parts or ['model'])[-1]}-{epath.Path(config.eval.benchmark).stem}"


def _hash(records: Sequence[Record]) -> str:
    """sha256 of what is asked and what is right; images count by their paths."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(json.dumps(record_row(record)).encode())
        if isinstance(record, RelevanceRecord):  # whose images they are
            digest.update(str([len(c.images) for c in record.candidates]).encode())
    return digest.hexdigest()


def _judge(config: ConfigDict, template: Template, records: Sequence[Record]) -> None:
    """Write what is missing of judgements.jsonl; the first of several processes does."""
    path, total = f"{config.workdir}/judgements.jsonl", 2 * len(records)
    if jax.process_index() == 0:
        with Journal(path, total) as journal:
            if journal.done < total:  # what is there was of other judgements
                epath.Path(f"{config.workdir}/evaluation.json").unlink(missing_ok=True)
            _judge_rest(config, template, records, journal.done, journal.write)
    else:
        _judge_rest(config, template, records, 0, lambda row: None)


def _judge_rest(
    config: ConfigDict,
    template: Template,
    records: Sequence[Record],
    done: int,
    write: Any,
) -> None:
    if jax.process_count() > 1:  # what is done next is the same everywhere
        done = int(multihost_utils.broadcast_one_to_all(np.int32(done)))
    total = 2 * len(records)
    if done == total:
        return
    if done:
        say(f"{done} of {total} judgements are there already")
    number = iter(range(done, total))

    def emit(judgement: Judgement) -> None:
        write(judgement_row(judgement, next(number)))

    setup, c = make_setup(config), config.eval
    policy = setup.policy
    if has_head(policy.path):
        pairs = [r for r in records if isinstance(r, PreferenceRecord)]
        scalar.judge_each(make_scalar_model(config, setup), pairs, emit, done)
        return
    evaluate.judge_each(
        make_engine(config, setup, template.response),
        policy.params,
        records,
        template,
        emit,
        (0.0, *[c.temperature] * c.samples),
        config.seed,
        done,
        RULES.get(c.stop),
    )


def _sum_up(config: ConfigDict, benchmark: Benchmark, notes: Sequence[str]) -> None:
    """From judgements.jsonl to evaluation.json and the table."""
    judged = read_judged(f"{config.workdir}/judgements.jsonl")
    found = summarize(
        judged,
        convention=benchmark.convention,
        units=benchmark.units,
        expected=benchmark.groups,
        rows=benchmark.rows or None,
        samples=config.eval.samples,
    )
    found = {"benchmark": benchmark.name, "model": os.fspath(config.model.path)} | found
    found |= {"calibration": calibration(judged)}
    found["notes"] = [*notes, *found["notes"]]
    write_whole(f"{config.workdir}/evaluation.json", json.dumps(found, indent=2))
    say("\n".join(table(found)))
