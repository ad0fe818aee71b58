"""StableReinforce, the loop (paper, section 4.1), read top to bottom like the data's way:

records -> prompts -> rollout -> completions -> rewards -> advantages -> batch -> updates.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grain
import jax
import numpy as np

from r1reward_jax.console import progress, warn
from r1reward_jax.errors import about
from r1reward_jax.judge.client import JudgeRefusedError
from r1reward_jax.judge.pending import PendingJudgements
from r1reward_jax.judge.watch import JudgeWatch
from r1reward_jax.prompts import Template, evaluator_prompt
from r1reward_jax.rl.rewards import RewardConfig, score_completions
from r1reward_jax.rollout.engine import Engine, Rollout
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.runs.profiling import Timeline, memory, profiled
from r1reward_jax.sharding import put_batch, require_rows
from r1reward_jax.stopping import Stopped
from r1reward_jax.train import ending
from r1reward_jax.train.batches import flat, repeat, rollout_batch
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.nan_guard import Guard
from r1reward_jax.train.optimizer import init_state, learning_rate
from r1reward_jax.train.parity import require_parity, sampler_gaps
from r1reward_jax.train.rollout_metrics import rollout_metrics, times, write_rollouts
from r1reward_jax.train.setup import Setup
from r1reward_jax.train.start_point import Evaluate, measure_start
from r1reward_jax.train.updates import (
    Compiled,
    UpdateConfig,
    compile_updates,
    prepare,
    split,
    update,
    update_order,
)
from r1reward_jax.types import (
    EncodedPrompt,
    InputError,
    Judge,
    Params,
    PreferenceRecord,
    Processor,
    RewardBreakdown,
    Verdict,
)

COLUMNS = (
    "reward/total",
    "reward/result",
    "reward/consistency",
    "reward/format",
    "rollout/tokens_mean",
    "advantage/filtered_frac",
    "time/step_s",
)
HELDOUT = (*COLUMNS[:4], "eval/accuracy", *COLUMNS[4:])
"""Columns where held-out records are measured."""


@dataclass(frozen=True)
class RLConfig:
    """Hold the settings of the loop; names as in configs/default.py."""

    iterations: int
    """Rollout batches."""
    samples: int
    """Of each prompt."""
    lr: float
    """Peak learning rate."""
    both_orders: bool
    """Whether each record is shown in both orders of an iteration, for swap-consistency."""
    max_gap: float
    """Nats that sampler and trainer may be apart: more at the start refuses, later it warns."""
    rewards: RewardConfig
    updates: UpdateConfig

    @property
    def prompts(self) -> int:
        """Prompts of an iteration."""
        return self.updates.rollout_batch // self.samples


def run_rl(
    setup: Setup,
    config: RLConfig,
    records: Sequence[PreferenceRecord],
    engine: Engine,
    judge: Judge | None,
    *,
    log: MetricsLog,
    checkpoints: Checkpoints | None = None,
    evaluate: Evaluate | None = None,
) -> Params:
    """Train by StableReinforce; resumes from the newest checkpoint, if there is one, to the same
    end bit for bit: an iteration depends on its state, its number and the seed only. (The guard
    counts skipped updates anew.)

    Args:
      setup: where to start from, and how steps are made; with a KL, also the reference.
      config: of the loop.
      records: labelled; the hard ones. All fit in both orders (`train.preflight`).
      engine: samples from the policy.
      judge: scores consistency; None leaves it at 0.
      log: where metrics and rollouts are written.
      checkpoints: where to save and resume; None for neither.
      evaluate: metrics of parameters, measured before the first update and with every save; the
        save with the best eval/accuracy is kept.

    Returns:
      The trained parameters.

    Raises:
      InputError: rows that do not divide over the devices, sampler and trainer that disagree, or a
        judge that refuses whatever it is asked; the state before that iteration is saved.
      DivergedError: the gradients stay non-finite.
      Stopped: the process was asked to end, and the state is saved.
    """
    policy, u = setup.policy, config.updates
    require_rows(setup.mesh, {"rl.train_batch": u.train_batch})
    updates = u.epochs * u.parts
    optimizer = setup.optimizer.make(config.lr, config.iterations * updates)
    state = init_state(policy.params, optimizer, policy.rules, setup.mesh)
    state = (checkpoints and checkpoints.restore(state)) or state
    first = int(state.step) // updates
    log.begin("rl", first)
    ending.make_up_evaluation(
        "rl", state, first, log=log, checkpoints=checkpoints, evaluate=evaluate
    )
    if first == config.iterations:
        return state.params
    compiled = compile_updates(u, setup.step, policy.model, optimizer, state)
    _check_parity(setup, config, compiled, state.params, records, engine)
    watch = JudgeWatch(judge)
    guard = Guard(setup.optimizer.max_skipped, log, checkpoints)
    reference = policy.params if u.advantages.kl_coef else None

    columns = HELDOUT if evaluate else COLUMNS
    if not first:
        start = {"log": log, "phase": "rl", "steps": config.iterations, "columns": columns}
        measure_start(evaluate, state.params, **start)
    schedule = setup.optimizer.schedule(config.lr, config.iterations * updates)
    prompts = _prompts(setup, config, records, first)
    for iteration in progress(range(first, config.iterations), "rl", config.iterations, first):
        line, number = Timeline(), iteration + 1
        with profiled(setup.profile_step, number, setup.workdir):
            with line.phase("host"):
                chosen, encoded = next(prompts)
            try:
                ending.check()
                rollout, judge_probs, rewards, judged = _sample(
                    setup, config, engine, judge, state.params, chosen, encoded, iteration, line
                )
            except Stopped:
                if checkpoints:
                    checkpoints.interrupt(state)
                raise
            except JudgeRefusedError as error:
                raise _without_judge(error, iteration, checkpoints, state) from None
            judged |= watch.look(number, judge_probs)
            with line.phase("logprobs"):
                batch = rollout_batch(rollout, policy.processor, engine.config.max_new_tokens)
                parts = [put_batch(part, setup.mesh) for part in split(batch, u.parts)]
                totals = np.asarray([r.total for r in rewards], np.float32)
                parts, prepared = prepare(
                    compiled, state.params, reference, parts, totals, setup.mesh
                )
                prepared = jax.device_get(prepared)
            with line.phase("update"):
                order = update_order(u, iteration, setup.seed)
                state, updated, skipped = update(compiled, state, parts, order)
        if checkpoints:
            checkpoints.unsaved()

        # of the tokens of the first update, and of the others where the trainer's are known
        gap = np.maximum(updated["loss/sampler_gap_max"], prepared["loss/sampler_gap_max"])
        values = updated | prepared | judged | rollout_metrics(rollout, rewards)
        values["loss/sampler_gap_max"] = float(gap)
        values |= times(line, int(batch.mask.sum())) | memory()
        values["optimizer/lr"] = learning_rate(schedule, state)
        due = checkpoints and (checkpoints.due(number) or number == config.iterations)
        stopped = None
        if due and evaluate:
            with line.phase("evaluate"):
                try:
                    values |= evaluate(state.params)
                except Stopped as asked:
                    stopped = asked
        if not stopped:
            log.write("rl", number, values)
            log.show("rl", number, config.iterations, values, columns)
        _warn_of_gap(number, values["loss/sampler_gap_max"], config.max_gap)
        write_rollouts(log, number, repeat(chosen, config.samples), rollout, rewards, judge_probs)
        for nth, (k, bad) in enumerate(zip(order, skipped, strict=True), 1):
            guard.watch(iteration * updates + nth, bad, parts[k], state)
        with line.phase("checkpoint"):
            if checkpoints and stopped:
                checkpoints.interrupt(state, values)
                raise stopped
            if checkpoints and due:
                checkpoints.save(state, values.get("eval/accuracy"))
        log.write_timeline("rl", number, line.rows())
    return state.params


# -------------------------------------------------------------------- records


def records_of(
    records: Sequence[PreferenceRecord], iteration: int, size: int, seed: int
) -> list[PreferenceRecord]:
    """Return the records of an iteration (from 0), every epoch permuted anew, half of them with
    their responses swapped."""
    chosen = _drawn(records, iteration, size, seed)
    swap = np.random.default_rng([seed, iteration]).permutation(size) < size // 2
    return [r.swapped() if s else r for r, s in zip(chosen, swap, strict=True)]


def pairs_of(
    records: Sequence[PreferenceRecord], iteration: int, size: int, seed: int
) -> list[PreferenceRecord]:
    """Return half as many records as `records_of`, each in both orders, side by side."""
    chosen = _drawn(records, iteration, size // 2, seed)
    return [ordered for r in chosen for ordered in (r, r.swapped())]


def _drawn(records: Sequence[PreferenceRecord], iteration: int, size: int, seed: int) -> list:
    order: Any = grain.MapDataset.range(len(records)).seed(seed).shuffle().repeat(None)
    return [records[order[iteration * size + i]] for i in range(size)]


def _prompts(
    setup: Setup, config: RLConfig, records: Sequence[PreferenceRecord], first: int
) -> Iterator[tuple[list[PreferenceRecord], list[EncodedPrompt]]]:
    """Yield the records of each iteration from `first` on, and their prompts with images. Those of
    the next iteration are encoded by `setup.threads` threads while this one is worked on."""
    draw = pairs_of if config.both_orders else records_of
    encode = _encoder(setup.policy.processor, setup.template)

    # one thread leads the others, so that waiting for an iteration does not hold up this one
    with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(max(1, setup.threads)) as pool:

        def make(iteration: int) -> tuple[list[PreferenceRecord], list[EncodedPrompt]]:
            chosen = draw(records, iteration, config.prompts, setup.seed)
            return chosen, list(pool.map(encode, chosen))

        coming = ahead.submit(make, first)
        for iteration in range(first, config.iterations):
            ready = coming.result()
            if iteration + 1 < config.iterations:
                coming = ahead.submit(make, iteration + 1)
            yield ready


def _encoder(
    processor: Processor, template: Template
) -> Callable[[PreferenceRecord], EncodedPrompt]:
    def encode(record: PreferenceRecord) -> EncodedPrompt:
        with about(f"record {record.id}"):
            return processor.encode(evaluator_prompt(record, template))

    return encode


# ------------------------------------------------------------------- rollouts


def _sample(
    setup: Setup,
    config: RLConfig,
    engine: Engine,
    judge: Judge | None,
    params: Params,
    chosen: Sequence[PreferenceRecord],
    encoded: Sequence[EncodedPrompt],
    iteration: int,
    line: Timeline,
) -> tuple[Rollout, dict[int, float | None], list[RewardBreakdown], dict[str, float]]:
    """Return completions of the chosen records, the judge's probabilities, rewards, and the judge's
    metrics. The judge reads what has ended while the rest is being sampled."""
    judging = PendingJudgements(judge, [r.preferred for r in chosen], config.samples)
    with line.phase("rollout"):
        rollout = engine.generate(
            params,
            encoded,
            samples=config.samples,
            temperature=config.updates.temperature,
            seed=setup.seed,
            first_row=iteration * len(chosen),
            on_done=judging.add,
        )
    line.add("host", rollout.host)
    with line.phase("judge"):
        judge_probs = judging.probabilities()
    with line.phase("host"):
        labels: list[Verdict | None] = [r.preferred for r in repeat(chosen, config.samples)]
        rewards, judged = score_completions(
            flat(rollout), labels, judge_probs, config.rewards, swapped=_swapped(config)
        )
    return rollout, judge_probs, rewards, judged


def _without_judge(
    error: JudgeRefusedError, done: int, checkpoints: Checkpoints | None, state: Any
) -> InputError:
    """Save the state before the iteration whose completions the judge refuses, and return what the
    run ends with: it would train without consistency."""
    saved = ""
    if checkpoints and done:
        checkpoints.interrupt(state)
        saved = f"; saved after iteration {done}, the same command resumes from there"
    return InputError(f"iteration {done + 1} is not judged: {error}{saved}")


def _swapped(config: RLConfig) -> list[int] | None:
    """Return, for each row of a rollout batch of pairs, the row of its record in the other
    order."""
    if not config.both_orders:
        return None
    rows = np.arange(config.updates.rollout_batch).reshape(-1, 2, config.samples)
    return rows[:, ::-1].ravel().tolist()


# --------------------------------------------------------------------- parity


def _warn_of_gap(iteration: int, gap: float, limit: float) -> None:
    if not gap <= limit:  # so written, NaN warns
        warn(
            f"iteration {iteration}: sampler and trainer differ by {gap:.3g} nats, more than "
            f"rl.max_gap {limit:g}; consider rl.importance_cap",
            kind=f"sampler and trainer differ by more than rl.max_gap {limit:g} nats",
        )


def _check_parity(
    setup: Setup,
    config: RLConfig,
    compiled: Compiled,
    params: Params,
    records: Sequence[PreferenceRecord],
    engine: Engine,
) -> None:
    """Refuse to train where sampler and trainer disagree about the policy."""
    samples, rows = config.samples, config.updates.train_batch
    chosen = records_of(records, 0, -(-rows // samples), setup.seed)
    gaps = sampler_gaps(
        engine,
        params,
        [evaluator_prompt(r, setup.template) for r in chosen],
        setup.policy.processor,
        lambda batch: compiled.logprobs(params, put_batch(batch, setup.mesh)),
        samples=samples,
        rows=rows,
        temperature=config.updates.temperature,
        seed=setup.seed,
    )
    try:
        require_parity(gaps, config.max_gap)
    except InputError as error:
        raise InputError(f"{error}; `r1reward parity` looks closer") from None
