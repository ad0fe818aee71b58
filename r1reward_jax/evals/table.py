"""The numbers of an evaluation as lines for a terminal."""

from collections.abc import Callable, Iterator

from r1reward_jax.evals.formats import aligned, counts, interval, shortened, three, wrapped
from r1reward_jax.evals.results import ByConvention, Calibration, Decision, Slice, Summary

WIDTH = 100
_ABOUT = {
    "left_out": "left out",
    "coin": "half a point",
    "wrong": "wrong, as release",
}


def table(summary: Summary) -> list[str]:
    """Return the numbers to look at first, in lines of at most 100 columns."""
    return [line[:WIDTH].rstrip() for line in _lines(summary)]


def _lines(summary: Summary) -> Iterator[str]:
    overall, sizes = summary.overall, summary.sizes
    yield f"{summary.benchmark or 'evaluation'}: {_pairs(overall)} in both orders" + (
        f", {sizes[-1]} votes each" if sizes else ""
    )
    yield f"unparsable verdicts and ties: release wrong; official {_ABOUT[summary.convention]}"
    macro = summary.macro
    yield from _decisions(summary, "greedy", lambda part: part.greedy, macro and macro.greedy)
    if sizes:
        most = sizes[-1]
        mean = macro and macro.votes[most]
        yield from _decisions(summary, f"voting@{most}", lambda part: part.votes[most], mean)
    yield from _vote_curve(overall)
    yield from _acc_plus(overall)
    yield from _stopping(overall)
    yield from _calibration(summary.calibration)
    yield from _rest(overall)
    notes = [*summary.notes, *summary.calibration.notes]
    if notes:
        yield ""
    for note in notes:
        yield from wrapped(f"note: {note}")


def _pairs(part: Slice) -> str:
    of = f" of {part.expected:,}" if part.expected not in (None, part.pairs) else ""
    return f"{part.pairs:,}{of} pairs"


def _decisions(
    summary: Summary, kind: str, of: Callable[[Slice], Decision], mean: ByConvention | None
) -> Iterator[str]:
    """Yield a line per group, then one for all of them, then their mean."""
    heads = ("pairs", "release", "95 %", "official", "right/judged", "strict", "flips", "says 1")
    rows = [[kind, *heads]]
    for name, part in [*summary.groups.items(), ("overall", summary.overall)]:
        d = of(part)
        scores = [three(d.release), interval(d.release), three(d.official), counts(d.official)]
        bias = [three(d.strict), three(d.flips), three(d.says_1)]
        rows.append([shortened(name), f"{part.pairs:,}", *scores, *bias])
    if mean:
        scores = [three(mean.release), interval(mean.release), three(mean.official)]
        rows.append(["mean over groups", "", *scores, "", "", "", ""])
    yield ""
    yield from aligned(rows)


def _vote_curve(part: Slice) -> Iterator[str]:
    votes, any_correct = part.votes, part.any_correct
    if not votes or not any_correct:
        return
    yield ""
    yield from aligned(
        [
            ["votes", *map(str, votes)],
            ["accuracy, release", *(three(d.release) for d in votes.values())],
            ["accuracy, official", *(three(d.official) for d in votes.values())],
            ["ties", *(f"{d.ties.count:,}" for d in votes.values())],
            ["any correct", *(three(a) for a in any_correct.values())],
            ["any correct, by chance", *(f"{a.chance:.3f}" for a in any_correct.values())],
        ]
    )
    rows = [[f"all {list(votes)[-1]} votes", "release", "95 %", "right", "official"]]
    for name, scores in _all_votes(part).items():
        release = scores.release
        rows.append(
            [name, three(release), interval(release), counts(release), three(scores.official)]
        )
    yield ""
    yield from aligned(rows)


def _all_votes(part: Slice) -> dict[str, Decision | ByConvention]:
    """Return what can be made of all votes: scores of judgements, and then of pairs; empty where
    sampling was stopped early."""
    if not part.both_orders:
        return {}
    scores = {
        "majority": list(part.votes.values())[-1],
        "weighted by probability": part.weighted,
        "majority, both orders": part.both_orders.votes,
        "weighted, both orders": part.both_orders.weighted,
    }
    return {name: each for name, each in scores.items() if each}


def _acc_plus(part: Slice) -> Iterator[str]:
    if not part.units:
        return
    rows = [["units all right (Acc+)", "stored", "95 %", "right", "swapped", "mean"]]
    kinds = [("greedy", part.units.greedy)]
    kinds += [(f"voting@{k}", units) for k, units in part.units.votes.items()][-1:]
    for name, units in kinds:
        stored = [three(units.stored), interval(units.stored), counts(units.stored)]
        rows.append([name, *stored, three(units.swapped), three(units.mean)])
    yield ""
    yield from aligned(rows)


def _stopping(part: Slice) -> Iterator[str]:
    if not part.stopping:
        return
    rows = [["stopping early", "votes saved", "tokens saved", "verdicts changed", "release"]]
    for name, rule in part.stopping.items():
        saved = [three(rule.votes_saved), three(rule.tokens_saved)]
        rows.append([name, *saved, f"{rule.changed.count:,}", three(rule.release)])
    yield ""
    yield from aligned(rows)


def _calibration(calibration: Calibration) -> Iterator[str]:
    if not calibration.sources:
        return
    rows = [["probability from", "ECE", "95 %", "Brier", "AURC", "items"]]
    for name, source in calibration.sources.items():
        kinds = {"single orders": source.single, "averaged": source.averaged}
        for kind, f in kinds.items():
            if f.ece and f.brier:  # there are items
                values = [three(f.ece), interval(f.ece), three(f.brier), f"{f.aurc:.3f}"]
                rows.append([f"{name.replace('_', ' ')}, {kind}", *values, f"{f.items:,}"])
    yield ""
    yield from aligned(rows)


def _rest(part: Slice) -> Iterator[str]:
    """Yield length, format and tokens, where there are texts."""
    if part.format is None or part.truncated is None:
        return
    yield ""
    means = {"greedy": part.length.greedy, "votes": part.length.votes}
    lengths = [f"{k} {m.value:,.1f} {interval(m, '.1f')}" for k, m in means.items() if m]
    yield from wrapped(f"tokens of a response: {', '.join(lengths)}")
    yield from wrapped(
        f"well-formed {three(part.format)}, truncated at the limit {three(part.truncated)}, "
        f"unparsable {three(part.greedy.unparsable)}"
        + (f" (votes {three(part.unparsable_votes)})" if part.unparsable_votes.of else "")
    )
    used = [f"{name} {count:,}" for name, count in vars(part.tokens).items() if count]
    yield from wrapped(f"tokens in all: {', '.join(used)}")
