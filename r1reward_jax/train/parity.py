"""Compare all paths of a policy: sampler, training forward pass and the reference implementation.

RL multiplies advantages by ratios of log-probs from different programs; where these programs
disagree about the same weights, it trains on their differences.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from PIL import Image

from r1reward_jax.models import port_of
from r1reward_jax.prompts import SYSTEM
from r1reward_jax.rollout.engine import Engine, Rollout
from r1reward_jax.sharding import put_batch
from r1reward_jax.train.batches import rollout_batch
from r1reward_jax.train.objectives import batch_logprobs
from r1reward_jax.train.setup import Policy, Setup
from r1reward_jax.types import (
    ImagePart,
    InputError,
    Params,
    Processor,
    Prompt,
    TrainBatch,
    batch_rows,
)

LIMITS = {"float32": 1e-3, "bfloat16": 0.5, "float16": 0.1}
"""Nats that the paths of a policy may differ by, by compute dtype, unless rl.max_gap is set."""
Logprobs = Callable[[TrainBatch], Array | np.ndarray]
"""Batch to the trainer's log-probs [B, C]."""


def sampler_gaps(
    engine: Engine,
    params: Params,
    prompts: Sequence[Prompt],
    processor: Processor,
    logprobs: Logprobs,
    *,
    samples: int,
    rows: int,
    temperature: float,
    seed: int,
) -> dict[str, float]:
    """Sample from the policy, then score the samples with the training forward pass.

    Args:
      engine: samples from the policy.
      params: of the policy.
      prompts: enough for `rows` samples.
      processor: of the policy.
      logprobs: of the training forward pass.
      samples: of each prompt.
      rows: of the batch that is scored, a run's own, so that nothing is compiled for the check.
      temperature: of the samples, and of the distribution that `logprobs` are of.
      seed: of the samples.

    Returns:
      The largest difference of a token's log-prob in nats: "prefill", which gives the first
      token, and "decode", which gives the others; without the latter if no sample has others.
    """
    rollout = engine.generate(params, prompts, samples=samples, temperature=temperature, seed=seed)
    batch = rollout_batch(rollout, processor, engine.config.max_new_tokens)
    return _sampler_gaps(batch_rows(batch, slice(rows)), logprobs)[0]


def _sampler_gaps(batch: TrainBatch, logprobs: Logprobs) -> tuple[dict[str, float], np.ndarray]:
    """Return the gaps, and the trainer's log-probs [B, C]."""
    logp = np.asarray(logprobs(batch), np.float32)
    gaps = np.where(batch.mask, np.abs(logp - batch.sampler_logp), 0.0)
    found = {"prefill": float(gaps[:, 0].max())}
    if batch.mask[:, 1:].any():
        found["decode"] = float(gaps[:, 1:].max())
    return found, logp


def require_parity(gaps: dict[str, float], limit: float) -> None:
    """Raise InputError if a gap is above the limit, or not a number."""
    if not all(gap <= limit for gap in gaps.values()):
        found = ", ".join(f"{path} {gap:.3g}" for path, gap in gaps.items())
        raise InputError(
            f"the paths of this policy disagree with its training forward pass by more than "
            f"{limit:g} nats: {found}"
        )


def check_policy(
    setup: Setup, engine: Engine, prompts: Sequence[Prompt]
) -> dict[str, float | None]:
    """Return the largest log-prob gap to the training forward pass of each path, on a few prompts.

    Args:
      setup: of the policy; its buckets have room for the prompts.
      engine: of the policy.
      prompts: not more than the engine has slots.

    Returns:
      "prefill", "decode" and "original", in nats; None for what could not be compared: decode if
      every sample ends at once, the original without torch.
    """
    policy, missing = setup.policy, engine.slots - len(prompts)
    rollout = engine.generate(policy.params, prompts, samples=1, temperature=1.0, seed=setup.seed)
    jitted = jax.jit(lambda p, b: batch_logprobs(policy.model, p, b, setup.step)[0])

    def logprobs(batch: TrainBatch) -> np.ndarray:
        padded = jax.tree.map(lambda x: np.concatenate([x, *[x[:1]] * missing]), batch)
        return np.asarray(jitted(policy.params, put_batch(padded, setup.mesh)))[: len(prompts)]

    batch = rollout_batch(rollout, policy.processor, engine.config.max_new_tokens)
    gaps, logp = _sampler_gaps(batch, logprobs)
    dtype = jnp.dtype(setup.step.compute_dtype).name
    gaps = {"prefill": None, "decode": None, **gaps}
    return gaps | {"original": _original_gap(policy, prompts, rollout, logp, dtype)}


def _original_gap(
    policy: Policy, prompts: Sequence[Prompt], rollout: Rollout, logp: np.ndarray, dtype: str
) -> float | None:
    """Return the largest gap between the reference implementation's log-probs and `logp`; None
    without torch."""
    original = port_of(policy.path).original
    if not original.available():
        return None
    model, gaps = original.load(policy.path, dtype), []
    for prompt, encoded, (completion,), ours in zip(
        prompts, rollout.prompts, rollout.completions, logp, strict=True
    ):
        ids, start = list(completion.token_ids), len(encoded.token_ids) - 1
        logits = original.logits(model, prompt, encoded, policy.processor, ids)
        rows = logits[start : start + len(ids)]
        theirs = rows[np.arange(len(ids)), ids] - np.logaddexp.reduce(rows, axis=-1)
        gaps.append(np.abs(theirs - ours[: len(ids)]).max())
    return float(np.max(gaps))


def example_prompts() -> list[Prompt]:
    """Return prompts with text only, with one image and with two images of different sizes; the
    images are coloured noise."""
    rng = np.random.default_rng(0)

    def image(height: int, width: int) -> ImagePart:
        coarse = rng.integers(0, 256, (height // 28, width // 28, 3), dtype=np.uint8)
        return ImagePart(Image.fromarray(coarse).resize((width, height)))

    return [
        Prompt(SYSTEM, ("Which answer is better?",)),
        Prompt(SYSTEM, (image(84, 112), "What does the picture show?")),
        Prompt(SYSTEM, ("First", image(56, 140), "then", image(84, 84), "Do they differ?")),
    ]
