"""From a config to the parts of a run: policy, engine, judge, step, optimizer, checkpoints."""

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from ml_collections import ConfigDict

from r1reward_jax.evals import evaluate
from r1reward_jax.inference.scalar import ScalarModel
from r1reward_jax.inference.settings import ModelSettings, write_settings
from r1reward_jax.judge.local import LocalJudge
from r1reward_jax.judge.remote import RemoteConfig, RemoteJudge
from r1reward_jax.models import port_of, reward_head
from r1reward_jax.prompts import ANSWER, TEMPLATES, ResponseFormat, Template
from r1reward_jax.rollout.answers import answer_tokens
from r1reward_jax.rollout.engine import Engine
from r1reward_jax.rollout.sampler import SamplerConfig
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.runs.run_dir import began_at
from r1reward_jax.runs.writers import make_boards
from r1reward_jax.sharding import (
    BATCH,
    make_mesh,
    param_shardings,
    put_batch,
    remesh,
    replicated,
    require_heads,
    slot_shardings,
)
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.objectives import StepConfig
from r1reward_jax.train.optimizer import make_optimizer, make_schedule
from r1reward_jax.types import InputError, Judge, LanguageModel, Params, PreferenceRecord

FROZEN = ("visual",)
"""Top-level name of the vision tower's parameters."""
EVALUATED = ("accuracy", "strict_accuracy", "flip_rate", "verdict_1_share", "unparsable_share")
"""What is measured of a model on held-out records while it is trained; the best by accuracy is
kept."""


@dataclass(frozen=True)
class Policy:
    """A loaded model with everything that goes with it."""

    model: LanguageModel
    params: Params
    processor: Any
    rules: Any
    path: str
    settings: ModelSettings | None = None
    """How the model is asked; what is exported says so."""

    def save(self, folder: str, params: Params) -> None:
        """Write `params` as a Hugging Face folder, with this policy's tokenizer and settings; a
        reward head beside it if they have one."""
        export(folder, self.model, params, like=self.path, settings=self.settings)


def export(
    folder: str,
    model: LanguageModel,
    params: Params,
    *,
    like: str,
    dtype: Any = None,
    settings: ModelSettings | None,
) -> None:
    """Write a Hugging Face folder; beside it how the model is asked, and a reward head if the
    parameters have one.

    Args:
      folder: made if needed.
      model: of the parameters.
      params: on any mesh.
      like: folder of the model that they come from.
      dtype: of the weights; None keeps theirs.
      settings: of the run; None where they are not known.
    """
    backbone = reward_head.without_head(params)
    scalar = backbone.keys() != params.keys()
    about = reward_head.ABOUT if scalar else None
    port_of(like).save(folder, model, backbone, like=like, dtype=dtype, about=about)
    if scalar:
        reward_head.save_head(folder, params)
    write_settings(folder, settings, like=like)


def policy_mesh(config: ConfigDict) -> Mesh:
    """Of the devices that are not the judge's alone."""
    return make_mesh(**config.mesh, devices=_shared_out(config)[0])


def rollout_mesh(config: ConfigDict) -> Mesh:
    """Of the sampler, over the policy's devices."""
    mesh, sizes = policy_mesh(config), config.rollout.mesh.to_dict()
    if not any(sizes.values()):
        return mesh
    try:
        return remesh(mesh, **sizes)
    except InputError as error:
        raise InputError(f"rollout.{error}") from None


def judge_mesh(config: ConfigDict) -> Mesh:
    """Of the judge's own devices, or of all."""
    return make_mesh(**config.judge.mesh, devices=_shared_out(config)[1])


def _shared_out(config: ConfigDict) -> tuple[list[Any], list[Any]]:
    """The policy's devices and the judge's."""
    devices, own = jax.devices(), config.judge.devices
    if not own:
        return devices, devices
    if not config.judge.path:
        raise InputError(f"judge.devices {own}: only a judge here (judge.path) has devices")
    if not 0 < own < len(devices) or jax.process_count() > 1:
        raise InputError(
            f"judge.devices {own}: expected fewer than the {len(devices)} devices of one process; "
            "across processes a judge shares all (0), or is served and reached by judge.url"
        )
    return devices[:-own], devices[-own:]


def load_policy(config: ConfigDict, path: str) -> Policy:
    """Load a Hugging Face folder onto the config's mesh."""
    port, buckets = port_of(path), config.buckets
    mesh, dtype = policy_mesh(config), jnp.dtype(config.model.param_dtype)
    require_heads(mesh, port.Model(port.Config.load(path)).heads)
    model, params = port.load(path, dtype, lambda tree: param_shardings(tree, port.RULES, mesh))
    sizes = port.Buckets(tuple(buckets.tokens), tuple(buckets.images), tuple(buckets.patches))
    m = config.model
    processor = port.Processor(path, sizes, max_pixels=m.max_pixels, video_rule=m.video_rule)
    return Policy(_on(model, mesh), params, processor, port.RULES, path, ModelSettings.of(config))


def _on(model: Any, mesh: Mesh) -> Any:
    """The model with the rows of its activations split over a mesh."""
    return replace(model, rows=NamedSharding(mesh, BATCH))


def make_engine(config: ConfigDict, policy: Policy, form: ResponseFormat = ANSWER) -> Engine:
    """An engine that samples from the policy, on the sampler's mesh, and notes how likely the
    verdicts of a format are."""
    c, mesh = config.rollout, rollout_mesh(config)
    ways = mesh.shape["data"] * mesh.shape["fsdp"]  # a refill is split over all of them
    sampler = SamplerConfig(
        samples=1,
        max_new_tokens=c.max_new_tokens,
        eos_ids=policy.processor.eos_ids,
        pad_id=policy.processor.pad_id,
        banned_ids=policy.processor.banned_ids,
        vocab_size=len(policy.processor.tokenizer),
        unroll=c.unroll,
        compute_dtype=jnp.dtype(config.model.compute_dtype),
        lanes=c.lanes,
        answers=answer_tokens(policy.processor, form),
        top_k=c.top_k,
        top_p=c.top_p,
        repetition_penalty=c.repetition_penalty,
    )
    return Engine(
        _on(policy.model, mesh),
        policy.processor,
        sampler,
        rows=c.rows,
        refill=min(-(-c.refill // ways) * ways, c.rows),
        shrink=c.shrink,
        put_batch=functools.partial(put_batch, mesh=mesh),
        place=functools.partial(slot_shardings, mesh=mesh),
        layout=param_shardings(policy.params, policy.rules, mesh),
    )


def make_scalar_model(config: ConfigDict, policy: Policy) -> ScalarModel:
    """The policy's backbone with the reward head of its folder, on the config's mesh."""
    return ScalarModel(
        policy.model,
        reward_head.load_head(policy.path, policy.model, policy.params),
        policy.processor,
        rows=config.rollout.rows,
        max_response_tokens=config.scalar.max_response_tokens,
        compute_dtype=jnp.dtype(config.model.compute_dtype),
        put_batch=functools.partial(put_batch, mesh=policy_mesh(config)),
    )


def load_judge(config: ConfigDict) -> Judge | None:
    """The judge of the config, a model here or one behind a server; None if it names none.

    Raises:
      InputError: it names both, or settings of the server that make no sense.
    """
    c = config.judge
    if c.path and c.url:
        raise InputError("judge.path and judge.url: set one of them")
    if not c.path and not c.url:
        return None
    template = replace(TEMPLATES[config.template], judge_lines=c.lines)
    return _remote_judge(config, template) if c.url else _local_judge(config, template)


def _remote_judge(config: ConfigDict, template: Template) -> RemoteJudge:
    c = config.judge
    settings = RemoteConfig(
        url=c.url,
        model=c.model,
        api_key=os.environ.get(c.api_key_env, ""),
        concurrency=c.concurrency,
        timeout_s=c.timeout_s,
        retries=c.retries,
        backoff_s=c.backoff_s,
        budget_s=c.budget_s,
        pause_share=c.pause_share,
        pause_s=c.pause_s,
    )
    return RemoteJudge(template, settings)


def _local_judge(config: ConfigDict, template: Template) -> LocalJudge:
    """The decoder alone, on a mesh of its own; prompts in the policy's buckets, as far as they
    go."""
    port, mesh = port_of(config.judge.path), judge_mesh(config)
    ways = mesh.shape["data"] * mesh.shape["fsdp"]
    if config.judge.rows % ways:
        raise InputError(f"judge.rows {config.judge.rows}: expected a multiple of {ways} devices")
    dtype = jnp.dtype(config.model.compute_dtype)
    place = lambda tree: param_shardings(tree, port.RULES, mesh)  # noqa: E731
    model, params = port.load(config.judge.path, dtype, place, with_vision=False)
    longest = config.judge.max_tokens
    tokens = (*(n for n in config.buckets.tokens if n < longest), longest)
    sizes = port.Buckets(tokens, (1,), tuple(config.buckets.patches))
    processor = port.Processor(config.judge.path, sizes)
    return LocalJudge(
        _on(model, mesh),
        params,
        processor,
        template,
        rows=config.judge.rows,
        compute_dtype=dtype,
        put_batch=functools.partial(put_batch, mesh=mesh),
        everywhere=replicated(mesh),
    )


def make_checkpoints(config: ConfigDict, phase: str) -> Checkpoints:
    """The checkpoints of a phase of the config's run."""
    c = config.checkpoint
    every = c.iterations if phase == "rl" else c.updates
    return Checkpoints(f"{config.workdir}/checkpoints/{phase}", every=every, keep=c.keep)


def make_log(config: ConfigDict) -> MetricsLog:
    """Where the metrics of the config's run go."""
    began = began_at(config.workdir)
    boards = make_boards(config.workdir, config.wandb, config.to_dict(), began)
    return MetricsLog(f"{config.workdir}/metrics.jsonl", boards)


def make_evaluation(
    config: ConfigDict, engine: Engine, records: Sequence[PreferenceRecord]
) -> Callable[[Params], dict[str, float]] | None:
    """From parameters to metrics of their greedy verdicts, in both orders, on the first
    `eval.records` of some held-out records; None if that is none."""
    chosen, template = records[: config.eval.records], TEMPLATES[config.template]
    if not chosen:
        return None

    def measure(params: Params) -> dict[str, float]:
        settings = {"temperatures": (0.0,), "seed": config.seed}
        judged = evaluate.judge(engine, params, chosen, template, **settings)
        found = evaluate.describe(judged)
        return {f"eval/{name}": found[name] for name in EVALUATED}

    return measure


def step_config(config: ConfigDict) -> StepConfig:
    """The static settings of a training step."""
    mesh = policy_mesh(config)
    return StepConfig(
        chunk=config.step.chunk,
        remat=config.step.remat,
        compute_dtype=jnp.dtype(config.model.compute_dtype),
        micro_tokens=config.step.micro_tokens,
        row_shards=mesh.shape["data"] * mesh.shape["fsdp"],
        frozen=FROZEN if config.model.freeze_vision else (),
    )


def optimizer_for(config: ConfigDict, lr: float, steps: int):
    """The optimizer of a phase with `steps` updates."""
    o = config.optimizer
    schedule = make_schedule(lr, steps, warmup_share=o.warmup_share, final_share=o.final_share)
    return make_optimizer(
        schedule,
        b1=o.b1,
        b2=o.b2,
        weight_decay=o.weight_decay,
        clip_norm=o.clip_norm,
        frozen=FROZEN if config.model.freeze_vision else (),
    )
