"""`r1reward evaluate`: a reward model on a benchmark, in both answer orders."""

from argparse import ArgumentParser, Namespace

from r1reward_jax import config as configs
from r1reward_jax.cli import options
from r1reward_jax.cli.start import require_devices, show_dry_run, use_jax
from r1reward_jax.errors import InputError

KNOBS = {
    "model.path": ("--model", "MODEL", options.MODEL),
    "eval.benchmark": (
        "--benchmark",
        "NAME|FILE",
        f"{', '.join(configs.BENCHMARKS)}, or a .json, .jsonl or .parquet file of records",
    ),
    "eval.data": ("--data", "DIR", "where the benchmark's files are (default: that of the FILE)"),
    "prompt_from": options.PROMPT_FROM,
    "eval.generation": (
        "--generation",
        "MODE",
        "auto, checkpoint (repetition penalty of its generation_config.json, length of the "
        "release), or config; auto: checkpoint for a model that was trained elsewhere",
    ),
    "eval.response_format": (
        "--response-format",
        "NAME|REGEX",
        f"{', '.join(configs.RESPONSE_FORMATS)}, or an expression with the group ([12]) or ([AB])",
    ),
}
PRECEDENCE = """\
what counts, from the last word to the first: the command line; the file given as --config, where it
sets a value; the model's r1reward.json, or its generation_config.json; this machine (float32 on a
CPU); the config eval"""


def add_arguments(parser: ArgumentParser) -> None:
    for path, (option, metavar, text) in KNOBS.items():
        options.add_knob(parser, path, metavar, text, option=option)
    parser.add_argument("--limit", type=int, metavar="N", help="judge the first N records only")
    options.add_config(parser, default="eval", logs=False)
    parser.epilog = f"{PRECEDENCE}\n\n{parser.epilog}"


def run(args: Namespace) -> None:
    config = options.config_from(args, args.verb)
    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit {args.limit}: expected at least 1")
    use_jax()
    require_devices(config, args.verb)
    from r1reward_jax import evaluation, evaluation_settings

    said = set(options.assigned(args))
    if args.config != args.default_config:
        said |= configs.explicit(args.config, config)
    more = {
        path: v for path, v in evaluation_settings.suggested(config).items() if path not in said
    }
    configs.override(config, [f"{path}={value}" for path, value in more.items()])
    config.workdir = config.workdir or evaluation.folder_of(config, args.limit)
    if args.dry_run:
        show_dry_run(config, args.verb, evaluation.checked_records(config, args.limit))
        return
    evaluation.run(config, args.limit)
