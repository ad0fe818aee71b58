"""What a run would do, without doing it: data, parameters, devices and an estimate of memory.

Nothing is claimed and no weights are loaded; shapes come from the model's config.json. Not looked
at are the completions of a cold start (only their prompts are measured), what the workdir holds,
Weights & Biases, and the memory of a quickstart's judge.
"""

import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from r1reward_jax import hub
from r1reward_jax.build import FROZEN, make_meshes
from r1reward_jax.inference.scalar import pair_misfit
from r1reward_jax.models import port_of
from r1reward_jax.models.qwen2_5_vl.tiny import SPECIAL_TOKENS, tiny_config
from r1reward_jax.prompts import TEMPLATES
from r1reward_jax.sharding import param_shardings, row_ways
from r1reward_jax.train.length_filter import drop_overlong, drop_overlong_records
from r1reward_jax.types import PreferenceRecord

LOGITS = 2
"""Arrays of logits that a chunk of the output head holds at a time: the logits, their gradient."""


def lines(
    config: ConfigDict, verb: str, records: Sequence[Any] = (), heldout: Sequence[Any] = ()
) -> Iterator[str]:
    """Yield what a run of a verb would work on.

    Args:
      config: complete and checked.
      verb: by its present name.
      records: training data, or what is to be judged; none for a quickstart, which makes its own.
      heldout: records to be measured on while a model is trained.
    """
    if verb == "quickstart":
        w = config.world
        yield (
            f"data: made on the spot, {w.sft_records:,} records for the cold start, "
            f"{w.rl_records:,} for RL, {w.heldout_records:,} held out"
        )
    else:
        yield f"data: {_counts(records)}"
        yield from _misfits(config, verb, records)
    if heldout:
        yield f"held-out data: {_counts(heldout)}"
    yield from _machine(config, verb)
    unseen = {
        "sft": ["the lengths of completions"],
        "quickstart": ["the judge that it trains"],
    }.get(verb, [])
    unseen += ["what the workdir holds"] + ["Weights & Biases"] * bool(config.wandb)
    yield f"dry run: no mistake found; not looked at: {', '.join(unseen)}"
    yield "dry run: no folder was claimed and no weights were loaded"


def _counts(records: Sequence[Any]) -> str:
    """Count records by kind."""
    images = sum(bool(getattr(r, "images", ())) for r in records)
    videos = sum(getattr(r, "video", None) is not None for r in records)
    labels = Counter(getattr(r, "preferred", None) for r in records)
    names = {1: "first better", 2: "second better", None: "no label"}
    shown = ", ".join(f"{labels[k]:,} {names.get(k, k)}" for k in sorted(labels, key=str))
    return f"{len(records):,} records, {images:,} with images, {videos:,} with videos; {shown}"


def _misfits(config: ConfigDict, verb: str, records: Sequence[Any]) -> Iterator[str]:
    """Count the prompts that are too long, by the look that a run takes before its first update; of
    a scalar model prompts and responses."""
    pairs = [r for r in records if isinstance(r, PreferenceRecord)]
    if not pairs:
        return
    path, b, m = hub.local(config.model.path), config.buckets, config.model
    port = port_of(path)
    sizes = port.Buckets(tuple(b.tokens), tuple(b.images), tuple(b.patches))
    processor = port.Processor(path, sizes, max_pixels=m.max_pixels, video_rule=m.video_rule)
    with tempfile.TemporaryDirectory() as folder:
        look: dict[str, Any] = {"workdir": folder, "threads": config.data.threads}
        look["phase"] = "dry run"
        if verb == "scalar-rm":
            most, what = config.scalar.max_response_tokens, "records are too long for a batch"
            name = "record {0.id}".format
            kept = drop_overlong(pairs, lambda r: pair_misfit(r, processor, most), name, **look)
        else:
            what = "prompts are too long for buckets"
            kept = drop_overlong_records(pairs, TEMPLATES[config.template], processor, **look)
    yield f"data: {len(pairs) - len(kept):,} of {len(pairs):,} {what}"


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
