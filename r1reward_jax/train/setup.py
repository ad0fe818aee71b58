"""What a run is made of, as plain arguments; `build.make_setup` makes it once."""

from dataclasses import dataclass, replace
from typing import Any

import jax
from jax.sharding import Mesh

from r1reward_jax.files import sync_folder
from r1reward_jax.inference.settings import ModelSettings, write_settings
from r1reward_jax.models import port_of, reward_head
from r1reward_jax.prompts import Template
from r1reward_jax.train.objectives import StepConfig
from r1reward_jax.train.optimizer import OptimizerConfig
from r1reward_jax.types import LanguageModel, Params, Processor


@dataclass(frozen=True)
class Policy:
    """Hold a loaded model with everything that belongs to it."""

    model: LanguageModel
    params: Params
    processor: Processor
    rules: Any
    """(pattern, PartitionSpec) of its parameters, in order."""
    path: str
    settings: ModelSettings | None = None
    """How the model is asked; an export says so."""

    def save(self, folder: str, params: Params) -> None:
        """Write `params` as a Hugging Face folder, with this policy's tokenizer and settings, and
        the reward head if the parameters have one."""
        export(folder, self.model, params, like=self.path, settings=self.settings)


@dataclass(frozen=True)
class Setup:
    """Hold the meshes, the policy and the step settings of one run."""

    policy: Policy
    mesh: Mesh
    """Of the policy while it is trained."""
    rollout_mesh: Mesh
    """Of the policy while it samples: the same devices, perhaps in another shape."""
    judge_mesh: Mesh | None
    """Of a judge that runs here; None without one."""
    step: StepConfig
    optimizer: OptimizerConfig
    template: Template
    """Wording of the prompts."""
    seed: int
    """Of weights, order of data and samples."""
    workdir: str
    threads: int
    """Threads that decode images and tokenise."""
    profile_step: int
    """Update or iteration that the profiler traces; 0: none."""

    def starting_from(self, params: Params) -> "Setup":
        """Return this setup with other parameters to start from."""
        return replace(self, policy=replace(self.policy, params=params))


def export(
    folder: str,
    model: LanguageModel,
    params: Params,
    *,
    like: str,
    dtype: Any = None,
    settings: ModelSettings | None,
) -> None:
    """Write a Hugging Face folder, with the model's settings and, if the parameters have one, its
    reward head.

    Args:
      folder: made if needed.
      model: of the parameters.
      params: on any mesh.
      like: folder of the model that they come from.
      dtype: of the weights; None keeps theirs.
      settings: of the run; None where they are not known.
    """
    backbone = reward_head.without_head(params)
    scalar = backbone.keys() != params.keys()
    about = reward_head.ABOUT if scalar else None
    port_of(like).save(folder, model, backbone, like=like, dtype=dtype, about=about)
    if scalar:
        reward_head.save_head(folder, params)
    write_settings(folder, settings, like=like)
    if jax.process_index() == 0:
        sync_folder(folder)
