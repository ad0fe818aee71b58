"""The numbers of an evaluation as lines for a terminal."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from r1reward_jax.evals.formats import aligned, counts, interval, shortened, three, wrapped
from r1reward_jax.evals.results import ByConvention, Calibration, Decision, Slice, Summary

WIDTH = 100
_ABOUT = {
    "left_out": "official left out, and votes need more than half of all k",
    "coin": "official half a point",
    "wrong": "official wrong, too",
    "none": "none is official",
}


def table(summary: Summary) -> list[str]:
    """Return the numbers to look at first, in lines of at most 100 columns."""
    return [line[:WIDTH].rstrip() for line in _lines(summary)]


def _lines(summary: Summary) -> Iterator[str]:
    overall, sizes = summary.overall, summary.sizes
    yield f"{summary.benchmark or 'evaluation'}: {_pairs(overall)} in both orders" + (
        f", {sizes[-1]} votes each" if sizes else ""
    )
    yield (
        "unparsable verdicts and ties: accuracy wrong, readable left out; "
        f"{_ABOUT[summary.convention]}"
    )
    yield from _settings(summary.settings)
    macro = summary.macro
    yield from _decisions(summary, "greedy", lambda part: part.greedy, macro and macro.greedy)
    yield from _released(overall)
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


def _settings(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield how the model was asked and read; nothing where that is not known."""
    s = settings
    if not s:
        return
    pixels = f"images of {s['min_pixels']:,} to {s['max_pixels']:,} pixels"
    exact = "exactly" if s["video_frames_exact"] else "at most"
    frames = f"videos of {exact} {s['video_frames']} frames at {s['video_fps']:g} a second"
    room = f"prompts of at most {s['max_prompt_tokens']:,} tokens and {s['max_images']} images"
    asked = [] if s["template"] is None else [f"prompt from {s['prompt_from'] or s['template']}"]
    yield from wrapped(f"asked: {', '.join([*asked, pixels, frames, room, s['compute_dtype']])}")
    if s["template"] is None:
        return
    votes = f", {s['votes']} votes at temperature {s['temperature']:g}" if s["votes"] else ""
    votes += f", top_p {s['top_p']:g}, top_k {s['top_k']}" if s["votes"] else ""
    yield from wrapped(
        f"sampled: greedy{votes}, repetition penalty {s['repetition_penalty']:g}, at most "
        f"{s['max_new_tokens']:,} tokens, seed {s['seed']}; read by {s['response_format']}"
    )
    yield from wrapped(s["generation"]["told"])


def _pairs(part: Slice) -> str:
    of = f" of {part.expected:,}" if part.expected not in (None, part.pairs) else ""
    return f"{part.pairs:,}{of} pairs"


def _decisions(
    summary: Summary, kind: str, of: Callable[[Slice], Decision], mean: ByConvention | None
) -> Iterator[str]:
    """Yield a line per group and per part of one, then one for all of them, then their mean. What
    is official stands there if there is such a number, else what is readable."""
    official = of(summary.overall).official is not None
    second = "official" if official else "readable"
    heads = ("pairs", "accuracy", "95 %", second, "right/of", "strict", "flip rate", "says 1")
    rows = [[kind, *heads]]
    for name, part in [*_with_parts(summary), ("overall", summary.overall)]:
        d = of(part)
        other = d.official if official and d.official else d.readable
        scores = [three(d.accuracy), interval(d.accuracy), three(other), counts(other)]
        bias = [three(d.strict), three(d.flip_rate), three(d.says_1)]
        rows.append([shortened(name), f"{part.pairs:,}", *scores, *bias])
    if mean:
        other = mean.official if official else mean.readable
        scores = [three(mean.accuracy), interval(mean.accuracy), three(other) if other else "–"]
        rows.append(["mean over groups", "", *scores, "", "", "", ""])
    yield ""
    yield from aligned(rows)


def _with_parts(summary: Summary) -> Iterator[tuple[str, Slice]]:
    """Yield each group, and behind it its parts."""
    for name, part in summary.groups.items():
        yield name, part
        for sub, each in summary.subgroups.items():
            if sub.startswith(f"{name}/"):
                yield sub, each


def _released(part: Slice) -> Iterator[str]:
    if not part.released:
        return
    rows = [["read as R1-Reward's release reads", "accuracy", "95 %", "right"]]
    found = {"preferred first, its only order": part.released.preferred_first}
    found |= {"both orders": part.released.both_orders}
    rows += [[name, three(s), interval(s), counts(s)] for name, s in found.items()]
    yield ""
    yield from aligned(rows)


def _vote_curve(part: Slice) -> Iterator[str]:
    votes, passed = part.votes, part.pass_at_k
    if not votes or not passed:
        return
    rows = [
        ["votes (k)", *map(str, votes)],
        ["accuracy", *(three(d.accuracy) for d in votes.values())],
        ["readable", *(three(d.readable) for d in votes.values())],
        ["official", *(three(d.official) for d in votes.values() if d.official)],
        ["ties", *(f"{d.ties.count:,}" for d in votes.values())],
        ["pass@k", *(three(a) for a in passed.values())],
        ["pass@k, by chance", *(f"{a.chance:.3f}" for a in passed.values())],
    ]
    yield ""
    yield from aligned([row for row in rows if len(row) > 1])
    rows = [[f"all {list(votes)[-1]} votes", "accuracy", "95 %", "right", "readable"]]
    for name, scores in _all_votes(part).items():
        right = scores.accuracy
        rows.append([name, three(right), interval(right), counts(right), three(scores.readable)])
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
    rows = [["stopping early", "votes saved", "tokens saved", "verdicts changed", "accuracy"]]
    for name, rule in part.stopping.items():
        saved = [three(rule.votes_saved), three(rule.tokens_saved)]
        rows.append([name, *saved, f"{rule.changed.count:,}", three(rule.accuracy)])
    yield ""
    yield from aligned(rows)


def _calibration(calibration: Calibration) -> Iterator[str]:
    if not calibration.sources:
        return
    rows = [["calibration, from", "ECE", "95 %", "Brier", "AURC", "items"]]
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
