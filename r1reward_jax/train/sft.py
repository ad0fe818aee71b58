"""The cold start: imitation of written analyses, on completion tokens only (paper, section 4.1).

The same loop trains the tiny judge of the quickstart, whose completions are one word.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from r1reward_jax.data.pipeline import batches
from r1reward_jax.data.preferences import Annotation
from r1reward_jax.prompts import TEMPLATES
from r1reward_jax.train.batches import (
    Example,
    cold_start_example,
    encode_example,
    example_misfit,
    make_train_batch,
)
from r1reward_jax.train.build import Policy, make_checkpoints, policy_mesh
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.fit import fit
from r1reward_jax.train.fitting import fitting
from r1reward_jax.train.mesh import require_rows
from r1reward_jax.train.metrics import MetricsLog
from r1reward_jax.train.objectives import NLL
from r1reward_jax.types import InputError, Params, TrainBatch

COLUMNS = ("loss/total", "loss/entropy", "loss/grad_norm", "time/step_s")


def cold_start(
    config: ConfigDict,
    policy: Policy,
    annotations: Sequence[Annotation],
    *,
    phase: str,
    log: MetricsLog,
    evaluate: Callable[[Params], dict[str, float]] | None = None,
    **changed: Any,
) -> Params:
    """`run_sft` on a teacher's analyses with the settings of `config.sft`, or `changed` ones. Those
    that are too long are counted and skipped (`train.fitting`)."""
    c, template = config.sft, TEMPLATES[config.template]
    settings = {"steps": c.steps, "batch": c.batch, "lr": c.lr} | changed
    require_rows(policy_mesh(config), {"sft.batch": settings["batch"]})
    examples = [cold_start_example(a, template) for a in annotations]
    with make_checkpoints(config, phase) as checkpoints:
        if checkpoints.newest() != settings["steps"]:  # else there is nothing left to do
            examples = fitting(
                examples,
                lambda example: example_misfit(example, policy.processor, c.max_completion_tokens),
                lambda example: example.name,
                phase=phase,
                workdir=config.workdir,
                threads=config.data.threads,
            )
        return run_sft(
            config,
            policy,
            examples,
            phase=phase,
            capacity=c.max_completion_tokens,
            log=log,
            checkpoints=checkpoints,
            evaluate=evaluate,
            **settings,
        )


def run_sft(
    config: ConfigDict,
    policy: Policy,
    examples: Sequence[Example],
    *,
    phase: str,
    steps: int,
    batch: int,
    lr: float,
    capacity: int,
    log: MetricsLog,
    checkpoints: Checkpoints | None = None,
    evaluate: Callable[[Params], dict[str, float]] | None = None,
) -> Params:
    """Train on examples; continues from the last checkpoint if there is one.

    Args:
      config: its optimizer, step, mesh, data and seed parts are read.
      policy: the model and where to start from.
      examples: prompts and completions.
      phase: name in the metrics.
      steps: updates in all.
      batch: examples per update.
      lr: peak learning rate.
      capacity: longest completion in tokens.
      log: where metrics go.
      checkpoints: where to save and resume; None for neither.
      evaluate: metrics of parameters, measured with every save (`fit`).

    Returns:
      The trained parameters.

    Raises:
      InputError: there are no examples, or one does not fit its bucket.
      DivergedError: the gradients stay non-finite.
    """
    if not examples:
        raise InputError(f"{phase}: no examples to train on; is the file empty?")

    def data(first: int) -> Iterator[TrainBatch]:
        return _batches(config, policy.processor, examples, batch, first, capacity)

    return fit(
        config,
        policy,
        NLL,
        data,
        phase=phase,
        steps=steps,
        lr=lr,
        columns=COLUMNS,
        log=log,
        checkpoints=checkpoints,
        evaluate=evaluate,
    )


def _batches(
    config: ConfigDict,
    processor: Any,
    examples: Sequence[Example],
    size: int,
    first: int,
    capacity: int,
) -> Iterator[TrainBatch]:
    """Shuffled batches from the `first` on, encoded and padded."""
    return batches(
        examples,
        size=size,
        seed=config.seed,
        first=first,
        encode=lambda e: encode_example(e, processor),
        collate=lambda rows: make_train_batch(
            [prompt for prompt, _ in rows],
            [completion for _, completion in rows],
            processor,
            capacity=capacity,
        ),
        threads=config.data.threads,
    )
