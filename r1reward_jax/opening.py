"""The opening summary of a phase of training: what it begins with, in a few lines that also stand
in `run.json`."""

import math

import jax
from ml_collections import ConfigDict

from r1reward_jax.build import rl_config, scalar_config, sft_config
from r1reward_jax.console import say
from r1reward_jax.judge.remote import RemoteJudge
from r1reward_jax.runs.run_dir import note_opening
from r1reward_jax.train.data_report import DataReport, SetReport
from r1reward_jax.train.setup import Setup
from r1reward_jax.train.supervised import PhaseConfig
from r1reward_jax.types import Judge


def show_opening(
    config: ConfigDict, phase: str, setup: Setup, data: DataReport, judge: str = ""
) -> None:
    """Print what a phase begins with, and note it in `run.json`.

    Args:
      config: of the run.
      phase: name in the metrics: rl, scalar, or one of supervised training.
      setup: of the phase.
      data: counts of its records.
      judge: in words; of RL only.
    """
    rows = opening(config, phase, setup, data, judge)
    for name, text in rows.items():
        say(f"{name:>12}  {text}")
    note_opening(config.workdir, phase, rows)


def opening(
    config: ConfigDict, phase: str, setup: Setup, data: DataReport, judge: str
) -> dict[str, str]:
    """Return what a phase begins with, in words, by name and in order. Arguments as above."""
    rl = phase == "rl"
    length = _iterations(config, data.train.records) if rl else ""
    rows = {phase: length or _steps(config, phase, data.train.records)}
    rows |= {"records": _counts(data.train), "skipped": _skipped(data.train)}
    if data.train.prompts:
        rows["prompts"] = f"{data.train.prompts} tokens"
    if data.train.completions:
        rows["completions"] = f"{data.train.completions} tokens"
    if data.heldout:
        rows["held out"] = _counts(data.heldout)
    rows["looked at"] = f"in {data.seconds:.1f} s, {data.decoded:,} images decoded"
    rows |= {"model": _parameters(setup), "precision": _precision(config)}
    rows |= {"devices": _devices(config, setup), "rate": _rate(config, phase)}
    if rl:
        rows["judge"] = judge
    return rows | {"buckets": _buckets(setup)}


def judge_in_words(config: ConfigDict, judge: Judge | None = None) -> str:
    """Return who judges consistency.

    Args:
      config: of the run.
      judge: of the run, which may say more about itself than its config.
    """
    c = config.judge
    if isinstance(judge, RemoteJudge):
        return judge.describe()
    if c.url:
        return f"{c.model} at {c.url}"
    if not c.path:
        return "none (judge=none): no consistency reward"
    return f"{c.path}, {f'on {c.devices} devices of its own' if c.devices else 'here'}"


# ----------------------------------------------------------------- the rows


def phase_config(config: ConfigDict, phase: str) -> PhaseConfig:
    """Return the settings of a phase of supervised training."""
    return scalar_config(config) if phase == "scalar" else sft_config(config)


def _steps(config: ConfigDict, phase: str, records: int) -> str:
    c = phase_config(config, phase)
    epoch = max(1, records) / c.batch
    return (
        f"{_several(c.steps, 'update')} of {_several(c.batch, 'example')}; "
        f"{_several(math.ceil(epoch), 'update')} an epoch, {c.steps / epoch:.3g} epochs in all"
    )


def _iterations(config: ConfigDict, records: int) -> str:
    c = rl_config(config)
    shown = c.prompts // 2 if c.both_orders else c.prompts
    updates, epoch = c.updates.epochs * c.updates.parts, max(1, records) / shown
    orders = ", each in both orders" if c.both_orders else ""
    return (
        f"{_several(c.iterations, 'iteration')} of {_several(c.updates.rollout_batch, 'sample')} "
        f"of {_several(shown, 'record')}{orders}, {_several(updates, 'update')} of "
        f"{c.updates.train_batch:,} each; {_several(math.ceil(epoch), 'iteration')} an epoch, "
        f"{c.iterations / epoch:.3g} epochs in all"
    )


def _several(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _counts(found: SetReport) -> str:
    first, second = found.labels
    share = f" ({first / (first + second):.0%} first)" if first + second else ""
    of = f" of {found.given:,}" if found.given != found.records else ""
    return (
        f"{found.records:,}{of}, {found.images:,} images, {found.videos:,} videos; labels "
        f"{first:,} first better, {second:,} second better{share}"
    )


def _skipped(found: SetReport) -> str:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.skipped.items())
    return kinds or "none"


def _parameters(setup: Setup) -> str:
    sizes = {
        name: sum(x.size for x in jax.tree.leaves(part))
        for name, part in setup.policy.params.items()
    }
    total, fixed = sum(sizes.values()), [n for n in setup.step.frozen if n in sizes]
    trained = total - sum(sizes[name] for name in fixed)
    frozen = f", {trained:,} of them trained ({', '.join(fixed)} fixed)" if fixed else ""
    return f"{setup.policy.path}, {total:,} parameters{frozen or ', all trained'}"


def _precision(config: ConfigDict) -> str:
    m = config.model
    return f"weights in {m.param_dtype}, computed in {m.compute_dtype}"


def _devices(config: ConfigDict, setup: Setup) -> str:
    axes = lambda mesh: ", ".join(f"{a} {n}" for a, n in mesh.shape.items())  # noqa: E731
    kind = setup.mesh.devices.flat[0].device_kind
    text = f"{setup.mesh.size:,} x {kind}, mesh {axes(setup.mesh)}"
    if setup.rollout_mesh is not setup.mesh:
        text += f"; sampler {axes(setup.rollout_mesh)}"
    if setup.judge_mesh is not None and config.judge.devices:
        text += f"; judge on {setup.judge_mesh.size:,} of its own"
    return text


def _rate(config: ConfigDict, phase: str) -> str:
    o = config.optimizer
    lr = config.rl.lr if phase == "rl" else phase_config(config, phase).lr
    return (
        f"peak {lr:g}, warm-up {o.warmup_share:.3g} of the updates, at the end "
        f"{o.final_share:.3g} of the peak"
    )


def _buckets(setup: Setup) -> str:
    sizes = setup.policy.processor.buckets
    names = ("tokens", "images", "patches")
    return "; ".join(f"{name} {', '.join(map(str, getattr(sizes, name)))}" for name in names)
