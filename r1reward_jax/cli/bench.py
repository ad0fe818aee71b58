"""`r1reward bench NAME`"""

from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from r1reward_jax.bench import model, timing
from r1reward_jax.train.metrics import say

DEFAULTS = {
    "layers": (4, "decoder layers"),
    "width": (512, "of the decoder, a multiple of 64"),
    "vocab": (32_000, "tokens of the vocabulary"),
    "batch": (4, "rows"),
    "prompt": (512, "tokens of a row of text"),
    "decode_prompt": (64, "tokens before the decoded ones"),
    "new_tokens": (64, "tokens to decode"),
    "rounds": (7, "timed rounds of each comparison"),
}


def add_arguments(parser: ArgumentParser) -> None:
    benches = parser.add_subparsers(dest="bench", required=True, metavar="NAME")
    text = "our port against the original in transformers: same weights, same inputs"
    bench = benches.add_parser("model", help=text, description=text)
    for name, (value, meaning) in DEFAULTS.items():
        option = f"--{name.replace('_', '-')}"
        bench.add_argument(option, type=int, default=value, help=f"{meaning} (default: {value})")
    bench.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    bench.add_argument("--out", help="JSON file for the rows and the machine")


def run(args: Namespace) -> None:
    settings = model.Settings(dtype=args.dtype, **{name: getattr(args, name) for name in DEFAULTS})
    timing.show_header("original")
    rows = model.run(settings)
    if args.out:
        timing.write(args.out, "model", asdict(settings), rows, model.original_runs_on())
        say(f"written: {args.out}")
