"""What a run would do, without doing it: data, parameters, devices and an estimate of memory.

Nothing is claimed and no weights are loaded; shapes come from the model's config.json. The data are
looked at as a run looks at them. Not looked at are weights, what the workdir holds, the answers of
a judge, Weights & Biases, and the memory of a quickstart's judge.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from r1reward_jax import hub
from r1reward_jax.build import FROZEN, look_at_data, make_meshes
from r1reward_jax.models import port_of
from r1reward_jax.models.qwen2_5_vl.tiny import SPECIAL_TOKENS, tiny_config
from r1reward_jax.sharding import param_shardings, row_ways
from r1reward_jax.types import Record

LOGITS = 2
"""Arrays of logits that a chunk of the output head holds at a time: the logits, their gradient."""


def lines(
    config: ConfigDict, verb: str, items: Sequence[Any] = (), heldout: Sequence[Record] = ()
) -> Iterator[str]:
    """Yield what a run of a verb would work on.

    Args:
      config: complete and checked.
      verb: by its present name.
      items: training data, or the records that are to be judged; none for a quickstart, which makes
        its own.
      heldout: records to be measured on while a model is trained.

    Raises:
      InputError: what the run's look at its data would refuse.
    """
    if verb == "quickstart":
        w = config.world
        yield (
            f"data: made on the spot, {w.sft_records:,} records for the cold start, "
            f"{w.rl_records:,} for RL, {w.heldout_records:,} held out"
        )
    else:
        yield from _data(config, verb, items, heldout)
    yield from _machine(config, verb)
    unseen = ["the model's weights", "what the workdir holds"]
    if verb == "quickstart":
        unseen.insert(0, "the data and the judge that it makes")
    if verb == "rl" and (config.judge.path or config.judge.url):
        unseen.insert(1, "the judge's answers")
    unseen += ["Weights & Biases"] * bool(config.wandb)
    yield f"dry run: no mistake found; not looked at: {', '.join(unseen)}"
    yield "dry run: no folder was claimed and no weights were loaded"


def _data(
    config: ConfigDict, verb: str, items: Sequence[Any], heldout: Sequence[Record]
) -> Iterator[str]:
    """Look at the data as the run would, and yield the counts."""
    report = look_at_data(config, verb, items, heldout).report
    train = report.train
    yield from (f"data: {line}" for line in train.lines())
    room = "records are too long for a batch" if verb == "scalar-rm" else None
    what = room or "prompts are too long for buckets"
    yield f"data: {train.misfits:,} of {train.given:,} {what}"
    if report.heldout is not None:
        yield from (f"held-out data: {line}" for line in report.heldout.lines())
    yield f"data: {report.decoded:,} images decoded; looked at in {report.seconds:.1f} s"


def _machine(config: ConfigDict, verb: str) -> Iterator[str]:
    """Parameters, devices and memory."""
    port, shape = _model(config, verb)
    if verb == "quickstart":
        config = ConfigDict(config.to_dict())
        config.judge.path = "trained on the spot"
    meshes, abstract = make_meshes(config), port.Model(shape).abstract_params()
    count = sum(math.prod(x.shape) for x in jax.tree.leaves(abstract))
    yield f"parameters: {count:,} ({config.model.param_dtype})"
    kind = jax.devices()[0].device_kind
    yield f"devices: {len(jax.devices())} x {kind}, mesh {dict(meshes.policy.shape)}"
    if meshes.rollout is not meshes.policy:
        yield f"devices: the sampler's mesh {dict(meshes.rollout.shape)}"
    parts = _memory(config, verb, port, shape, abstract, meshes)
    total = sum(parts.values())
    yield "memory per device, an estimate by formula (activations and copies come on top):"
    for name, size in parts.items():
        yield f"  {name:<52} {_size(size):>12}"
    yield f"  {'together':<52} {_size(total):>12}"


def _model(config: ConfigDict, verb: str) -> tuple[Any, Any]:
    """The port and the shape of the policy."""
    if verb == "quickstart":
        from r1reward_jax.models import qwen2_5_vl

        sizes = {k: v for k, v in config.tiny.items() if k != "vocab_size"}
        ids = {token: i for i, token in enumerate(SPECIAL_TOKENS)}
        return qwen2_5_vl, tiny_config(config.tiny.vocab_size, ids, **sizes)
    path = hub.local(config.model.path)
    port = port_of(path)
    return port, port.Config.load(path)


def _memory(
    config: ConfigDict, verb: str, port: Any, shape: Any, abstract: Any, meshes: Any
) -> dict[str, float]:
    """Bytes on a device, by what they are for."""
    param, compute = (jnp.dtype(config.model[f"{n}_dtype"]).itemsize for n in ("param", "compute"))
    own = _per_device(abstract, port.RULES, meshes.policy)
    frozen = FROZEN if config.model.freeze_vision else ()
    trained = {k: v for k, v in abstract.items() if k not in frozen}
    moved = _per_device(trained, port.RULES, meshes.policy)
    text, rollout = shape.text, config.rollout
    parts: dict[str, float] = {"parameters": own * param}
    if verb != "evaluate":
        parts["gradients (float32)"] = moved * 4
        parts["AdamW, two moments"] = 2 * moved * param
        parts["logits of step.chunk and their gradient (float32)"] = (
            LOGITS * config.step.chunk * text.vocab_size * 4 / row_ways(meshes.policy)
        )
    if verb in ("rl", "quickstart", "evaluate"):
        samples = config.eval.samples + 1 if verb == "evaluate" else config.rl.samples
        # of each slot: one prompt, and the completions that are written at a time
        parallel_samples = rollout.parallel_samples or samples
        decoded = min(parallel_samples, samples) * rollout.max_new_tokens
        places = max(config.buckets.tokens) + decoded
        width = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim
        parts["KV caches of the sampler's slots"] = (
            rollout.slots * places * width * compute / row_ways(meshes.rollout)
        )
    if meshes.judge is not None and verb == "rl":
        path = hub.local(config.judge.path)
        judge = port_of(path)
        decoder = judge.Model(judge.Config.load(path)).abstract_params()
        decoder = {k: v for k, v in decoder.items() if k != "visual"}
        size = _per_device(decoder, judge.RULES, meshes.judge) * compute
        parts["judge, decoder only" + (" (own devices)" if config.judge.devices else "")] = size
    return parts


def _per_device(abstract: Any, rules: Any, mesh: Any) -> int:
    """Parameters on the fullest device."""
    places = param_shardings(abstract, rules, mesh)
    shards = jax.tree.map(lambda x, place: math.prod(place.shard_shape(x.shape)), abstract, places)
    return sum(jax.tree.leaves(shards))


def _size(count: float) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.2f} MiB"
