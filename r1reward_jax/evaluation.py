"""An evaluation as a run: a reward model on a benchmark, in both answer orders, in a folder that
remembers what is judged."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from r1reward_jax import hub
from r1reward_jax.build import asked_in, make_engine, make_scalar_model, make_setup
from r1reward_jax.console import result, say, warn
from r1reward_jax.data.benchmarks import Benchmark, read_benchmark
from r1reward_jax.data.video import Sampling
from r1reward_jax.evals import evaluate
from r1reward_jax.evals.journal import (
    Journal,
    judgement_row,
    read_judged,
    record_row,
)
from r1reward_jax.evals.showable import prompt_problem, require_some
from r1reward_jax.evals.summary import summarize
from r1reward_jax.evals.table import table
from r1reward_jax.evals.types import Judgement
from r1reward_jax.evals.voting import RULES
from r1reward_jax.evaluation_settings import processor_of, settings_of
from r1reward_jax.files import write_whole
from r1reward_jax.inference import scalar
from r1reward_jax.inference.settings import ModelSettings
from r1reward_jax.models import port_of
from r1reward_jax.models.reward_head import has_head
from r1reward_jax.prompt_file import described
from r1reward_jax.prompts import Template
from r1reward_jax.report import reported
from r1reward_jax.responses import RELEASED, released, response_format
from r1reward_jax.runs.provenance import folder_hash
from r1reward_jax.runs.run_dir import claim_data, note_judged, run_folder
from r1reward_jax.types import InputError, PreferenceRecord, Record, RelevanceRecord


def run(config: ConfigDict, limit: int | None = None) -> None:
    """Judge the records of `eval.benchmark` into `config.workdir`; resume if some are judged.

    Args:
      config: as the verb has it, complete and checked.
      limit: judge so many records only, the first ones; None judges all.

    Raises:
      InputError: a mistake in the data, the model's folder or the prompt; each before the model is
        loaded. Or the folder of another evaluation.
    """
    path, template = hub.local(config.model.path), _template(config)
    benchmark, records, notes, gone = _read(config, template, limit)
    settings = settings_of(config, limit)
    for line in (*notes, settings["generation"]["told"]):
        say(line)
    model, prompt = folder_hash(path), hashlib.sha256(repr(template).encode()).hexdigest()
    hashes = {"model_hash": model, "prompt_hash": prompt, "records_hash": _hash(records)}
    with run_folder(config.workdir, config.to_dict(), verb="evaluate"), reported(config.workdir):
        # records that were left out are not judged again when their images are there
        left_out = hashlib.sha256(repr(gone).encode()).hexdigest() if gone else ""
        more = {"model": model, "prompt": prompt, "left_out": left_out}
        claim_data(config.workdir, hashes["records_hash"], **more)
        _judge(config, template, records)
        if jax.process_index() == 0:
            _sum_up(config, benchmark, notes, settings | hashes)


def checked_records(config: ConfigDict, limit: int | None = None) -> Sequence[Record]:
    """Return what `run` would judge, after all its checks. Raises InputError as `run`."""
    return _read(config, _template(config), limit)[1]


def _read(
    config: ConfigDict, template: Template, limit: int | None
) -> tuple[Benchmark, Sequence[Record], Sequence[str], Sequence[int]]:
    """Return the benchmark, its records, remarks about them, and the rows that cannot be shown."""
    port_of(hub.local(config.model.path))  # a folder that holds no model is refused first
    sampling = Sampling(config.data.video_fps, config.data.video_frames)
    benchmark, records, notes = read_benchmark(
        config.eval.benchmark, config.eval.data, sampling, outside=config.data.outside
    )
    if limit is not None and limit < len(records):
        notes = [*notes, f"the first {limit:,} of {len(records):,} records (--limit)"]
        records = records[:limit]
    evaluate.require_labels(records)
    _require_effect(config, records)
    gone = require_some(records, _problem(config, template), config.data.threads)
    return benchmark, records, notes, sorted(gone)


def _problem(config: ConfigDict, template: Template) -> Callable[[Record], str | None]:
    """Return what says why a record cannot be shown to the model."""
    path, processor = hub.local(config.model.path), processor_of(config)
    if not has_head(path):
        return lambda record: prompt_problem(record, template, processor)
    longest = config.scalar.max_response_tokens

    def problem(record: Record) -> str | None:
        assert isinstance(record, PreferenceRecord)  # `_require_effect` refuses others
        return scalar.problem(record, processor, longest)

    return problem


def _template(config: ConfigDict) -> Template:
    """Return how the model is asked, and where its verdict stands."""
    form = response_format(config.eval.response_format)
    template = replace(asked_in(config), response=form)
    if config.prompt_from:
        say(described(template, config.prompt_from))
    settings = ModelSettings.load(hub.local(config.model.path))
    if settings is None:
        return template
    known = settings.wording
    if (template.evaluator, template.system) != (known.evaluator, known.system):
        warn(f"{config.model.path} was trained with another prompt than it is asked in here")
    elif settings.evaluator and not config.prompt_from:
        say("the model is asked in its own prompt, the one of its r1reward.json")
    return template


def _require_effect(config: ConfigDict, records: Sequence[Record]) -> None:
    """Raise InputError for settings that would do nothing here."""
    c, scalar_model = config.eval, has_head(hub.local(config.model.path))
    candidates = any(isinstance(r, RelevanceRecord) for r in records)
    if scalar_model and candidates:
        raise InputError(f"{config.model.path}: a scalar model scores responses, not candidates")
    own = config.prompt_from
    given = {"prompt_from": own, "eval.response_format": c.response_format != "answer"}
    idle = [name for name, value in given.items() if value and scalar_model]
    if own and candidates:
        idle.append("prompt_from")
    if idle:
        what = "a scalar model" if scalar_model else "records of a query and two candidates"
        raise InputError(f"{idle[0]}: has no effect on {what}; leave it out")


def folder_of(config: ConfigDict, limit: int | None = None) -> str:
    """Return runs/evaluate/MODEL-BENCHMARK; an export is called after its run."""
    path = config.model.path.partition("@")[0]
    parts = [p for p in epath.Path(path).parts if p not in ("exported", "/", ".")]
    name = f"{(parts or ['model'])[-1]}-{epath.Path(config.eval.benchmark).stem}"
    return f"runs/evaluate/{name}" + (f"-first{limit}" if limit is not None else "")


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
            with _timed(config.workdir, journal):
                _judge_rest(config, template, records, journal.done, journal.write)
    else:
        _judge_rest(config, template, records, 0, lambda row: None)


@contextlib.contextmanager
def _timed(workdir: str, journal: Journal) -> Iterator[None]:
    """Note how long the judgements of the block took, those of one that is interrupted too. It
    stands in run.json: evaluation.json is the same however often an evaluation was resumed."""
    before, began = journal.done, time.monotonic()
    try:
        yield
    finally:
        if judged := journal.done - before:
            note_judged(workdir, before, judged, time.monotonic() - began)


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
        i = next(number)
        write(judgement_row(records[i // 2], judgement, i))

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
        temperatures=(0.0, *[c.temperature] * c.samples),
        seed=config.seed,
        threads=config.data.threads,
        done=done,
        rule=RULES.get(c.stop),
    )


def _sum_up(
    config: ConfigDict, benchmark: Benchmark, notes: Sequence[str], settings: dict[str, Any]
) -> None:
    """Sum up judgements.jsonl in evaluation.json and in the table."""
    # other formats are not what the release's code reads
    reader = released(benchmark.name) if config.eval.response_format in RELEASED else None
    summary = summarize(
        read_judged(f"{config.workdir}/judgements.jsonl", reader),
        convention=benchmark.convention,
        benchmark=benchmark.name,
        model=os.fspath(config.model.path),
        units=benchmark.units,
        expected=benchmark.groups,
        rows=benchmark.rows or None,
        samples=config.eval.samples,
        released=reader is not None,
        notes=(*notes, *benchmark.differs),
        settings=settings,
    )
    write_whole(f"{config.workdir}/evaluation.json", json.dumps(summary.to_json(), indent=2))
    result("\n".join(table(summary)))
    if gone := summary.skipped.records:
        warn(
            f"{gone:,} of {summary.skipped.of:,} records could not be shown to the model; the "
            "numbers are of the others, and evaluation.json has ids and reasons (skipped)"
        )
