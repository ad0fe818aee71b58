"""Whether the numbers of the parts add up to those of the whole; checked at every evaluation."""

from collections.abc import Iterator, Mapping

from r1reward_jax.evals.results import Decision, Slice


class SumError(AssertionError):
    """Parts of an evaluation do not add up to the whole: a mistake of this program, not of its
    user."""


def require_sums(name: str, whole: Slice, parts: Mapping[str, Slice]) -> None:
    """Raise SumError unless each count of a slice is the sum of its parts' counts.

    Args:
      name: of the whole.
      whole: a group, or all pairs.
      parts: slices that are to have each of its pairs once; nothing is checked without any.
    """
    if not parts:
        return
    totals = dict(_counts(whole))
    sums = dict.fromkeys(totals, 0.0)
    for part in parts.values():
        for what, count in _counts(part):
            sums[what] = sums.get(what, 0.0) + count
    wrong = [f"{w}: {totals.get(w)} and {sums[w]}" for w in sums if sums[w] != totals.get(w)]
    if wrong:
        raise SumError(
            f"{name} and the sum of {', '.join(parts)} differ in {'; '.join(wrong[:5])}; please "
            "report this; the judgements are kept, and no number was written"
        )


def _counts(part: Slice) -> Iterator[tuple[str, float]]:
    """Yield all counts of a slice that are sums over its pairs."""
    yield "pairs", part.pairs
    yield "skipped", part.skipped.count
    yield "stopped", part.stopped
    yield "unparsable votes", part.unparsable_votes.count
    yield "votes", part.unparsable_votes.of
    yield from ((f"tokens {name}", count) for name, count in vars(part.tokens).items())
    yield from _of_decision("greedy", part.greedy)
    for k, decision in part.votes.items():
        yield from _of_decision(f"voting@{k}", decision)
    for k, passed in part.pass_at_k.items():
        yield f"pass@{k}", passed.right


def _of_decision(kind: str, decision: Decision) -> Iterator[tuple[str, float]]:
    for name, number in vars(decision).items():
        if number is not None:
            for count in ("right", "count", "of"):
                if hasattr(number, count):
                    yield f"{kind} {name} {count}", getattr(number, count)
