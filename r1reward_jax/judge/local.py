"""A judge in this process: a second model with its own params, mesh and jitted step.

There is one prefill per completion; the probability of "supports" comes from the logits at the last
position of the tokens that stand for the template's two answer words (paper, section 4.3: the
consistency reward). Where both words together have hardly any probability, there is no verdict. The
judge sees the whole analysis; the release shows it the last three lines.
"""

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Float, Int

from r1reward_jax.console import warn
from r1reward_jax.judge.words import UNCLEAR, AnswerWords, printable, share
from r1reward_jax.models import port_of
from r1reward_jax.models.reward_head import require_none
from r1reward_jax.prompts import Template, judge_prompt
from r1reward_jax.rollout.answers import word_probability
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
        min_mass: float,
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
          min_mass: least probability of both answer words together, with all their spellings, that
            is an answer.
          compute_dtype: of the forward pass.
          put_batch: puts a host batch on the judge's mesh.
          replicated: the sharding of arrays that all devices of the mesh hold, since every process
            reads the scores; None for one device.
        """
        self.params, self.processor, self.template = params, processor, template
        self.batch, self.put_batch, self.min_mass = rows, put_batch, min_mass
        self.name = getattr(processor, "folder", "a model")
        self.calls = 0
        """Batches sent to the devices so far."""
        self.failures: Counter[str] = Counter()
        """Pairs without verdict so far, by the reason."""
        self.said = ""
        """What the judge says instead of a verdict, for a message; empty while it gives one."""
        self.words = AnswerWords.of(template)
        first, second = answer_ids(processor, template, self.words)
        self._step: Any = jax.jit(
            lambda params, inputs: word_probability(
                model, params, inputs, first, second, jnp.dtype(compute_dtype)
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
            judged: dict[tuple[str, Verdict], float | None] = {}
            for part, batch in zip(parts, scores, strict=True):
                # rows behind the pairs only pad the batch
                rows = zip(*(np.asarray(x)[: len(part)].tolist() for x in batch), strict=True)
                judged |= {pair: self._read(*row) for pair, row in zip(part, rows, strict=True)}
            self.failures["too long"] += len(prompts) - len(fitting)
            return [judged.get(pair) for pair in pairs]

        return wait

    def _read(self, probability: float, both: float, likeliest: int) -> float | None:
        """Return the probability, or None and count why it is none."""
        if probability != probability or both != both:
            self.failures["not a number"] += 1
            return None
        if both >= self.min_mass:
            return probability
        self.failures[UNCLEAR] += 1
        if not self.said:
            words = self.words.both
            token = printable(self.processor.decode([likeliest]))
            self.said = f"it begins with {token!r}; {words} together have {share(both)}"
            if jax.process_index() == 0:
                warn(f"judge: no verdict, {self.said} (judge.min_mass {self.min_mass:g})")
        return None

    def score(self, pairs: Sequence[tuple[str, Verdict]]) -> list[float | None]:
        """Return the probability that the analysis supports the verdict, for each pair."""
        return self.start(pairs)()

    def programs(self) -> int:
        """Return the number of compiled programs: one for each padded width of prompts so far."""
        return self._step._cache_size()

    def _dispatch(
        self, prompts: Sequence[EncodedPrompt]
    ) -> tuple[Float[Array, " B"], Float[Array, " B"], Int[Array, " B"]]:
        """Send one batch to the devices; return what `word_probability` does, which may not be
        computed yet."""
        inputs = self.processor.collate(prompts, rows=self.batch)
        check(inputs)
        self.calls += 1
        return self._step(self.params, self.put_batch(inputs))


def answer_ids(
    processor: Processor, template: Template, words: AnswerWords
) -> tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]:
    """Return the ids of all tokens that stand for either answer word. Raises InputError for a word
    that is not one token."""
    first, second = (processor.token_id(word) for word in (template.supports, template.contradicts))
    tokenizer = processor.tokenizer
    texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))])
    ones, twos = words.token_ids(texts)
    ids = sorted({first, *ones}), sorted({second, *twos})
    return np.asarray(ids[0], np.int32), np.asarray(ids[1], np.int32)


def load_local_judge(
    path: str,
    template: Template,
    mesh: Mesh,
    *,
    rows: int,
    min_mass: float,
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
      min_mass: least probability of both answer words together that is an answer.
      widths: tokens that prompts are padded to.
      patches: sizes that images would be padded to; the judge is shown none.
      compute_dtype: of parameters and forward pass.

    Raises:
      InputError: rows that cannot be split over the devices, or no such folder.
    """
    require_none(path, "a judge")
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
        min_mass=min_mass,
        compute_dtype=compute_dtype,
        put_batch=functools.partial(put_batch, mesh=mesh),
        replicated=replicated(mesh),
    )
