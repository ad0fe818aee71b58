"""The paper's baseline: a scalar reward model with a Bradley-Terry loss, on the policy's backbone
and the same records. It reads one response at a time and writes nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ml_collections import ConfigDict

from r1reward_jax.build import Policy, policy_mesh
from r1reward_jax.data.pipeline import batches
from r1reward_jax.errors import about
from r1reward_jax.evals.evaluate import require_labels
from r1reward_jax.inference.scalar import encode_responses, pair_misfit
from r1reward_jax.models import reward_head
from r1reward_jax.prompts import response_prompt
from r1reward_jax.runs.metrics import MetricsLog
from r1reward_jax.sharding import require_rows
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.length_filter import fitting
from r1reward_jax.train.objectives import BRADLEY_TERRY
from r1reward_jax.train.supervised import fit
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
    """Padded conversations of both responses.

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
    config: ConfigDict,
    policy: Policy,
    records: Sequence[PreferenceRecord],
    *,
    log: MetricsLog,
    checkpoints: Checkpoints | None = None,
) -> Params:
    """Train a head and its backbone; continues from the last checkpoint if there is one. The head
    is that of the policy's folder, or a fresh one.

    Args:
      config: a whole config; the settings are those of `config.scalar`.
      policy: the backbone and where to start from.
      records: labelled.
      log: where metrics go.
      checkpoints: where to save and resume; None for neither.

    Returns:
      The parameters of the backbone and of the head (`models.reward_head`).

    Raises:
      InputError: a record has no label, or none is left; those that are too long are counted and
        skipped.
      DivergedError: the gradients stay non-finite.
    """
    c, processor = config.scalar, policy.processor
    require_rows(policy_mesh(config), {"scalar.batch": c.batch})
    records = fitting(
        records,
        lambda record: pair_misfit(record, processor, c.max_response_tokens),
        lambda record: f"record {record.id}",
        phase="scalar",
        workdir=config.workdir,
        threads=config.data.threads,
    )
    require_labels(records)
    if reward_head.has_head(policy.path):
        params = reward_head.load_head(policy.path, policy.model, policy.params)
    else:
        params = reward_head.init_head(policy.model, policy.params, seed=config.seed)

    def data(first: int) -> Iterator[PairBatch]:
        return batches(
            records,
            size=c.batch,
            seed=config.seed,
            first=first,
            encode=lambda record: encode_pair(record, processor, c.max_response_tokens),
            collate=lambda rows: make_pair_batch(rows, processor, capacity=c.max_response_tokens),
            threads=config.data.threads,
        )

    return fit(
        config,
        replace(policy, params=params, rules=(*reward_head.RULES, *policy.rules)),
        BRADLEY_TERRY,
        data,
        phase="scalar",
        steps=c.steps,
        lr=c.lr,
        columns=COLUMNS,
        log=log,
        checkpoints=checkpoints,
    )
