"""`r1reward help VERB`."""

from argparse import ArgumentParser, Namespace

from r1reward_jax.errors import InputError


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("about", nargs="?", metavar="VERB", help="default: all verbs")


def run(args: Namespace) -> None:
    from r1reward_jax.cli import main  # which imports this file by its name

    if args.about is None:
        main.whole_parser().print_help()
        return
    verb = main.canonical(args.about)
    if verb not in main.VERBS:
        raise InputError(f"there is no verb {args.about!r}; {main.near(args.about, main.VERBS)}")
    parser = main.Parser(prog=f"r1reward {verb}")
    main.fill(parser, verb)
    parser.print_help()
