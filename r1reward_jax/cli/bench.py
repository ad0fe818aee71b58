"""`r1reward bench NAME`"""

from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import Any

from r1reward_jax import hub
from r1reward_jax.cli import options
from r1reward_jax.cli.start import use_jax
from r1reward_jax.config import DTYPES, require_model
from r1reward_jax.console import result
from r1reward_jax.errors import about
from r1reward_jax.places import require

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
RANK = {
    "scenes": (64, "held-out scenes of the embedded world"),
    "fewest": (4, "responses to a question"),
    "most": (8, "responses to a question, in a last round; all numbers between are measured too"),
    "seed": (0, "of the world; that of the model's own run gives the questions it has not seen"),
    "batch": (16, "pairs that are judged at a time"),
}
TRAIN = SIZES | {
    "batch": (8, "rows"),
    "completion": (64, "tokens of a completion"),
    "micro": (1, "rows of our micro-batches"),
}
BENCHES = {
    "judge": (JUDGE, "our judge in batches against single pairs and the original; remote requests"),
    "model": (MODEL, "our port against the original in transformers: same weights, same inputs"),
    "rank": (RANK, "a model's best of N: merge sort against all pairs, and both against the truth"),
    "rollout": (ROLLOUT, "our sampler against generate, refills against waiting, shared prompts"),
    "train": (TRAIN, "our train step against the same step written plainly with torch"),
}

OTHERS = {"judge": "other", "rank": "robin", "rollout": "other"}
"""What a table calls the other contestant, where it is not the original."""


def add_arguments(parser: ArgumentParser) -> None:
    benches = parser.add_subparsers(dest="bench", required=True, metavar="NAME")
    for name, (sizes, text) in BENCHES.items():
        bench = benches.add_parser(name, help=text, description=text)
        for size, (value, meaning) in sizes.items():
            option = f"--{size.replace('_', '-')}"
            shown = f"{meaning} (default: {value})"
            bench.add_argument(option, type=int, default=value, help=shown)
        if name == "model":
            bench.add_argument("--dtype", default="float32", choices=DTYPES[:2])
        if name == "rank":
            bench.add_argument("--model", required=True, metavar="MODEL", help=options.MODEL)
        bench.add_argument("--out", help="JSON file for the rows and the machine")


def run(args: Namespace) -> None:
    if hasattr(args, "model"):
        require_model("--model", args.model)
    if args.out:
        with about("--out"):
            args.out = require(args.out, "new file")
    use_jax()
    from r1reward_jax.bench import judge, model, rank, rollout, timing, train

    sizes: dict[str, Any] = {name: getattr(args, name) for name in BENCHES[args.bench][0]}
    benches = {"judge": judge, "model": model, "rank": rank, "rollout": rollout, "train": train}
    bench: Any = benches[args.bench]
    more = {n: getattr(args, n) for n in ("dtype", "model") if hasattr(args, n)}
    if "model" in more:
        more["model"] = hub.local(more["model"])
    settings = bench.Settings(**sizes, **more)  # wrong ones before the table's head
    timing.show_header(OTHERS.get(args.bench, "original"))
    rows, found = bench.run(settings)
    if args.out:
        other = found if args.bench == "rank" else model.original_runs_on() | found
        timing.write(args.out, args.bench, asdict(settings), rows, other)
        result(f"written: {args.out}")
