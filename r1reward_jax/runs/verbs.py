"""The names of the verbs that leave runs; `run.json` of an older run has the older one."""

OLDER = {"train": "rl", "scalar": "scalar-rm", "score": "compare", "check": "parity"}
"""What the verbs were called before; the command line still understands them."""


def canonical(verb: str) -> str:
    """Return the present name of a verb."""
    return OLDER.get(verb, verb)
