"""From the judgements of an evaluation to its numbers, whose meaning `results` tells."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from r1reward_jax.evals import voting
from r1reward_jax.evals.calibration import calibrate
from r1reward_jax.evals.metrics import (
    CONVENTIONS,
    acc_plus,
    as_released,
    clusters_of,
    decide,
    decide_both_orders,
    decide_weighted,
    judgements_of,
    points,
    score,
    share,
    shown,
    undecided,
)
from r1reward_jax.evals.results import (
    SCHEMA,
    ByConvention,
    ByVotes,
    Convention,
    Decision,
    Lengths,
    Mean,
    PassAtK,
    Saving,
    Skipped,
    Slice,
    Stopping,
    Summary,
    Tokens,
)
from r1reward_jax.evals.stats import bootstrap, cluster_sums, percentiles, ratio, resampled
from r1reward_jax.evals.sums import require_sums
from r1reward_jax.evals.types import Judgement, PairJudgement

REASONS = 3
"""Reasons for records that were left out that a note tells; evaluation.json has all."""


def summarize(
    pairs: Sequence[PairJudgement],
    *,
    convention: Convention,
    benchmark: str = "",
    model: str = "",
    units: bool = False,
    expected: Mapping[str, int] | None = None,
    rows: int | None = None,
    samples: int | None = None,
    released: bool = False,
    notes: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> Summary:
    """Return all numbers of an evaluation, of the pairs that could be shown to the model.

    Args:
      pairs: both orders of each pair, at least one pair.
      convention: what the benchmark makes of verdicts that are missing.
      benchmark: its name.
      model: folder of the model.
      units: whether the benchmark counts units whose pairs are all right (Acc+).
      expected: pairs of each group, of a whole benchmark, as far as they are known; gives the
        groups their order.
      rows: pairs of a whole benchmark, those of groups that `expected` lacks too; None: not known.
      samples: votes that were asked for; None: the most that a judgement has.
      released: whether the judgements say what the release's reader made of their texts.
      notes: what is known of the records; the summary's own notes follow.
      settings: how the model was asked.

    Raises:
      InputError: no pair could be shown.
      SumError: groups do not add up to all pairs, or parts of a group to the group.
    """
    asked, skipped = shown(pairs), _skipped(pairs)
    sizes = voting.sizes(asked, samples)
    unsettled = undecided(asked, sizes[-1]) if sizes and convention == "left_out" else 0
    make = partial(
        _slice,
        convention=convention,
        voted="none" if unsettled else convention,
        units=units,
        sizes=sizes,
        early=any(j.stopped for j in judgements_of(asked)),
        released=released,
    )
    expected = expected or {}
    overall = make(pairs, expected=rows)
    groups = _parts(pairs, lambda pair: pair.group, expected)
    slices = {"": overall}
    if [*groups] != [""]:
        slices = {name: make(part, expected=expected.get(name)) for name, part in groups.items()}
    named = {name: part for name, part in slices.items() if name}
    subgroups = {}
    for name, part in groups.items():
        parts = _parts(part, lambda pair: pair.subgroup)
        inside = {sub: make(each, expected=None) for sub, each in parts.items() if any(parts)}
        require_sums(name, slices[name], inside)
        subgroups |= {f"{name}/{sub}": each for sub, each in inside.items() if sub}
    require_sums("overall", overall, slices)
    return Summary(
        benchmark=benchmark,
        model=model,
        schema=SCHEMA,
        convention=convention,
        sizes=tuple(sizes),
        overall=overall,
        groups=named,
        subgroups=subgroups,
        macro=_macro(asked, list(named), sizes, convention, bool(unsettled))
        if len(named) > 1
        else None,
        notes=(*notes, *_notes(overall, named, skipped, sizes, unsettled)),
        skipped=skipped,
        settings=settings or {},
        calibration=calibrate(asked),
    )


def _parts(
    pairs: Sequence[PairJudgement],
    name: Callable[[PairJudgement], str],
    first: Mapping[str, Any] | None = None,
) -> dict[str, list[PairJudgement]]:
    """Return the pairs by a name of theirs, an empty one too; `first` gives some names their
    order."""
    found: dict[str, list[PairJudgement]] = {each: [] for each in first or ()}
    for pair in pairs:
        found.setdefault(name(pair), []).append(pair)
    return {each: part for each, part in found.items() if part}


def _skipped(pairs: Sequence[PairJudgement]) -> Skipped:
    """Count the records that could not be shown; reasons that differ only in a file's name or in
    numbers count together, by the first of them."""
    gone = [pair for pair in pairs if pair.skipped]
    counts, first = Counter[str](), {}
    for pair in gone:
        kind = re.sub(r"\d[\d,.]*", "N", re.sub(r"(?s)^image .*?: ", "", pair.skipped))
        counts[kind] += 1
        first.setdefault(kind, pair.skipped)
    return Skipped(
        records=len(gone),
        of=len(pairs),
        reasons={first[kind]: count for kind, count in counts.most_common()},
        rows=tuple({"row": p.row, "id": p.id, "reason": p.skipped} for p in gone),
    )


# ------------------------------------------------------------------ slices


def _slice(
    pairs: Sequence[PairJudgement],
    *,
    convention: Convention,
    voted: Convention,
    units: bool,
    sizes: Sequence[int],
    early: bool,
    released: bool,
    expected: int | None,
) -> Slice:
    """
    Args:
      pairs: of the slice.
      convention, units, released: as of `summarize`.
      voted: the convention for votes.
      sizes: numbers of votes.
      early: whether sampling was stopped early anywhere, in this slice or another.
      expected: pairs of the benchmark.
    """
    asked = [pair for pair in pairs if not pair.skipped]
    judgements, two = judgements_of(asked), clusters_of(asked, 2)
    texts = any(j.tokens for j in judgements)
    votes = bool(sizes) and not early

    def of_texts(holds: Callable[[Judgement], bool]):
        return share([holds(j) for j in judgements], two) if texts else None

    sampled = [(v is None, i) for j, i in zip(judgements, two) for v in j.votes]
    # whether all pairs of a unit are right is not known where one of them was not judged
    incomplete = {pair.unit for pair in pairs if pair.skipped}
    complete = [pair for pair in asked if pair.unit not in incomplete]
    return Slice(
        pairs=len(asked),
        expected=expected,
        stopped=sum(j.stopped for j in judgements),
        skipped=share([bool(pair.skipped) for pair in pairs], clusters_of(pairs)),
        format=of_texts(lambda j: j.well_formed),
        truncated=of_texts(lambda j: j.truncated),
        unparsable_votes=share(
            [missing for missing, _ in sampled], np.asarray([i for _, i in sampled], np.int64)
        ),
        greedy=decide(asked, 0, convention),
        released=as_released(asked) if released and texts else None,
        votes={k: decide(asked, k, voted) for k in sizes},
        weighted=decide_weighted(asked) if votes else None,
        both_orders=decide_both_orders(asked) if votes else None,
        pass_at_k={k: _pass_at_k(judgements, k, two) for k in sizes} if votes else {},
        length=_lengths(judgements, two),
        tokens=Tokens(
            prompt=sum(j.prompt_tokens for j in judgements),
            greedy=sum(j.tokens for j in judgements),
            votes=sum(sum(j.vote_tokens) + j.stopped_tokens for j in judgements),
        ),
        # a single vote has nothing to stop
        stopping=_stopping(judgements, two) if votes and sizes[-1] > 1 else None,
        units=ByVotes(acc_plus(complete, 0), {k: acc_plus(complete, k) for k in sizes})
        if units
        else None,
    )


def _pass_at_k(judgements: Sequence[Judgement], votes: int, clusters: np.ndarray) -> PassAtK:
    right = [(float(voting.passed(j.votes[:votes], j.label)), 1.0) for j in judgements]
    return PassAtK(**vars(score(right, clusters)), chance=voting.pass_chance(votes))


def _lengths(judgements: Sequence[Judgement], clusters: np.ndarray) -> Lengths:
    if not judgements:
        return Lengths(None, None)
    rows = [(j.tokens, j.tokens > 0, sum(j.vote_tokens), len(j.vote_tokens)) for j in judgements]
    sums = cluster_sums(rows, clusters)
    return Lengths(greedy=_mean(sums[:, :2]), votes=_mean(sums[:, 2:]))


def _mean(sums: np.ndarray) -> Mean | None:
    """Return the mean of the first column over the second."""
    total, of = sums.sum(axis=0)
    if not of:
        return None
    low, high = bootstrap(sums, ratio) or (None, None)
    return Mean(float(total / of), low, high, int(of))


def _stopping(judgements: Sequence[Judgement], clusters: np.ndarray) -> dict[str, Stopping]:
    """Return what each rule would have saved, and changed."""
    votes = sum(len(j.votes) for j in judgements)
    tokens = sum(sum(j.vote_tokens) for j in judgements)
    rules = {}
    for name, rule in voting.RULES.items():
        replayed = [(j, *voting.replay(j, rule)) for j in judgements]
        changed = [v != voting.majority(j.votes) for j, v, *_ in replayed]
        accuracy, readable = (
            score([points(v, j.label, each) for j, v, *_ in replayed], clusters)
            for each in CONVENTIONS
        )
        rules[name] = Stopping(
            votes_saved=_saving(votes - sum(count for *_, count, _ in replayed), votes),
            tokens_saved=_saving(tokens - sum(written for *_, written in replayed), tokens),
            changed=share(changed, clusters),
            accuracy=accuracy,
            readable=readable,
        )
    return rules


def _saving(count: int, of: int) -> Saving:
    return Saving(count / of if of else None, count, of)


# ----------------------------------------------------- all groups together


def _macro(
    pairs: Sequence[PairJudgement],
    names: Sequence[str],
    sizes: Sequence[int],
    convention: Convention,
    unsettled: bool,
) -> ByVotes[ByConvention[Mean]]:
    """Return means over the groups, each counting the same; without value if one of them has none.
    Only the script of VL-RewardBench has such a mean, so only there it is official."""
    place = {name: i for i, name in enumerate(names)}
    inside = [pair for pair in pairs if pair.group in place]
    rules = (*CONVENTIONS, "official")
    kinds = [(k, rule) for k in (0, *sizes) for rule in rules]
    earned = np.zeros((len(inside), len(kinds), len(names), 2))
    for row, pair in zip(earned, inside):
        for judgement in pair.orders:
            for kind, (votes, rule) in zip(row, kinds):
                kind[place[pair.group]] += _earned(judgement, votes, rule)
    sums = cluster_sums(earned, clusters_of(inside))

    def means(totals: np.ndarray) -> np.ndarray:
        each = ratio(totals.reshape(-1, 2)).reshape(len(totals), len(kinds), len(names))
        return each.mean(axis=2)

    (values,) = means(sums.sum(axis=0, keepdims=True))
    # all kinds from the same draws: units may lie in several groups
    drawn = resampled(sums, means) if len(sums) > 1 else np.empty((0, len(values)))
    found = iter([_macro_mean(v, drawn[:, i], len(names)) for i, v in enumerate(values)])
    by_size = {}
    for k in (0, *sizes):
        accuracy, readable, official = (next(found) for _ in rules)
        known = convention == "left_out" and not (k and unsettled)
        by_size[k] = ByConvention(accuracy, readable, official if known else None)
    greedy = by_size.pop(0)
    return ByVotes(greedy, by_size)


def _earned(judgement: Judgement, votes: int, rule: str) -> tuple[float, float]:
    """Return the points and the weight of a judgement's verdict; "official" is VL-RewardBench's
    rule."""
    if rule == "official":
        verdict = judgement.position
        if votes:
            verdict = voting.absolute_majority(judgement.votes[:votes], votes)
        return points(verdict, judgement.label, "left_out")
    given: Convention = "wrong" if rule == "wrong" else "left_out"
    return points(voting.verdict_at(judgement, votes), judgement.label, given)


def _macro_mean(value: float, drawn: np.ndarray, groups: int) -> Mean:
    if not np.isfinite(value):
        return Mean(None, None, None, 0)
    # where all are right, or none, so is every draw, which says nothing
    low, high = (0 < value < 1 and percentiles(drawn)) or (None, None)
    return Mean(float(value), low, high, groups)


# ------------------------------------------------------------------- notes


def _notes(
    overall: Slice,
    groups: Mapping[str, Slice],
    skipped: Skipped,
    sizes: Sequence[int],
    unsettled: int,
) -> list[str]:
    """Return what a reader of the numbers must know, in words. Pairs that a file lacks are noted
    where the file is read."""
    notes = _empty({"overall": overall, **groups})
    if skipped.records:
        reasons = [f"{count:,} x {reason}" for reason, count in skipped.reasons.items()]
        more = f"; and {len(reasons) - REASONS} more reasons" if len(reasons) > REASONS else ""
        notes.append(
            f"{skipped.records:,} of {skipped.of:,} records could not be shown to the model; they "
            f"are in no number, not in an official one either: {'; '.join(reasons[:REASONS])}{more}"
        )
    if overall.stopped:
        judged = 2 * overall.pairs
        notes.append(
            f"sampling ended early in {overall.stopped:,} of {judged:,} "
            f"judgements, with {overall.unparsable_votes.of:,} votes in all instead of "
            f"{judged * sizes[-1]:,}, so there is "
            f"voting@{sizes[-1]}, but no fewer and no weighted votes"
        )
    if unsettled:
        notes.append(
            f"voting@{sizes[-1]} has no official accuracy: {unsettled:,} judgements ended before "
            "more than half of all votes were certain; eval.stop=none draws all"
        )
    return notes


def _empty(parts: Mapping[str, Slice]) -> list[str]:
    """Return which accuracies have no judgements to be a share of; a group repeats nothing that is
    true of all."""
    notes, noted = [], set()
    for name, part in parts.items():
        decisions = {"greedy": part.greedy}
        decisions |= {f"voting@{k}": decision for k, decision in part.votes.items()}
        kinds = [k for k, d in decisions.items() if not d.readable.of and k not in noted]
        if kinds:
            why = _why_empty(part, [decisions[k] for k in kinds])
            notes.append(f"{name}: {why} ({', '.join(kinds)}), so there is no accuracy of verdicts")
        noted |= set(kinds) if name == "overall" else set()
    return notes


def _why_empty(part: Slice, decisions: Sequence[Decision]) -> str:
    if not part.pairs:
        return "no record could be shown to the model"
    tied = any(decision.ties.count for decision in decisions)
    return "every vote is tied or unparsable" if tied else "no verdict could be parsed"
