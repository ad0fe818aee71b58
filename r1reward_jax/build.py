"""From a config to the parts of a run. The only code below the verbs that sees a ConfigDict:
everything else takes plain arguments.

    config -> meshes -> policy -> Setup -> engine, judge, checkpoints, settings of the loops
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from r1reward_jax import config as configs
from r1reward_jax import hub
from r1reward_jax.console import note, warn
from r1reward_jax.evals import evaluate
from r1reward_jax.evals.metrics import decide, describe
from r1reward_jax.inference.scalar import ScalarModel
from r1reward_jax.inference.settings import ModelSettings
from r1reward_jax.judge.local import LocalJudge, load_local_judge
from r1reward_jax.judge.probe import probe
from r1reward_jax.judge.remote import RemoteConfig, RemoteJudge
from r1reward_jax.models import port_of, reward_head
from r1reward_jax.prompt_file import with_prompt_from
from r1reward_jax.prompts import TEMPLATES, Template, judge_prompt
from r1reward_jax.responses import ANSWER, ResponseFormat
from r1reward_jax.rl.advantages import AdvantageConfig
from r1reward_jax.rl.rewards import RewardConfig, RewardWeights
from r1reward_jax.rollout.answers import answer_tokens
from r1reward_jax.rollout.engine import Engine
from r1reward_jax.rollout.sampler import SamplerConfig
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.runs.run_dir import began_at
from r1reward_jax.runs.writers import make_writers
from r1reward_jax.sharding import (
    BATCH,
    make_mesh,
    param_shardings,
    put_batch,
    remesh,
    require_heads,
    row_ways,
    slot_shardings,
)
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.lengths import (
    Measured,
    measure_annotation,
    measure_both_orders,
    measure_responses,
)
from r1reward_jax.train.objectives import StepConfig, policy_objective
from r1reward_jax.train.optimizer import OptimizerConfig
from r1reward_jax.train.parity import LIMITS, example_prompts
from r1reward_jax.train.preflight import DataSet, Looked, Rules, look
from r1reward_jax.train.rl import RLConfig
from r1reward_jax.train.setup import Policy, Setup
from r1reward_jax.train.supervised import PhaseConfig
from r1reward_jax.train.updates import UpdateConfig
from r1reward_jax.types import InputError, Judge, Params, Processor, Prompt, Record

FROZEN = ("visual",)
"""Top-level name of the vision tower's parameters."""
EVALUATED = {
    "accuracy": "eval/accuracy",
    "strict_accuracy": "eval/strict_accuracy",
    "flip_rate": "eval/flip_frac",
    "verdict_1_share": "eval/verdict_1_frac",
    "unparsable_share": "eval/unparsable_frac",
}
"""What is measured of a model on held-out records while it is trained; the best by accuracy is
kept."""


# ------------------------------------------------------------------ setup


@dataclass(frozen=True)
class Meshes:
    """Hold the device meshes of a run."""

    policy: Mesh
    rollout: Mesh
    judge: Mesh | None
    """None where no judge runs here."""


def make_meshes(config: ConfigDict) -> Meshes:
    """Make the meshes of a config from the devices that are there.

    Raises:
      InputError: sizes that do not multiply to the devices, or devices for a judge that needs none.
    """
    c = config.judge
    devices, judge_devices = jax.devices(), jax.devices()
    if c.devices:
        if not c.path:
            raise InputError(
                f"judge.devices {c.devices}: only a judge here (judge.path) has devices"
            )
        if not 0 < c.devices < len(devices) or jax.process_count() > 1:
            raise InputError(
                f"judge.devices {c.devices}: expected fewer than the {len(devices)} devices of one "
                "process; across processes a judge shares all (0), or is served and reached by "
                "judge.url"
            )
        devices, judge_devices = devices[: -c.devices], devices[-c.devices :]
    policy = make_mesh(**config.mesh, devices=devices)
    judge = make_mesh(**c.mesh, devices=judge_devices) if c.path else None
    sizes = config.rollout.mesh.to_dict()
    if not any(sizes.values()):
        return Meshes(policy, policy, judge)
    try:
        return Meshes(policy, remesh(policy, **sizes), judge)
    except InputError as error:
        raise InputError(f"rollout.{error}") from None


def make_processor(config: ConfigDict, path: str) -> Processor:
    """Return the processor of a Hugging Face folder, or of a model of the hub."""
    path, buckets, m = hub.local(path), config.buckets, config.model
    port = port_of(path)
    sizes = port.Buckets(tuple(buckets.tokens), tuple(buckets.images), tuple(buckets.patches))
    return port.Processor(path, sizes, max_pixels=m.max_pixels, video_rule=m.video_rule)


def template_of(config: ConfigDict) -> Template:
    """Return the wording of a config's prompts, its own one where `prompt_from` names a file."""
    template = TEMPLATES[config.template]
    return with_prompt_from(template, config.prompt_from) if config.prompt_from else template


def asked_in(config: ConfigDict) -> Template:
    """Return the wording that a model is evaluated in: the prompt of its own r1reward.json, where
    it has one and nobody asks for another."""
    template = template_of(config)
    settings = ModelSettings.load(hub.local(config.model.path))
    if not settings or not settings.evaluator or config.prompt_from:
        return template
    return settings.wording if config.template == settings.template else template


def load_policy(config: ConfigDict, path: str, mesh: Mesh) -> Policy:
    """Load a Hugging Face folder, or a model of the hub, onto a mesh."""
    path = hub.local(path)
    port = port_of(path)
    require_heads(mesh, port.Model(port.Config.load(path)).heads)
    dtype = jnp.dtype(config.model.param_dtype)
    model, params = port.load(path, dtype, lambda tree: param_shardings(tree, port.RULES, mesh))
    processor = make_processor(config, path)
    own = template_of(config) if config.prompt_from else None
    settings = ModelSettings.of(config, own)
    return Policy(_on(model, mesh), params, processor, port.RULES, path, settings)


def _on(model: Any, mesh: Mesh) -> Any:
    """Return the model with the rows of its activations split over a mesh."""
    return replace(model, rows=NamedSharding(mesh, BATCH))


def make_setup(config: ConfigDict, path: str = "") -> Setup:
    """Make the meshes of a config and load the policy that a run starts from.

    Args:
      config: a valid config (`config.check`).
      path: folder of the policy; empty for `model.path`.
    """
    meshes = make_meshes(config)
    return setup_for(config, load_policy(config, path or config.model.path, meshes.policy), meshes)


def setup_for(config: ConfigDict, policy: Policy, meshes: Meshes) -> Setup:
    """Return the setup of a config around a policy that is loaded already."""
    o, frozen = config.optimizer, FROZEN if config.model.freeze_vision else ()
    return Setup(
        policy=policy,
        mesh=meshes.policy,
        rollout_mesh=meshes.rollout,
        judge_mesh=meshes.judge,
        step=StepConfig(
            chunk=config.step.chunk,
            remat=config.step.remat,
            compute_dtype=jnp.dtype(config.model.compute_dtype),
            micro_tokens=config.step.micro_tokens,
            row_shards=row_ways(meshes.policy),
            frozen=frozen,
        ),
        optimizer=OptimizerConfig(
            b1=o.b1,
            b2=o.b2,
            weight_decay=o.weight_decay,
            clip_norm=o.clip_norm,
            warmup_share=o.warmup_share,
            final_share=o.final_share,
            max_skipped=o.max_skipped,
            frozen=frozen,
        ),
        template=template_of(config),
        seed=config.seed,
        workdir=config.workdir,
        threads=config.data.threads,
        profile_step=config.profile_step,
    )


# --------------------------------------------------------------------- data


def look_at_data(
    config: ConfigDict,
    verb: str,
    items: Sequence[Any],
    heldout: Sequence[Record] = (),
    *,
    workdir: str = "",
    phase: str = "",
    policy: Policy | None = None,
    tell: Callable[[str], None] = warn,
) -> Looked[Any]:
    """Look at all data of a run before its first update (`train.preflight`).

    Args:
      config: of the run.
      verb: sft, rl, scalar-rm or evaluate, what is done with the data.
      items: training data: annotations for sft, else records.
      heldout: the first `eval.records` of them that fit are measured on.
      workdir: of the run, which remembers the look; empty to write nothing.
      phase: of a run that has several; empty for that of the verb.
      policy: that is to be trained; None where its weights are not loaded yet.
      tell: gets what a person should know.
    """
    path = policy.path if policy else hub.local(config.model.path)
    processor = policy.processor if policy else make_processor(config, path)
    template = asked_in(config) if verb == "evaluate" else template_of(config)
    most = config.eval.records
    source = "" if phase else config.eval.benchmark if verb == "evaluate" else config.data.train
    name = phase or {"scalar-rm": "scalar"}.get(verb, verb)
    measure: Callable[[Any], Measured]
    if verb == "sft":
        room = config.sft.max_completion_tokens
        measure = lambda a: measure_annotation(a, template, processor, room)  # noqa: E731
        completion = lambda a: (a.completion, a.matched)  # noqa: E731
        train = DataSet(name, source, items, lambda a: a.record, measure, completion)
    else:
        room = config.rollout.max_new_tokens
        measure = lambda r: measure_both_orders(r, template, processor)  # noqa: E731
        if verb == "scalar-rm":
            room = config.scalar.max_response_tokens
            measure = lambda r: measure_responses(r, processor, room)  # noqa: E731
        train = DataSet(name, source, items, lambda r: r, measure)
    held = DataSet(
        "heldout",
        "" if phase else config.data.heldout,
        heldout,
        lambda r: r,
        lambda r: measure_both_orders(r, template, processor),
        most=most,
    )
    rules = Rules(
        # an evaluation counts what it cannot show
        config.data.skip_unreadable or verb == "evaluate",
        config.sft.mismatched,
        config.sft.balance,
        config.seed,
    )
    pixels, vocabulary = config.model.max_pixels, len(processor.tokenizer)
    depends = (path, vocabulary, processor.buckets, pixels, template, room)
    looked = look(
        train,
        held if heldout and most else None,
        rules,
        threads=config.data.threads,
        workdir=workdir,
        settings=repr(depends),
        tell=tell,
    )
    batch = {"sft": config.sft.batch, "scalar-rm": config.scalar.batch}.get(verb, 0)
    if verb == "rl":
        batch = rl_config(config).prompts
    if batch > len(looked.items):
        tell(
            f"{name}: a batch of {batch:,} records holds some of the {len(looked.items):,} more "
            "than once"
        )
    longest = looked.report.train.prompts
    positions = port_of(path).Config.load(path).text.max_position_embeddings
    if longest and longest.longest + room > positions:
        tell(
            f"{name}: the longest prompt and completion have {longest.longest + room:,} tokens "
            f"together; the model's max_position_embeddings is {positions:,}"
        )
    return looked


# ---------------------------------------------------- settings of the loops


def sft_config(config: ConfigDict) -> PhaseConfig:
    """Return the settings of the cold start."""
    c = config.sft
    return PhaseConfig(c.steps, c.batch, c.lr, c.max_completion_tokens)


def scalar_config(config: ConfigDict) -> PhaseConfig:
    """Return the settings of the Bradley-Terry baseline."""
    c = config.scalar
    return PhaseConfig(c.steps, c.batch, c.lr, c.max_response_tokens)


def rl_config(config: ConfigDict) -> RLConfig:
    """Return the settings of StableReinforce."""
    c = config.rl
    return RLConfig(
        iterations=c.iterations,
        samples=c.samples,
        lr=c.lr,
        both_orders=bool(c.swap_weight),
        max_gap=c.max_gap or LIMITS[config.model.compute_dtype],
        rewards=reward_config(config),
        updates=update_config(config),
    )


def update_config(config: ConfigDict) -> UpdateConfig:
    """Return how a rollout batch becomes updates."""
    c = config.rl
    return UpdateConfig(
        rollout_batch=c.rollout_batch,
        train_batch=c.train_batch,
        epochs=c.epochs,
        old_logp=c.old_logp,
        temperature=c.temperature,
        advantages=AdvantageConfig(
            c.samples, c.baseline, c.standardize, c.filter, c.sigmas, c.eps, c.kl, c.kl_coef
        ),
        objective=policy_objective(
            c.loss,
            c.aggregate,
            importance_cap=c.importance_cap,
            clip_eps=c.clip_eps,
            min_ratio=c.min_ratio,
            max_ratio=c.max_ratio,
        ),
    )


def reward_config(config: ConfigDict) -> RewardConfig:
    """Return the weights and limits of the rewards."""
    c, limit = config.rl, config.rollout.max_new_tokens
    weights = RewardWeights(
        c.format_weight, c.consistency_weight, c.swap_weight, c.repetition_weight, c.length_weight
    )
    # at least one token between the first that costs and the one that costs all
    start = min(round(c.length_start * limit), limit - 1)
    return RewardConfig(weights, c.consistency_mode, c.repetition_n, start, limit)


# ------------------------------------------------------------------ parts


def make_engine(config: ConfigDict, setup: Setup, form: ResponseFormat = ANSWER) -> Engine:
    """Return an engine that samples from the setup's policy on the rollout mesh, and notes how
    likely the verdicts of a response format are."""
    c, mesh, policy = config.rollout, setup.rollout_mesh, setup.policy
    ways = row_ways(mesh)  # a prefill batch is split over all of them
    sampler = SamplerConfig(
        samples=1,
        max_new_tokens=c.max_new_tokens,
        eos_ids=policy.processor.eos_ids,
        pad_id=policy.processor.pad_id,
        banned_ids=policy.processor.banned_ids,
        vocab_size=len(policy.processor.tokenizer),
        unroll=c.unroll,
        compute_dtype=setup.step.compute_dtype,
        parallel_samples=c.parallel_samples,
        answers=answer_tokens(policy.processor, form),
        top_k=c.top_k,
        top_p=c.top_p,
        repetition_penalty=c.repetition_penalty,
    )
    return Engine(
        _on(policy.model, mesh),
        policy.processor,
        sampler,
        slots=c.slots,
        prefill_batch=min(-(-c.prefill_batch // ways) * ways, c.slots),
        compact=c.compact,
        put_batch=functools.partial(put_batch, mesh=mesh),
        slot_shardings=functools.partial(slot_shardings, mesh=mesh),
        param_shardings=param_shardings(policy.params, policy.rules, mesh),
    )


def parity_setup(config: ConfigDict, path: str) -> tuple[Setup, Engine, list[Prompt]]:
    """Return a setup, an engine and prompts for `train.parity.check_policy`: buckets that fit the
    prompts, and slots that divide over the devices."""
    setup, prompts = make_setup(config, path), example_prompts()
    processor = setup.policy.processor
    sizes = port_of(path).Buckets.fitting([processor.encode(p) for p in prompts])
    policy = replace(setup.policy, processor=processor.with_buckets(sizes))
    setup, settings = replace(setup, policy=policy), ConfigDict(config.to_dict())
    settings.rollout.slots = -(-len(prompts) // setup.mesh.size) * setup.mesh.size
    return setup, make_engine(settings, setup), prompts


def make_scalar_model(config: ConfigDict, setup: Setup) -> ScalarModel:
    """Return the policy's backbone with the reward head of its folder."""
    policy = setup.policy
    return ScalarModel(
        policy.model,
        reward_head.load_head(policy.path, policy.model, policy.params),
        policy.processor,
        sizes=(config.rollout.slots,),
        capacities=(config.scalar.max_response_tokens,),
        knob="scalar.max_response_tokens",
        compute_dtype=setup.step.compute_dtype,
        put_batch=functools.partial(put_batch, mesh=setup.mesh),
    )


def load_judge(config: ConfigDict, mesh: Mesh | None) -> Judge | None:
    """Return the judge of the config, a model on `mesh` or one behind a server; None if it names
    none.

    Raises:
      InputError: it names both, or settings of the server that make no sense.
    """
    c = config.judge
    if c.path and c.url:
        raise InputError("judge.path and judge.url: set one of them")
    if not c.path and not c.url:
        return None
    template = _judge_template(config)
    if c.url:
        return _remote_judge(config, template)
    assert mesh is not None  # `make_meshes` makes one wherever there is a path
    return _local_judge(config, template, mesh)


def _judge_template(config: ConfigDict) -> Template:
    return replace(TEMPLATES[config.template], judge_lines=config.judge.lines)


def served_judge(config: ConfigDict) -> RemoteJudge:
    """Return the judge behind the server of judge.url, once it has answered.

    Raises:
      InputError: it cannot be asked so that it answers.
    """
    judge = _remote_judge(config, _judge_template(config))
    probe(judge)
    return judge


def tried_judge(config: ConfigDict, mesh: Mesh | None) -> Judge | None:
    """Return the judge of the config, one that runs here once it has answered a few pairs; None if
    it names none.

    Raises:
      InputError: a judge here gives no verdicts.
    """
    judge = load_judge(config, mesh)
    if isinstance(judge, LocalJudge):
        _warn_of_long_analyses(config, judge)
        probe(judge)
    return judge


def _warn_of_long_analyses(config: ConfigDict, judge: LocalJudge) -> None:
    """Warn if the policy may write what is too long for the judge. Its tokens may be others, so
    that this is no error."""
    wording = len(judge.processor.encode(judge_prompt("", 1, judge.template)).token_ids)
    room = config.judge.max_tokens - wording
    if room < config.rollout.max_new_tokens and not config.judge.lines:
        warn(
            f"judge.max_tokens={config.judge.max_tokens}: an analysis of more than {room:,} tokens "
            "gets no verdict and earns no consistency reward; rollout.max_new_tokens is "
            f"{config.rollout.max_new_tokens}"
        )


def _remote_judge(config: ConfigDict, template: Template) -> RemoteJudge:
    c = config.judge
    key, stripped = configs.judge_key(config)
    if stripped:
        note(f"the white space around the key in {c.api_key_env} is left out")
    settings = RemoteConfig(
        url=c.url,
        model=c.model,
        api_key=key,
        api_key_env=c.api_key_env,
        mode=c.mode,
        answer_tokens=c.answer_tokens,
        min_mass=c.min_mass,
        probe_s=c.probe_s,
        concurrency=c.concurrency,
        timeout_s=c.timeout_s,
        retries=c.retries,
        backoff_s=c.backoff_s,
        budget_s=c.budget_s,
        pause_share=c.pause_share,
        pause_s=c.pause_s,
    )
    return RemoteJudge(template, settings)


def _local_judge(config: ConfigDict, template: Template, mesh: Mesh) -> LocalJudge:
    # prompts are padded to the policy's buckets as far as they reach
    longest = config.judge.max_tokens
    return load_local_judge(
        hub.local(config.judge.path),
        template,
        mesh,
        rows=config.judge.batch,
        min_mass=config.judge.min_mass,
        widths=(*(n for n in config.buckets.tokens if n < longest), longest),
        patches=tuple(config.buckets.patches),
        compute_dtype=jnp.dtype(config.model.compute_dtype),
    )


def make_checkpoints(config: ConfigDict, phase: str) -> Checkpoints:
    """Return the checkpoints of a phase of the config's run."""
    c = config.checkpoint
    every = c.iterations if phase == "rl" else c.updates
    return Checkpoints(f"{config.workdir}/checkpoints/{phase}", every=every, keep=c.keep)


def make_log(config: ConfigDict) -> MetricsLog:
    """Return the log that the metrics of the config's run go to."""
    began = began_at(config.workdir)
    writers = make_writers(config.workdir, config.wandb, config.to_dict(), began)
    return MetricsLog(f"{config.workdir}/metrics.jsonl", writers)


def make_evaluation(
    config: ConfigDict, engine: Engine, records: Sequence[Record]
) -> Callable[[Params], dict[str, float]] | None:
    """Return a function from parameters to metrics of their greedy verdicts, in both orders, on the
    first `eval.records` of some held-out records that all fit (`look_at_data`); None if that is
    none."""
    chosen, template = records[: config.eval.records], template_of(config)
    if not chosen:
        return None

    def measure(params: Params) -> dict[str, float]:
        settings = {"seed": config.seed, "threads": config.data.threads}
        pairs = evaluate.judge(engine, params, chosen, template, temperatures=(0.0,), **settings)
        found = describe(pairs)
        interval = decide(pairs, 0, "none").accuracy
        return {metric: found[name] for name, metric in EVALUATED.items()} | {
            "eval/accuracy_low": interval.low or 0.0,
            "eval/accuracy_high": interval.high or 0.0,
            "eval/judgements_count": float(interval.of),
        }

    return measure
