"""From the judgements of an evaluation to its numbers, whose meaning `results` tells."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from r1reward_jax.evals import voting
from r1reward_jax.evals.calibration import calibrate
from r1reward_jax.evals.metrics import (
    acc_plus,
    clusters_of,
    decide,
    decide_both_orders,
    decide_weighted,
    judgements_of,
    points,
    score,
    share,
)
from r1reward_jax.evals.results import (
    SCHEMA,
    AnyCorrect,
    ByConvention,
    ByVotes,
    Convention,
    Decision,
    Lengths,
    Mean,
    Saving,
    Slice,
    Stopping,
    Summary,
    Tokens,
)
from r1reward_jax.evals.stats import bootstrap, cluster_sums, percentiles, ratio, resampled
from r1reward_jax.evals.types import Judgement, PairJudgement


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
    notes: Sequence[str] = (),
) -> Summary:
    """Return all numbers of an evaluation.

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
      notes: what is known of the records; the summary's own notes follow.
    """
    expected = expected or {}
    groups: dict[str, list[PairJudgement]] = {name: [] for name in expected}
    for pair in pairs:
        groups.setdefault(pair.group, []).append(pair)
    named = {name: part for name, part in groups.items() if name and part}
    sizes = voting.sizes(pairs, samples)
    early = any(j.stopped for j in judgements_of(pairs))
    make = partial(_slice, convention=convention, units=units, sizes=sizes, early=early)
    overall = make(pairs, expected=rows)
    slices = {name: make(part, expected=expected.get(name)) for name, part in named.items()}
    return Summary(
        benchmark=benchmark,
        model=model,
        schema=SCHEMA,
        convention=convention,
        sizes=tuple(sizes),
        overall=overall,
        groups=slices,
        macro=_macro(pairs, list(named), convention, sizes) if len(named) > 1 else None,
        notes=(*notes, *_notes(overall, slices, sizes)),
        calibration=calibrate(pairs),
    )


# ------------------------------------------------------------------ slices


def _slice(
    pairs: Sequence[PairJudgement],
    *,
    convention: Convention,
    units: bool,
    sizes: Sequence[int],
    early: bool,
    expected: int | None,
) -> Slice:
    """
    Args:
      pairs: of the slice.
      convention, units: the benchmark's.
      sizes: numbers of votes.
      early: whether sampling was stopped early anywhere, in this slice or another.
      expected: pairs of the benchmark.
    """
    judgements, two = judgements_of(pairs), clusters_of(pairs, 2)
    texts = any(j.tokens for j in judgements)
    votes = bool(sizes) and not early

    def of_texts(holds: Callable[[Judgement], bool]):
        return share([None if j.skipped else holds(j) for j in judgements], two) if texts else None

    sampled = [(v is None, i) for j, i in zip(judgements, two) if not j.skipped for v in j.votes]
    return Slice(
        pairs=len(pairs),
        expected=expected,
        stopped=sum(j.stopped for j in judgements),
        skipped=share([j.skipped for j in judgements], two),
        format=of_texts(lambda j: j.well_formed),
        truncated=of_texts(lambda j: j.truncated),
        unparsable_votes=share(
            [missing for missing, _ in sampled], np.asarray([i for _, i in sampled], np.int64)
        ),
        greedy=decide(pairs, 0, convention),
        votes={k: decide(pairs, k, convention) for k in sizes},
        weighted=decide_weighted(pairs, convention) if votes else None,
        both_orders=decide_both_orders(pairs, convention) if votes else None,
        any_correct={k: _any_correct(judgements, k, two) for k in sizes} if votes else {},
        length=_lengths(judgements, two),
        tokens=Tokens(
            prompt=sum(j.prompt_tokens for j in judgements),
            greedy=sum(j.tokens for j in judgements),
            votes=sum(sum(j.vote_tokens) + j.stopped_tokens for j in judgements),
        ),
        # a single vote has nothing to stop
        stopping=_stopping(judgements, two, convention) if votes and sizes[-1] > 1 else None,
        units=ByVotes(acc_plus(pairs, 0), {k: acc_plus(pairs, k) for k in sizes})
        if units
        else None,
    )


def _any_correct(judgements: Sequence[Judgement], votes: int, clusters: np.ndarray) -> AnyCorrect:
    right = [(float(voting.any_correct(j.votes[:votes], j.label)), 1.0) for j in judgements]
    return AnyCorrect(**vars(score(right, clusters)), chance=voting.any_correct_chance(votes))


def _lengths(judgements: Sequence[Judgement], clusters: np.ndarray) -> Lengths:
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


def _stopping(
    judgements: Sequence[Judgement], clusters: np.ndarray, convention: Convention
) -> dict[str, Stopping]:
    """Return what each rule would have saved, and changed. Of a prompt that was not asked nothing
    can be saved; the scores count it, as those of all votes do."""
    asked = [j for j in judgements if not j.skipped]
    votes, tokens = sum(len(j.votes) for j in asked), sum(sum(j.vote_tokens) for j in asked)
    rules = {}
    for name, rule in voting.RULES.items():
        replayed = [(j, *voting.replay(j, rule)) for j in judgements]
        used = [(count, written) for j, _, count, written in replayed if not j.skipped]
        changed = [None if j.skipped else v != voting.majority(j.votes) for j, v, *_ in replayed]
        release, official = (
            score([points(v, j.label, each) for j, v, *_ in replayed], clusters)
            for each in ("wrong", convention)
        )
        rules[name] = Stopping(
            votes_saved=_saving(votes - sum(count for count, _ in used), votes),
            tokens_saved=_saving(tokens - sum(written for _, written in used), tokens),
            changed=share(changed, clusters),
            release=release,
            official=official,
        )
    return rules


def _saving(count: int, of: int) -> Saving:
    return Saving(count / of if of else None, count, of)


# ----------------------------------------------------- all groups together


def _macro(
    pairs: Sequence[PairJudgement],
    names: Sequence[str],
    convention: Convention,
    sizes: Sequence[int],
) -> ByVotes[ByConvention[Mean]]:
    """Return means over the groups, each counting the same; without value if one of them has
    none."""
    place = {name: i for i, name in enumerate(names)}
    inside = [pair for pair in pairs if pair.group in place]
    kinds: list[tuple[int, Convention]]
    kinds = [(k, rule) for k in (0, *sizes) for rule in ("wrong", convention)]
    earned = np.zeros((len(inside), len(kinds), len(names), 2))
    for row, pair in zip(earned, inside):
        for judgement in pair.orders:
            for kind, (votes, rule) in zip(row, kinds):
                verdict = voting.verdict_at(judgement, votes)
                kind[place[pair.group]] += points(verdict, judgement.label, rule)
    sums = cluster_sums(earned, clusters_of(inside))

    def means(totals: np.ndarray) -> np.ndarray:
        each = ratio(totals.reshape(-1, 2)).reshape(len(totals), len(kinds), len(names))
        return each.mean(axis=2)

    (values,) = means(sums.sum(axis=0, keepdims=True))
    # all kinds from the same draws: units may lie in several groups
    drawn = resampled(sums, means) if len(sums) > 1 else np.empty((0, len(values)))
    found = [_macro_mean(v, drawn[:, i], len(names)) for i, v in enumerate(values)]
    greedy, *votes = [ByConvention(r, o) for r, o in zip(found[::2], found[1::2])]
    return ByVotes(greedy, dict(zip(sizes, votes)))


def _macro_mean(value: float, drawn: np.ndarray, groups: int) -> Mean:
    if not np.isfinite(value):
        return Mean(None, None, None, 0)
    # where all are right, or none, so is every draw, which says nothing
    low, high = (0 < value < 1 and percentiles(drawn)) or (None, None)
    return Mean(float(value), low, high, groups)


# ------------------------------------------------------------------- notes


def _notes(overall: Slice, groups: Mapping[str, Slice], sizes: Sequence[int]) -> list[str]:
    """Return what a reader of the numbers must know, in words. Pairs that a file lacks are noted
    where the file is read."""
    notes = _empty({"overall": overall, **groups})
    count, of = overall.skipped.count, overall.skipped.of
    asked = of - count
    if count:
        notes.append(
            f"{count:,} of {of:,} prompts were too long, were not asked and have no verdict"
        )
    if overall.stopped:
        notes.append(
            f"sampling ended early in {overall.stopped:,} of {asked:,} "
            f"judgements, with {overall.unparsable_votes.of:,} votes in all instead of "
            f"{asked * sizes[-1]:,}, so there is "
            f"voting@{sizes[-1]}, but no fewer and no weighted votes"
        )
    return notes


def _empty(parts: Mapping[str, Slice]) -> list[str]:
    """Return which accuracies have no judgements to be a share of; a group repeats nothing that is
    true of all."""
    notes, noted = [], set()
    for name, part in parts.items():
        decisions = {"greedy": part.greedy}
        decisions |= {f"voting@{k}": decision for k, decision in part.votes.items()}
        kinds = [k for k, d in decisions.items() if not d.official.of and k not in noted]
        if kinds:
            why = _why_empty(part, [decisions[k] for k in kinds])
            notes.append(f"{name}: {why} ({', '.join(kinds)}), so there is no official accuracy")
        noted |= set(kinds) if name == "overall" else set()
    return notes


def _why_empty(part: Slice, decisions: Sequence[Decision]) -> str:
    if part.skipped.count == part.skipped.of:
        return "all prompts were too long"
    tied = any(decision.ties.count for decision in decisions)
    return "every vote is tied or unparsable" if tied else "no verdict could be parsed"
