"""What an evaluation's settings are, where they come from, and how they are recorded."""

import shlex
from collections.abc import Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from r1reward_jax import config as configs
from r1reward_jax import hub
from r1reward_jax.data.benchmarks import files_of, sampling_of
from r1reward_jax.data.video import Sampling
from r1reward_jax.generation import Generation, generation_of
from r1reward_jax.inference.settings import ModelSettings
from r1reward_jax.models import port_of
from r1reward_jax.models.reward_head import has_head
from r1reward_jax.runs.provenance import file_hash

PARALLEL_SAMPLES = 3
"""Samples of a prompt that are written at a time where votes may end early, by default."""
CACHED_TOKENS = 16 * 1024
"""Tokens of all completions of a prompt that the sampler's memory is planned for (configs/eval)."""
OPTIONS = {
    "model.path": "--model",
    "eval.benchmark": "--benchmark",
    "eval.data": "--data",
    "prompt_from": "--prompt-from",
    "eval.generation": "--generation",
    "eval.response_format": "--response-format",
}


def suggested(config: ConfigDict) -> dict[str, Any]:
    """Return values that suit this machine and the model, by path: bfloat16 is slow on CPUs, and
    the folder of a model says how it is asked. The config file and the command line may say
    otherwise.

    Raises:
      InputError: the model's generation_config.json cannot be used.
    """
    found: dict[str, Any] = {}
    if jax.default_backend() == "cpu":
        found |= {"model.param_dtype": "float32", "model.compute_dtype": "float32"}
    if settings := ModelSettings.load(hub.local(config.model.path)):
        found |= {
            "template": settings.template,
            "model.max_pixels": settings.max_pixels,
            "model.video_rule": settings.video_rule,
            "rollout.max_new_tokens": settings.max_new_tokens,
        }
    found |= _generation(config).taken
    written = found.get("rollout.max_new_tokens", config.rollout.max_new_tokens)
    if written * (config.eval.samples + 1) > CACHED_TOKENS and _generation(config).taken:
        found["rollout.parallel_samples"] = max(1, CACHED_TOKENS // written)
    if config.eval.stop != "none":  # all at once saves nothing
        found["rollout.parallel_samples"] = PARALLEL_SAMPLES
    return found


def _generation(config: ConfigDict) -> Generation:
    folder = hub.local(config.model.path)
    if has_head(folder):  # which writes nothing
        return Generation("config")
    exported = ModelSettings.load(folder) is not None
    return generation_of(folder, config.eval.generation, exported=exported)


def processor_of(config: ConfigDict) -> Any:
    """Return the processor of the model, which is not loaded for it."""
    path, m, b = hub.local(config.model.path), config.model, config.buckets
    port = port_of(path)
    sizes = port.Buckets(tuple(b.tokens), tuple(b.images), tuple(b.patches))
    return port.Processor(path, sizes, max_pixels=m.max_pixels, video_rule=m.video_rule)


def settings_of(config: ConfigDict, limit: int | None) -> dict[str, Any]:
    """Return how the model is asked and read, and what is read, as evaluation.json has it.

    Names are those of docs/evaluation.md. What a scalar model does not have is None.
    """
    m, r, e = config.model, config.rollout, config.eval
    scalar = has_head(hub.local(m.path))
    generation, knobs = _generation(config), dict(configs.items(config))
    frames = sampling_of(e.benchmark, Sampling(config.data.video_fps, config.data.video_frames))
    least, most = processor_of(config).pixels
    sampled = {
        "votes": e.samples,
        "temperature": e.temperature,
        "top_p": r.top_p,
        "top_k": r.top_k,
        "repetition_penalty": r.repetition_penalty,
        "max_new_tokens": r.max_new_tokens,
        "stop": e.stop,
        "response_format": e.response_format,
        "template": config.template,
        "prompt_from": config.prompt_from,
    }
    return {
        "command": " ".join(_command(config, limit)),
        "model": m.path,
        "data": files_of(e.benchmark, e.data),
        "data_hash": file_hash(*files_of(e.benchmark, e.data)),
        "limit": limit,
        **(dict.fromkeys(sampled) if scalar else sampled),
        "seed": config.seed,
        "min_pixels": least,
        "max_pixels": most,
        "video_frames": frames.exactly or frames.most,
        "video_frames_exact": bool(frames.exactly),
        "video_fps": frames.fps,
        "video_rule": m.video_rule,
        "max_prompt_tokens": max(config.buckets.tokens),
        "max_response_tokens": config.scalar.max_response_tokens if scalar else None,
        "max_images": max(config.buckets.images),
        "buckets": {name: list(sizes) for name, sizes in config.buckets.items()},
        "compute_dtype": m.compute_dtype,
        "param_dtype": m.param_dtype,
        "generation": {
            "from": generation.mode,
            "taken": {k: v for k, v in generation.taken.items() if knobs[k] == v},
            "not_taken": dict(generation.left),
            "told": generation.told(knobs),
        },
    }


def _command(config: ConfigDict, limit: int | None) -> Iterator[str]:
    """Yield the words of a command with the same result, whatever its workdir."""
    yield "r1reward evaluate"
    usual = dict(configs.items(configs.load("eval"))) | suggested(config)
    for path, value in configs.items(config):
        if path == "workdir" or value == usual.get(path):
            continue
        option = OPTIONS.get(path)
        yield (
            shlex.quote(f"{path}={value}") if not option else f"{option} {shlex.quote(str(value))}"
        )
    if limit is not None:
        yield f"--limit {limit}"
