"""`r1reward compare`: which of two responses is better, in both orders."""

import json
from argparse import ArgumentParser, Namespace

from r1reward_jax.cli.options import MODEL
from r1reward_jax.cli.start import use_jax
from r1reward_jax.config import CHOICES, require_model
from r1reward_jax.console import result
from r1reward_jax.errors import InputError, about
from r1reward_jax.places import require
from r1reward_jax.reading import MB, read_file

LARGEST = 16 * MB
"""Bytes of a file with a text: far more than a prompt can have."""


def add_arguments(parser: ArgumentParser) -> None:
    text = "; @FILE reads a file, @@… is a text that begins with @"
    parser.add_argument("--model", required=True, metavar="MODEL", help=MODEL)
    parser.add_argument("--question", required=True, metavar="TEXT", help=f"the question{text}")
    parser.add_argument(
        "--a", required=True, metavar="TEXT", help="a response, given in the same way"
    )
    parser.add_argument("--b", required=True, metavar="TEXT", help="the other one")
    parser.add_argument(
        "--image",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="what is asked about",
    )
    parser.add_argument(
        "--template",
        choices=CHOICES["template"],
        help="wording of the prompts (default: the model's own)",
    )
    parser.add_argument(
        "--max-new-tokens", type=int, metavar="N", help="longest text (default: the model's own)"
    )
    parser.add_argument(
        "--max-prompt-tokens", type=int, metavar="N", help="longest prompt, images included"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: Namespace) -> None:
    # mistakes are reported before a large model is loaded
    question, a, b = (_text(given) for given in (args.question, args.a, args.b))
    require_model("--model", args.model)
    use_jax()
    from r1reward_jax.reward_model import RewardModel, read_images

    images = read_images(args.image)
    model = RewardModel.from_pretrained(
        args.model,
        template=args.template,
        max_new_tokens=args.max_new_tokens,
        max_prompt_tokens=args.max_prompt_tokens,
    )
    found = model.compare(question, images, a, b)
    result(json.dumps(found.to_json()) if args.json else str(found))


def _text(given: str) -> str:
    """The text itself, or that of the file behind an @."""
    if not given.startswith("@") or given.startswith("@@"):
        return given[given.startswith("@") :]
    with about("a text file behind the @"):
        path = require(given[1:], "file")
    data = read_file(path, most=LARGEST, expected="a text file behind the @")
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"@{path}: {error}; expected a text file in UTF-8") from None
