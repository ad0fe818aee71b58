"""The RL loop (paper, section 4.2), read top to bottom like the data's way through the house:

records -> prompts -> rollout -> completions -> rewards -> advantages -> batch -> updates.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grain
import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from r1reward_jax.build import Policy, optimizer_for, policy_mesh
from r1reward_jax.config import check_rl
from r1reward_jax.console import progress, say
from r1reward_jax.errors import about
from r1reward_jax.judge.pending import PendingJudgements
from r1reward_jax.prompts import TEMPLATES, evaluator_prompt
from r1reward_jax.rl.rewards import RewardConfig, RewardWeights, score_completions
from r1reward_jax.rollout.engine import Engine, Rollout
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.runs.profiling import Timeline, profiled
from r1reward_jax.sharding import put_batch, require_rows
from r1reward_jax.train.batches import flat, repeat, rollout_batch
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.length_filter import fitting_records
from r1reward_jax.train.nan_guard import Guard
from r1reward_jax.train.optimizer import init_state
from r1reward_jax.train.parity import LIMITS, require_parity, sampler_gaps
from r1reward_jax.train.rollout_metrics import rollout_metrics, times, write_rollouts
from r1reward_jax.train.updates import (
    Compiled,
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
    "rollout/tokens",
    "advantage/filtered_frac",
    "time/step_s",
)


def records_of(
    records: Sequence[PreferenceRecord], iteration: int, size: int, seed: int
) -> list[PreferenceRecord]:
    """The records of an iteration (from 0), every epoch permuted anew, half of them swapped."""
    chosen = _drawn(records, iteration, size, seed)
    swap = np.random.default_rng([seed, iteration]).permutation(size) < size // 2
    return [r.swapped() if s else r for r, s in zip(chosen, swap, strict=True)]


def pairs_of(
    records: Sequence[PreferenceRecord], iteration: int, size: int, seed: int
) -> list[PreferenceRecord]:
    """As `records_of`, but half as many records, each in both orders, side by side."""
    chosen = _drawn(records, iteration, size // 2, seed)
    return [ordered for r in chosen for ordered in (r, r.swapped())]


def _drawn(records: Sequence[PreferenceRecord], iteration: int, size: int, seed: int) -> list:
    order: Any = grain.MapDataset.range(len(records)).seed(seed).shuffle().repeat(None)
    return [records[order[iteration * size + i]] for i in range(size)]


def run_rl(
    config: ConfigDict,
    policy: Policy,
    records: Sequence[PreferenceRecord],
    engine: Engine,
    judge: Judge | None,
    *,
    log: MetricsLog,
    checkpoints: Checkpoints | None = None,
    evaluate: Callable[[Params], dict[str, float]] | None = None,
) -> Params:
    """StableReinforce; continues from the last checkpoint if there is one, to the same end bit for
    bit: an iteration depends on its state, its number and the seed only. (The guard counts skipped
    updates anew.)

    Args:
      config: a whole config.
      policy: where to start from; with `rl.kl_coef` > 0 also the reference.
      records: labelled; the hard ones. Those that are too long are counted and skipped.
      engine: samples from the policy.
      judge: scores consistency; None leaves it at 0.
      log: where metrics and rollouts go.
      checkpoints: where to save and resume; None for neither.
      evaluate: metrics of parameters, measured with every save; the save with the best
        eval/accuracy is kept.

    Returns:
      The trained parameters.

    Raises:
      InputError: settings that make no sense, or sampler and trainer that disagree.
      DivergedError: the gradients stay non-finite.
    """
    c, mesh = config.rl, policy_mesh(config)
    check_rl(config)
    require_rows(mesh, {"rl.train_batch": c.train_batch})
    updates = c.epochs * (c.rollout_batch // c.train_batch)
    optimizer = optimizer_for(config, c.lr, c.iterations * updates)
    state = init_state(policy.params, optimizer, policy.rules, mesh)
    state = (checkpoints and checkpoints.restore(state)) or state
    first = int(state.step) // updates
    log.begin("rl", first)
    if first == c.iterations:
        return state.params
    template = TEMPLATES[config.template]
    where = {"phase": "rl", "workdir": config.workdir, "threads": config.data.threads}
    records = fitting_records(records, template, policy.processor, **where)
    compiled = compile_updates(config, policy.model, optimizer, state)
    _check_parity(config, policy.processor, compiled, state.params, records, engine, mesh)
    guard = Guard(config.optimizer.max_skipped, log, checkpoints)

    prompts = _prompts(config, policy.processor, records, first)
    for iteration in progress(range(first, c.iterations), "rl", c.iterations, first):
        line, number = Timeline(), iteration + 1
        with profiled(config, number):
            with line.phase("host"):
                chosen, encoded = next(prompts)
            rollout, answers, rewards, judged = _sample(
                config, engine, judge, state.params, chosen, encoded, iteration, line
            )
            with line.phase("logprobs"):
                batch = rollout_batch(rollout, policy.processor, engine.config.max_new_tokens)
                count = c.rollout_batch // c.train_batch
                parts = [put_batch(part, mesh) for part in split(batch, count)]
                totals = np.asarray([r.total for r in rewards], np.float32)
                reference = policy.params if c.kl_coef else None
                parts, prepared = prepare(compiled, state.params, reference, parts, totals, mesh)
                prepared = jax.device_get(prepared)
            with line.phase("update"):
                order = update_order(config, iteration)
                state, updated, skipped = update(compiled, state, parts, order)

        # of the tokens of the first update, and of the others where the trainer's are known
        gap = np.maximum(updated["loss/sampler_gap_max"], prepared["loss/sampler_gap_max"])
        values = updated | prepared | judged | rollout_metrics(rollout, rewards)
        values["loss/sampler_gap_max"] = float(gap)
        values |= times(line, int(batch.mask.sum()))
        due = checkpoints and (checkpoints.due(number) or number == c.iterations)
        if due and evaluate:
            with line.phase("evaluate"):
                values |= evaluate(state.params)
        log.write("rl", number, values)
        log.show("rl", number, c.iterations, values, COLUMNS)
        _warn_of_gap(number, values["loss/sampler_gap_max"], _gap_limit(config))
        write_rollouts(log, number, repeat(chosen, c.samples), rollout, rewards, answers)
        for nth, (k, bad) in enumerate(zip(order, skipped, strict=True), 1):
            guard.watch(iteration * updates + nth, bad, parts[k], state)
        with line.phase("checkpoint"):
            if checkpoints and due:
                checkpoints.save(state, values.get("eval/accuracy"))
        log.write_timeline("rl", number, line.rows())
    return state.params


# ------------------------------------------------------------------- rollouts


def _sample(
    config: ConfigDict,
    engine: Engine,
    judge: Judge | None,
    params: Params,
    chosen: Sequence[PreferenceRecord],
    encoded: Sequence[EncodedPrompt],
    iteration: int,
    line: Timeline,
) -> tuple[Rollout, dict[int, float | None], list[RewardBreakdown], dict[str, float]]:
    """Completions of the chosen records, the judge's answers, rewards, and the judge's metrics. The
    judge reads what has ended while the rest is being written."""
    c = config.rl
    judging = PendingJudgements(judge, [r.preferred for r in chosen], c.samples)
    with line.phase("rollout"):
        rollout = engine.generate(
            params,
            encoded,
            samples=c.samples,
            temperature=c.temperature,
            seed=config.seed,
            first_row=iteration * len(chosen),
            on_done=judging.add,
        )
    line.add("host", rollout.host)
    with line.phase("judge"):
        answers = judging.answers()
    with line.phase("host"):
        labels: list[Verdict | None] = [r.preferred for r in repeat(chosen, c.samples)]
        settings, swapped = scoring_of(config), _swapped(config)
        rewards, judged = score_completions(
            flat(rollout), labels, answers, settings, swapped=swapped
        )
    return rollout, answers, rewards, judged


def _prompts(
    config: ConfigDict, processor: Processor, records: Sequence[PreferenceRecord], first: int
) -> Iterator[tuple[list[PreferenceRecord], list[EncodedPrompt]]]:
    """The records of each iteration from `first` on, and their prompts with images. Those of the
    next iteration are encoded in a thread while this one is worked on."""
    template = TEMPLATES[config.template]

    def make(iteration: int):
        chosen = _records(config, records, iteration)
        return chosen, [_encode(r) for r in chosen]

    def _encode(record: PreferenceRecord) -> EncodedPrompt:
        with about(f"record {record.id}"):
            return processor.encode(evaluator_prompt(record, template))

    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(make, first)
        for iteration in range(first, config.rl.iterations):
            ready = coming.result()
            if iteration + 1 < config.rl.iterations:
                coming = ahead.submit(make, iteration + 1)
            yield ready


def _records(config: ConfigDict, records: Sequence[PreferenceRecord], iteration: int) -> list:
    """The record of each prompt of an iteration."""
    draw = pairs_of if config.rl.swap_weight else records_of
    return draw(records, iteration, config.rl.rollout_batch // config.rl.samples, config.seed)


def _swapped(config: ConfigDict) -> list[int] | None:
    """For each row of a rollout batch of pairs, the row of its record in the other order."""
    c = config.rl
    if not c.swap_weight:
        return None
    rows = np.arange(c.rollout_batch).reshape(-1, 2, c.samples)
    return rows[:, ::-1].ravel().tolist()


def scoring_of(config: ConfigDict) -> RewardConfig:
    """The settings of the rewards."""
    c, limit = config.rl, config.rollout.max_new_tokens
    weights = RewardWeights(
        c.format_weight, c.consistency_weight, c.swap_weight, c.repetition_weight, c.length_weight
    )
    start = min(round(c.length_start * limit), limit - 1)
    return RewardConfig(weights, c.consistency_mode, c.repetition_n, start, limit)


def _gap_limit(config: ConfigDict) -> float:
    return config.rl.max_gap or LIMITS[config.model.compute_dtype]


def _warn_of_gap(iteration: int, gap: float, limit: float) -> None:
    if not gap <= limit:
        say(
            f"iteration {iteration}: sampler and trainer differ by {gap:.3g} nats, more than "
            f"rl.max_gap {limit:g}; consider rl.importance_cap"
        )


def _check_parity(
    config: ConfigDict,
    processor: Processor,
    compiled: Compiled,
    params: Params,
    records: Sequence[PreferenceRecord],
    engine: Engine,
    mesh: Mesh,
) -> None:
    """Refuse to train where sampler and trainer disagree about the policy."""
    samples, rows = config.rl.samples, config.rl.train_batch
    chosen = records_of(records, 0, -(-rows // samples), config.seed)
    prompts = [evaluator_prompt(r, TEMPLATES[config.template]) for r in chosen]
    logprobs = lambda batch: compiled.logprobs(params, put_batch(batch, mesh))  # noqa: E731
    settings = {"samples": samples, "rows": rows, "seed": config.seed}
    gaps = sampler_gaps(engine, params, prompts, processor, logprobs, **settings)
    try:
        require_parity(gaps, _gap_limit(config))
    except InputError as error:
        raise InputError(f"{error}; `r1reward check` looks closer") from None
