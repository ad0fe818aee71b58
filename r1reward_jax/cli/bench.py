"""`r1reward bench NAME`"""

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import Any

from r1reward_jax.bench import judge, model, rollout, timing, train
from r1reward_jax.console import say

SIZES = {
    "layers": (4, "decoder layers"),
    "width": (512, "of the decoder, a multiple of 64"),
    "vocab": (32_000, "tokens of the vocabulary"),
    "rounds": (7, "timed rounds of each comparison"),
    "prompt": (512, "tokens of a row of text, or of a prompt"),
}
MODEL = SIZES | {
    "batch": (4, "rows"),
    "decode_prompt": (64, "tokens before the decoded ones"),
    "new_tokens": (64, "tokens to decode"),
}
ROLLOUT = SIZES | {
    "batch": (8, "prompts of the comparison with generate"),
    "prompt": (128, "their tokens"),
    "new_tokens": (64, "tokens of their completions"),
    "slots": (32, "rows that are decoded at a time"),
    "requests": (256, "prompts for these rows"),
    "cap": (102, "tokens of their longest completion"),
    "votes": (15, "completions that share a prompt"),
    "vote_prompt": (512, "tokens of that prompt"),
    "vote_tokens": (32, "tokens of these completions"),
}
JUDGE = SIZES | {
    "batch": (16, "pairs of a batch"),
    "pairs": (64, "pairs to judge"),
    "prompt": (64, "tokens of the longest judge prompt"),
    "requests": (64, "requests to a remote judge"),
    "latency_ms": (50, "milliseconds that its server takes for each"),
}
TRAIN = SIZES | {
    "batch": (8, "rows"),
    "completion": (64, "tokens of a completion"),
    "micro": (1, "rows of our micro-batches"),
}
BENCHES = {
    "judge": (JUDGE, "our judge in batches against single pairs and the original; remote requests"),
    "model": (MODEL, "our port against the original in transformers: same weights, same inputs"),
    "rollout": (ROLLOUT, "our sampler against generate, refills against waiting, shared prompts"),
    "train": (TRAIN, "our train step against the same step written plainly with torch"),
}


def add_arguments(parser: ArgumentParser) -> None:
    benches = parser.add_subparsers(dest="bench", required=True, metavar="NAME")
    for name, (sizes, text) in BENCHES.items():
        bench = benches.add_parser(name, help=text, description=text)
        for size, (value, meaning) in sizes.items():
            option = f"--{size.replace('_', '-')}"
            shown = f"{meaning} (default: {value})"
            bench.add_argument(option, type=int, default=value, help=shown)
        if name == "model":
            bench.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
        bench.add_argument("--out", help="JSON file for the rows and the machine")


def run(args: Namespace) -> None:
    sizes: dict[str, Any] = {name: getattr(args, name) for name in BENCHES[args.bench][0]}
    bench: Any = {"judge": judge, "model": model, "rollout": rollout, "train": train}[args.bench]
    dtype = {"dtype": args.dtype} if args.bench == "model" else {}
    settings = bench.Settings(**sizes, **dtype)  # wrong ones before the table's head
    timing.show_header("other" if args.bench in ("judge", "rollout") else "original")
    rows, more = bench.run(settings)
    if args.out:
        other = model.original_runs_on() | more
        timing.write(args.out, args.bench, asdict(settings), rows, other)
        say(f"written: {args.out}")
