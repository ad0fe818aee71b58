"""Begin the verbs that compute: mistakes are reported first, a folder is claimed next, models are
loaded last."""

import contextlib
import hashlib
import os
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ml_collections import ConfigDict

from r1reward_jax import config as configs
from r1reward_jax import hub
from r1reward_jax.cli.options import config_from
from r1reward_jax.console import note, result, say, warn
from r1reward_jax.errors import InputError
from r1reward_jax.files import cache_folder

if TYPE_CHECKING:
    from r1reward_jax.data.video import Sampling
    from r1reward_jax.prompts import Template
    from r1reward_jax.train.data_report import DataReport
    from r1reward_jax.train.setup import Setup
    from r1reward_jax.types import Record

T = TypeVar("T")


class Finished(Exception):
    """A verb has done what was asked for before its run began."""


@dataclass(frozen=True)
class Start(Generic[T]):
    """What a run that trains begins with."""

    config: ConfigDict
    items: list[T]
    """Training data that is fit to be used."""
    heldout: "list[Record]"
    """Held-out records that are fit to be measured on; none where nothing is measured."""
    setup: "Setup"
    data: "DataReport"
    """What was found in the data."""


@contextlib.contextmanager
def started(
    args: Namespace,
    read: Callable[..., list[T]],
    before: Callable[[ConfigDict], Any] = lambda _: None,
) -> Iterator[Start[T]]:
    """Yield what a run begins with, after a look at all its data; the run's folder is claimed until
    the end of the block.

    Args:
      args: parsed arguments of the verb.
      read: the reader of its training data.
      before: called with the config once the data is read, before anything is claimed or loaded.

    Raises:
      InputError: a wrong config, data that cannot be read, a directory of another run; before the
        model is loaded.
      Finished: it was a dry run.
    """
    config = config_from(args, args.verb)
    use_jax()
    from r1reward_jax.build import look_at_data, make_setup
    from r1reward_jax.data.files import find_file
    from r1reward_jax.report import reported
    from r1reward_jax.runs.provenance import file_hash
    from r1reward_jax.runs.run_dir import claim_data, note_prompt, run_folder
    from r1reward_jax.train.checkpoint import space_problem

    require_devices(config, args.verb)
    own = own_prompt(config, args.verb)
    look = {
        "require_files": not config.data.skip_unreadable,
        "outside": config.data.outside,
    }
    items, records = read(config.data.train, frames(config), **look), heldout(config, args.verb)
    if args.dry_run:
        show_dry_run(config, args.verb, items, records)
        raise Finished
    before(config)
    with run_folder(config.workdir, config.to_dict(), verb=args.verb), reported(config.workdir):
        claim_data(config.workdir, file_hash(*find_file(config.data.train)), **hash_of(own))
        if own:
            note_prompt(config.workdir, own.evaluator, own.system)
        looked = look_at_data(config, args.verb, items, records, workdir=config.workdir)
        setup = make_setup(config)
        room = {"frozen": setup.step.frozen, "keep": config.checkpoint.keep}
        if problem := space_problem(config.workdir, setup.policy.params, **room):
            warn(problem)
        yield Start(config, looked.items, looked.heldout, setup, looked.report)


def own_prompt(config: ConfigDict, verb: str) -> "Template | None":
    """Return the wording with the prompt of `prompt_from`, None without one; say what is in it, and
    warn where the model was trained with another prompt than this run asks in."""
    from r1reward_jax.build import template_of
    from r1reward_jax.inference.settings import ModelSettings
    from r1reward_jax.prompt_file import described

    template = template_of(config)
    if config.prompt_from:
        say(described(template, config.prompt_from))
    settings = ModelSettings.load(hub.local(config.model.path)) if verb != "scalar-rm" else None
    if settings and (settings.wording.evaluator, settings.wording.system) != (
        template.evaluator,
        template.system,
    ):
        whose = "a prompt of its own" if settings.evaluator else f"template={settings.template}"
        here = f"prompt_from={config.prompt_from}" if config.prompt_from else config.template
        warn(f"{config.model.path} was trained with {whose}, and this run asks in {here}")
    return template if config.prompt_from else None


def hash_of(own: "Template | None") -> dict[str, str]:
    """Return what a run's folder remembers of a prompt of its own."""
    if own is None:
        return {}
    return {"prompt": hashlib.sha256(repr((own.evaluator, own.system)).encode()).hexdigest()}


def show_dry_run(
    config: ConfigDict, verb: str, items: Sequence[Any] = (), records: Sequence[Any] = ()
) -> None:
    """Print what a run would work on."""
    from r1reward_jax import dry_run

    for line in dry_run.lines(config, verb, items, records):
        result(line)


def use_jax() -> Any:
    """Import JAX, with compiled programs kept between runs."""
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", cache_folder())
    return jax


def require_devices(config: ConfigDict, verb: str) -> None:
    """Raise InputError for what does not fit the devices, or a model's heads. Models of the hub are
    fetched, and the config names their commits from here on."""
    import jax

    from r1reward_jax.models import port_of
    from r1reward_jax.models.reward_head import require_none

    heads = None
    if verb != "quickstart":
        config.model.path = hub.pinned(config.model.path)
        if verb == "rl":  # the only one of these that has a judge
            config.judge.path = hub.pinned(config.judge.path)
            if judge := config.judge.path and hub.local(config.judge.path):
                port_of(judge).Config.load(judge)  # a broken one ends here, before all is loaded
                require_none(judge, "a judge")
        path = hub.local(config.model.path)
        port = port_of(path)
        heads = port.Model(port.Config.load(path)).heads
        if verb in ("sft", "rl"):
            require_none(path, verb)
    devices, processes = len(jax.devices()), jax.process_count()
    wrong = configs.device_problems(config, verb, devices, processes, heads)
    if wrong:
        raise InputError("; ".join(wrong))


def heldout(config: ConfigDict, verb: str) -> "list[Record]":
    """Return the records of `data.heldout`; none if it is empty, or nothing is measured on it."""
    from r1reward_jax.data.preferences import read_records
    from r1reward_jax.evals.evaluate import require_labels

    path = config.data.heldout
    if not path:
        return []
    if verb == "scalar-rm" or not config.eval.records:
        why = "eval.records=0"
        if verb == "scalar-rm":
            why = "scalar-rm measures nothing while it trains"
        note(f"data.heldout={path} is not used: {why}")
        return []
    look = {
        "require_files": not config.data.skip_unreadable,
        "outside": config.data.outside,
    }
    records = read_records(path, frames(config), **look)
    require_labels(records)
    return records


def frames(config: ConfigDict) -> "Sampling":
    """Return how videos of the config's data are looked at."""
    from r1reward_jax.data.video import Sampling

    return Sampling(config.data.video_fps, config.data.video_frames)
