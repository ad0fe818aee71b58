"""The paper's baseline: a scalar reward model with a Bradley-Terry loss, on the policy's backbone
and the same records. It reads one response at a time and writes nothing. The head is linear, or has
two layers as that of the paper's Table 6."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from r1reward_jax.console import warn
from r1reward_jax.data.pipeline import batches
from r1reward_jax.errors import about
from r1reward_jax.evals.evaluate import require_labels
from r1reward_jax.inference.scalar import encode_responses
from r1reward_jax.models import reward_head
from r1reward_jax.prompts import response_prompt
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.sharding import require_rows
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.objectives import BRADLEY_TERRY
from r1reward_jax.train.setup import Setup
from r1reward_jax.train.supervised import PhaseConfig, fit
from r1reward_jax.types import (
    EncodedPrompt,
    PairBatch,
    Params,
    PreferenceRecord,
    Processor,
    batch_rows,
)

COLUMNS = ("loss/total", "scalar/accuracy", "scalar/margin", "loss/grad_norm", "time/step_s")
Pair = tuple[EncodedPrompt, list[int], list[int]]
"""A question, the preferred response and the other one, tokenised."""


def encode_pair(record: PreferenceRecord, processor: Processor, capacity: int) -> Pair:
    """Tokenise a labelled record. Raises InputError for a response that is too long."""
    better = 0 if record.preferred == 1 else 1
    ids = encode_responses(record, processor, capacity)
    with about(f"record {record.id}"):
        return processor.encode(response_prompt(record)), ids[better], ids[1 - better]


def make_pair_batch(pairs: Sequence[Pair], processor: Processor, *, capacity: int) -> PairBatch:
    """Return the padded conversations of both responses.

    Args:
      pairs: encoded pairs.
      processor: pads and collates.
      capacity: room for a response, in tokens.

    Raises:
      InputError: a prompt or a response is too long.
    """
    both = processor.collate(
        [prompt for prompt, _, _ in pairs for _ in range(2)],
        [ids for _, *two in pairs for ids in two],
        completion_capacity=capacity,
    )
    return PairBatch(batch_rows(both, slice(0, None, 2)), batch_rows(both, slice(1, None, 2)))


def train_scalar(
    setup: Setup,
    config: PhaseConfig,
    records: Sequence[PreferenceRecord],
    *,
    head: str,
    log: MetricsLog,
    checkpoints: Checkpoints | None = None,
) -> Params:
    """Train a head and its backbone; resumes from the newest checkpoint if there is one. The head
    is that of the policy's folder, or a fresh one.

    Args:
      setup: its policy is the backbone to start from.
      config: of the phase.
      records: labelled, and short enough (`train.preflight`).
      head: linear or mlp, of a fresh head (`models.reward_head`); that of a folder keeps its kind.
      log: where metrics are written.
      checkpoints: where to save and resume; None for neither.

    Returns:
      The parameters of the backbone and of the head (`models.reward_head`).

    Raises:
      InputError: a record has no label or is too long, or there are no records.
      DivergedError: the gradients stay non-finite.
    """
    policy, capacity = setup.policy, config.max_tokens
    processor = policy.processor
    require_rows(setup.mesh, {"scalar.batch": config.batch})
    require_labels(records)
    if reward_head.has_head(policy.path):
        params = reward_head.load_head(policy.path, policy.model, policy.params)
        if (kind := reward_head.kind_of(params)) != head:
            warn(f"scalar.head={head}: the head of {policy.path} is {kind}, and goes on as such")
    else:
        params = reward_head.init_head(policy.model, policy.params, seed=setup.seed, kind=head)

    def data(first: int) -> Iterator[PairBatch]:
        return batches(
            records,
            size=config.batch,
            seed=setup.seed,
            first=first,
            encode=lambda record: encode_pair(record, processor, capacity),
            collate=lambda rows: make_pair_batch(rows, processor, capacity=capacity),
            threads=setup.threads,
        )

    policy = replace(policy, params=params, rules=(*reward_head.RULES, *policy.rules))
    return fit(
        replace(setup, policy=policy),
        config,
        BRADLEY_TERRY,
        data,
        phase="scalar",
        columns=COLUMNS,
        log=log,
        checkpoints=checkpoints,
    )
