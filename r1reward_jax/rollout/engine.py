"""From prompts to completions: pads prompts to fixed batches and runs the jitted sampler."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from r1reward_jax.rollout.sampler import SamplerConfig, sample
from r1reward_jax.types import (
    Completion,
    EncodedPrompt,
    LanguageModel,
    Params,
    Processor,
    Prompt,
    RolloutBatch,
    batch_rows,
    check,
)


@dataclass(frozen=True)
class Rollout:
    """Prompts, what was sampled for them (host arrays, one row per prompt), and its text."""

    prompts: list[EncodedPrompt]
    batch: RolloutBatch
    completions: list[list[Completion]]
    """For each prompt, one completion per sample."""


class Engine:
    """Samples from one policy on one mesh. Batches always have `rows` rows: nothing is retraced."""

    def __init__(
        self,
        model: LanguageModel,
        processor: Processor,
        *,
        vocab_size: int,
        rows: int,
        max_new_tokens: int,
        unroll: bool,
        compute_dtype: Any,
        put_batch: Any,
    ):
        """
        Args:
          model: the policy's functions.
          processor: encodes prompts, decodes completions.
          vocab_size: real tokens of the tokenizer.
          rows: prompts per batch.
          max_new_tokens: longest completion.
          unroll: see `SamplerConfig`.
          compute_dtype: of the forward passes.
          put_batch: puts a host batch on the mesh.
        """
        self.model, self.processor, self.rows, self.put_batch = model, processor, rows, put_batch
        self.config = SamplerConfig(
            samples=1,
            max_new_tokens=max_new_tokens,
            eos_ids=processor.eos_ids,
            pad_id=processor.pad_id,
            banned_ids=processor.banned_ids,
            vocab_size=vocab_size,
            unroll=unroll,
            compute_dtype=compute_dtype,
        )
        self._jitted = functools.lru_cache(
            lambda samples: jax.jit(
                functools.partial(sample, model, replace(self.config, samples=samples))
            )
        )

    def generate(
        self,
        params: Params,
        prompts: Sequence[Prompt],
        *,
        samples: int,
        temperature: float,
        seed: int,
        first_row: int = 0,
    ) -> Rollout:
        """Complete each prompt `samples` times.

        Args:
          params: of the policy.
          prompts: any number of them; they go in batches of `rows`.
          samples: completions per prompt.
          temperature: 0 for greedy.
          seed: with `first_row` + a prompt's place, fixes its samples.
          first_row: the number of the first prompt.
        """
        encoded = [self.processor.encode(p) for p in prompts]
        key, parts = jax.random.key(seed), []
        for start in range(0, len(encoded), self.rows):
            part = encoded[start : start + self.rows]
            inputs = self.processor.collate(part, rows=self.rows)
            check(inputs)
            seeds = np.arange(self.rows, dtype=np.int32) + first_row + start
            inputs, seeds = self.put_batch((inputs, seeds))
            out = self._jitted(samples)(params, inputs, seeds, key, jnp.float32(temperature))
            parts.append(batch_rows(jax.tree.map(np.asarray, out), slice(len(part))))
        batch = jax.tree.map(lambda *xs: np.concatenate(xs), *parts)
        return Rollout(encoded, batch, self._decode(batch))

    def _decode(self, batch: RolloutBatch) -> list[list[Completion]]:
        rows = []
        for tokens, lengths, finished in zip(batch.tokens, batch.lengths, batch.finished):
            row = []
            for ids, length, ended in zip(tokens, lengths, finished):
                ids = tuple(int(i) for i in ids[: int(length)])
                text = self.processor.decode(ids)
                row.append(Completion(text, ids, "eos" if ended else "length"))
            rows.append(row)
        return rows
