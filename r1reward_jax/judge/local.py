"""A judge in this process: a second model with its own params, mesh and jitted step.

There is one prefill per completion; the probability of "supports" comes from the logits of the
template's two answer tokens at the last position (paper, section 3.3: the consistency reward). The
judge sees the whole analysis; the release shows it the last three lines.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Float

from r1reward_jax.models import port_of
from r1reward_jax.prompts import Template, judge_prompt
from r1reward_jax.rollout.answers import first_probability
from r1reward_jax.sharding import BATCH, param_shardings, put_batch, replicated, row_ways
from r1reward_jax.types import (
    Array,
    EncodedPrompt,
    InputError,
    LanguageModel,
    Params,
    Processor,
    Verdict,
    check,
)


class LocalJudge:
    """Scores (analysis, verdict) pairs in batches of a fixed number of rows (`batch`)."""

    def __init__(
        self,
        model: LanguageModel,
        params: Params,
        processor: Processor,
        template: Template,
        *,
        rows: int,
        compute_dtype: Any,
        put_batch: Callable[[Any], Any],
        replicated: Any = None,
    ):
        """
        Args:
          model: any model that follows the judge prompt; images are not shown to it.
          params: already on the judge's mesh.
          processor: of the judge.
          template: gives the judge prompt and the two answer words; each must be one token.
          rows: pairs per batch.
          compute_dtype: of the forward pass.
          put_batch: puts a host batch on the judge's mesh.
          replicated: the sharding of arrays that all devices of the mesh hold, since every process
            reads the scores; None for one device.
        """
        self.params, self.processor, self.template = params, processor, template
        self.batch, self.put_batch = rows, put_batch
        self.calls = 0
        """Batches sent to the devices so far."""
        words = (template.supports, template.contradicts)
        answers = np.asarray([processor.token_id(w) for w in words], np.int32)
        self._step: Any = jax.jit(
            lambda params, inputs: first_probability(
                model, params, inputs, answers, jnp.dtype(compute_dtype)
            ),
            out_shardings=replicated,
        )

    def start(self, pairs: Sequence[tuple[str, Verdict]]) -> Callable[[], list[float | None]]:
        """Dispatch the batches, as `types.Judge`; they run behind what the devices do already.

        Each distinct pair is judged once. The function returned gives None for an analysis that is
        too long for the judge, and for a score that is not a number.
        """
        prompts = {
            pair: self.processor.encode(judge_prompt(*pair, self.template))
            for pair in dict.fromkeys(pairs)
        }
        fitting = [pair for pair, prompt in prompts.items() if self.processor.fits(prompt)]
        fitting.sort(key=lambda pair: len(prompts[pair].token_ids))  # alike in length: less padding
        parts = [fitting[i : i + self.batch] for i in range(0, len(fitting), self.batch)]
        scores = [self._dispatch([prompts[pair] for pair in part]) for part in parts]

        def wait() -> list[float | None]:
            judged = {}
            for part, batch in zip(parts, scores, strict=True):
                # rows behind the pairs only pad the batch
                judged |= dict(zip(part, np.asarray(batch)[: len(part)].tolist(), strict=True))
            valid = {pair: p for pair, p in judged.items() if p == p}  # p != p: NaN, no verdict
            return [valid.get(pair) for pair in pairs]

        return wait

    def score(self, pairs: Sequence[tuple[str, Verdict]]) -> list[float | None]:
        """Return the probability that the analysis supports the verdict, for each pair."""
        return self.start(pairs)()

    def programs(self) -> int:
        """Return the number of compiled programs: one for each padded width of prompts so far."""
        return self._step._cache_size()

    def _dispatch(self, prompts: Sequence[EncodedPrompt]) -> Float[Array, " B"]:
        """Send one batch to the devices; return its scores, which may not be computed yet."""
        inputs = self.processor.collate(prompts, rows=self.batch)
        check(inputs)
        self.calls += 1
        return self._step(self.params, self.put_batch(inputs))


def load_local_judge(
    path: str,
    template: Template,
    mesh: Mesh,
    *,
    rows: int,
    widths: Sequence[int],
    patches: Sequence[int],
    compute_dtype: Any,
) -> LocalJudge:
    """Load the decoder of a Hugging Face folder onto a mesh as a judge.

    Args:
      path: of the folder.
      template: whose judge prompt and answer words are used.
      mesh: of the judge.
      rows: pairs per batch.
      widths: tokens that prompts are padded to.
      patches: sizes that images would be padded to; the judge is shown none.
      compute_dtype: of parameters and forward pass.

    Raises:
      InputError: rows that cannot be split over the devices, or no such folder.
    """
    port, ways = port_of(path), row_ways(mesh)
    if rows % ways:
        raise InputError(f"judge.batch {rows}: expected a multiple of {ways} devices")
    place = lambda tree: param_shardings(tree, port.RULES, mesh)  # noqa: E731
    model, params = port.load(path, compute_dtype, place, with_vision=False)
    return LocalJudge(
        replace(model, rows=NamedSharding(mesh, BATCH)),
        params,
        port.Processor(path, port.Buckets(tuple(widths), (1,), tuple(patches))),
        template,
        rows=rows,
        compute_dtype=compute_dtype,
        put_batch=functools.partial(put_batch, mesh=mesh),
        replicated=replicated(mesh),
    )
