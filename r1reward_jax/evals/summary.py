"""The numbers of an evaluation, from its judgements; `summarize` makes what evaluation.json holds.

Accuracy is given under two conventions, side by side. `release`: an unparsable verdict or a tie is
wrong, as in the code that the paper released. `official`: as the benchmark has it, by `convention`:

    left_out   such a judgement leaves the denominator (VL-RewardBench)
    coin       it earns half a point, the mean of a random choice (Multimodal RewardBench)
    wrong      the same as release (MM-RLHF-RewardBench)

A prompt that was too long to be asked is treated the same. Schema, where a value of null has an
`of` of 0:

    score     value, low, high, right, of: an accuracy, its 95 % interval, points, judgements
    share     value, low, high, count, of
    mean      value, low, high, of
    decision  release, official: scores over both orders
              release_stored, release_swapped, official_stored, official_swapped: in each order
              strict: score of pairs that are right in both orders
              flips: share of pairs, both with a verdict, in which both orders name one position
              says_1: share of verdicts that name the first response
              unparsable: share of judgements, of those asked, without any readable verdict
              ties: share of judgements with as many votes for 1 as for 2
    slice     pairs, expected (null if it is not known), stopped (judgements that got fewer votes)
              skipped, format, cut: shares (format and cut null without texts)
              unparsable_votes: share of the votes, of prompts that were asked
              greedy: decision;  votes: {K: decision} of the first K votes
              weighted: decision of all votes by probability, or null
              both_orders: {votes, weighted: {release, official}}, a verdict per pair from the votes
                of both orders together, or null
              any_correct: {K: score, and chance}: a right one among K votes of a judgement
              length: {greedy, votes: mean tokens of a completion, or null}
              tokens: {prompt, greedy, votes}: sums, with those of samples that were stopped
              stopping: {exact, posterior: {votes_saved, tokens_saved: {value, count, of},
                changed: share of verdicts, release, official}}, by replay, or null; savings and
                changes are those of prompts that were asked
              units: {greedy, votes: {K: {stored, swapped, mean}}}: scores of units whose pairs are
                all right (Acc+; unparsable is wrong), or null
    summary   schema, convention, sizes (the K), overall: slice, groups: {name: slice},
              macro: {greedy, votes: {K: {release, official: mean over groups}}} or null, notes
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from r1reward_jax.evals import voting
from r1reward_jax.evals.metrics import (
    Convention,
    acc_plus,
    at,
    both_conventions,
    both_orders,
    clusters_of,
    points,
    score,
    share,
    shown_of,
    weighted,
)
from r1reward_jax.evals.stats import (
    bootstrap,
    cluster_sums,
    percentiles,
    ratio,
    resampled,
)
from r1reward_jax.evals.types import Judged, Shown

SCHEMA = 1


def summarize(
    judged: Sequence[Judged],
    *,
    convention: Convention,
    units: bool = False,
    expected: Mapping[str, int] | None = None,
    rows: int | None = None,
    samples: int | None = None,
) -> dict[str, Any]:
    """All numbers of an evaluation, ready for JSON.

    Args:
      judged: both orders of each pair, at least one pair.
      convention: what the benchmark makes of verdicts that are missing.
      units: whether the benchmark counts units whose pairs are all right (Acc+).
      expected: pairs of each group, of a whole benchmark, as far as they are known; gives the
        groups their order.
      rows: pairs of a whole benchmark, those of groups that `expected` lacks too; None: not known.
      samples: votes that were asked for; None: the most that a judgement has.

    Returns:
      A summary, see above.
    """
    expected = expected or {}
    groups: dict[str, list[Judged]] = {name: [] for name in expected}
    for j in judged:
        groups.setdefault(j.group, []).append(j)
    named = {name: part for name, part in groups.items() if name and part}
    sizes = voting.sizes(judged, samples)
    early = any(s.stopped for s in shown_of(judged))
    make = partial(_slice, convention=convention, units=units, sizes=sizes, early=early)
    found = {
        "schema": SCHEMA,
        "convention": convention,
        "sizes": sizes,
        "overall": make(judged, expected=rows),
        "groups": {name: make(part, expected=expected.get(name)) for name, part in named.items()},
        "macro": _macro(judged, list(named), convention, sizes) if len(named) > 1 else None,
    }
    return found | {"notes": _notes(found)}


# ------------------------------------------------------------------ slices


def _slice(
    judged: Sequence[Judged],
    *,
    convention: Convention,
    units: bool,
    sizes: Sequence[int],
    early: bool,
    expected: int | None,
) -> dict[str, Any]:
    """
    Args:
      judged: pairs.
      convention, units: the benchmark's.
      sizes: numbers of votes.
      early: whether sampling was stopped early anywhere.
      expected: pairs of the benchmark.
    """
    shown, two = shown_of(judged), clusters_of(judged, 2)
    texts = any(s.tokens for s in shown)
    votes = bool(sizes) and not early

    def of_texts(holds: Callable[[Shown], bool]) -> dict[str, Any] | None:
        return share([None if s.skipped else holds(s) for s in shown], two) if texts else None

    sampled = [(v is None, i) for s, i in zip(shown, two) if not s.skipped for v in s.votes]
    unparsable = share([v for v, _ in sampled], np.asarray([i for _, i in sampled], np.int64))
    return {
        "pairs": len(judged),
        "expected": expected,
        "stopped": sum(s.stopped for s in shown),
        "skipped": share([s.skipped for s in shown], two),
        "format": of_texts(lambda s: s.well_formed),
        "cut": of_texts(lambda s: s.cut),
        "unparsable_votes": unparsable,
        "greedy": at(judged, 0, convention),
        "votes": {str(k): at(judged, k, convention) for k in sizes},
        "weighted": weighted(judged, convention) if votes else None,
        "both_orders": both_orders(judged, convention) if votes else None,
        "any_correct": {str(k): _any_correct(shown, k, two) for k in sizes} if votes else {},
        "length": _lengths(shown, two),
        "tokens": {
            "prompt": sum(s.prompt_tokens for s in shown),
            "greedy": sum(s.tokens for s in shown),
            "votes": sum(sum(s.vote_tokens) + s.stopped_tokens for s in shown),
        },
        "stopping": _stopping(shown, two, convention) if votes and sizes[-1] > 1 else None,
        "units": {
            "greedy": acc_plus(judged, 0),
            "votes": {str(k): acc_plus(judged, k) for k in sizes},
        }
        if units
        else None,
    }


def _any_correct(shown: Sequence[Shown], votes: int, clusters: np.ndarray) -> dict[str, Any]:
    found = [(float(voting.any_correct(s.votes[:votes], s.preferred)), 1.0) for s in shown]
    return score(found, clusters) | {"chance": voting.any_correct_chance(votes)}


def _lengths(shown: Sequence[Shown], clusters: np.ndarray) -> dict[str, Any]:
    rows = [(s.tokens, s.tokens > 0, sum(s.vote_tokens), len(s.vote_tokens)) for s in shown]
    sums = cluster_sums(rows, clusters)
    return {name: _mean(sums[:, at : at + 2]) for name, at in (("greedy", 0), ("votes", 2))}


def _mean(sums: np.ndarray) -> dict[str, Any] | None:
    """Of the first column over the second."""
    total, of = sums.sum(axis=0)
    if not of:
        return None
    low, high = bootstrap(sums, ratio) or (None, None)
    return {"value": float(total / of), "low": low, "high": high, "of": int(of)}


def _stopping(
    shown: Sequence[Shown], clusters: np.ndarray, convention: Convention
) -> dict[str, Any]:
    """What each rule would have saved, and changed. Of a prompt that was not asked nothing can be
    saved; the scores count it, as those of all votes do."""
    asked = [s for s in shown if not s.skipped]
    votes, tokens = sum(len(s.votes) for s in asked), sum(sum(s.vote_tokens) for s in asked)
    result = {}
    for name, rule in voting.RULES.items():
        replayed = [voting.replay(s, rule) for s in shown]
        used = [(n, written) for s, (_, n, written) in zip(shown, replayed) if not s.skipped]
        saved = votes - sum(n for n, _ in used)
        unwritten = tokens - sum(written for _, written in used)
        result[name] = {
            "votes_saved": _part(saved, votes),
            "tokens_saved": _part(unwritten, tokens),
            "changed": share(
                [
                    None if s.skipped else v != voting.majority(s.votes)
                    for s, (v, _, _) in zip(shown, replayed)
                ],
                clusters,
            ),
        }
        for label, each in both_conventions(convention):
            earned = [points(v, s.preferred, each) for s, (v, _, _) in zip(shown, replayed)]
            result[name][label] = score(earned, clusters)
    return result


def _part(count: int, of: int) -> dict[str, Any]:
    return {"value": count / of if of else None, "count": count, "of": of}


# ----------------------------------------------------- all groups together


def _macro(
    judged: Sequence[Judged], names: Sequence[str], convention: Convention, sizes: Sequence[int]
) -> dict[str, Any]:
    """Mean over the groups, each counting the same; null if one of them has no value."""
    place = {name: i for i, name in enumerate(names)}
    inside = [j for j in judged if j.group in place]
    kinds: list[tuple[int, Convention]]
    kinds = [(k, rule) for k in (0, *sizes) for _, rule in both_conventions(convention)]
    earned = np.zeros((len(inside), len(kinds), len(names), 2))
    for row, j in zip(earned, inside):
        for shown in j.orders:
            for kind, (votes, rule) in zip(row, kinds):
                verdict = voting.verdict_at(shown, votes)
                kind[place[j.group]] += points(verdict, shown.preferred, rule)
    sums = cluster_sums(earned, clusters_of(inside))

    def means(totals: np.ndarray) -> np.ndarray:
        each = ratio(totals.reshape(-1, 2)).reshape(len(totals), len(kinds), len(names))
        return each.mean(axis=2)

    (values,) = means(sums.sum(axis=0, keepdims=True))
    drawn = resampled(sums, means) if len(sums) > 1 else np.empty((0, len(values)))
    found = [_macro_mean(v, drawn[:, i], len(names)) for i, v in enumerate(values)]
    pairs = [{"release": r, "official": o} for r, o in zip(found[::2], found[1::2])]
    return {"greedy": pairs[0], "votes": {str(k): p for k, p in zip(sizes, pairs[1:])}}


def _macro_mean(value: float, drawn: np.ndarray, groups: int) -> dict[str, Any]:
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None, "of": 0}
    # where all are right, or none, so is every draw, which says nothing
    low, high = (0 < value < 1 and percentiles(drawn)) or (None, None)
    return {"value": float(value), "low": low, "high": high, "of": groups}


def _notes(found: Mapping[str, Any]) -> list[str]:
    """What a reader of the numbers must know, in words; of pairs that a file lacks, who reads the
    file tells."""
    overall = found["overall"]
    notes = _empty([("overall", overall), *found["groups"].items()])
    count, of = overall["skipped"]["count"], overall["skipped"]["of"]
    asked = of - count
    if count:
        notes.append(
            f"{count:,} of {of:,} prompts were too long, were not asked and have no verdict"
        )
    if overall["stopped"]:
        notes.append(
            f"sampling ended early in {overall['stopped']:,} of {asked:,} "
            f"judgements, with {overall['unparsable_votes']['of']:,} votes in all instead of "
            f"{asked * found['sizes'][-1]:,}, so there is "
            f"voting@{found['sizes'][-1]}, but no fewer and no weighted votes"
        )
    return notes


def _empty(parts: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Which accuracies have no judgements to be a share of."""
    notes, told = [], set()
    for name, part in parts:
        decisions = {"greedy": part["greedy"]}
        decisions |= {f"voting@{k}": decision for k, decision in part["votes"].items()}
        kinds = [k for k, d in decisions.items() if not d["official"]["of"] and k not in told]
        if kinds:
            why = _why_empty(part, [decisions[k] for k in kinds])
            notes.append(f"{name}: {why} ({', '.join(kinds)}), so there is no official accuracy")
        told |= set(kinds) if name == "overall" else set()
    return notes


def _why_empty(part: Mapping[str, Any], decisions: Sequence[Mapping[str, Any]]) -> str:
    if part["skipped"]["count"] == part["skipped"]["of"]:
        return "all prompts were too long"
    tied = any(decision["ties"]["count"] for decision in decisions)
    return "every vote is tied or unparsable" if tied else "no verdict could be parsed"
