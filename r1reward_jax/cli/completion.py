"""`r1reward completion SHELL`: a script that completes verbs and options."""

from argparse import ArgumentParser, Namespace

from r1reward_jax.console import result

SHELLS = ("bash", "zsh", "tcsh")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "shell", choices=SHELLS, help='for bash: eval "$(r1reward completion bash)"'
    )


def run(args: Namespace) -> None:
    import shtab

    from r1reward_jax.cli.main import whole_parser  # which imports this file by its name

    result(shtab.complete(whole_parser(), args.shell))
