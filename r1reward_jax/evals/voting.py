"""From several verdicts to one (paper, section 5: voting@K), and when to stop asking for more.

Beside the paper's majority: votes weighted by their probability, the votes of both answer orders
together, and rules by which sampling may end before all votes are in.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache

from r1reward_jax.evals.types import Judgement, PairJudgement
from r1reward_jax.types import Verdict, other

SIZES = (1, 3, 5, 7, 9, 15)
"""Numbers of votes that are reported, as far as there are so many; and all votes."""
LEVEL = 0.99
"""Probability at which a majority counts as settled."""

Rule = Callable[[int, int, int], bool]
"""(votes for 1, votes for 2, votes that are still to come) -> whether sampling may end."""


# ------------------------------------------------------------------- votes


def majority(verdicts: Sequence[Verdict | None]) -> Verdict | None:
    """Return the verdict given more often; None on a tie or without votes that can be read."""
    ones, twos = verdicts.count(1), verdicts.count(2)
    return None if ones == twos else (1 if ones > twos else 2)


def absolute_majority(verdicts: Sequence[Verdict | None], of: int) -> Verdict | None:
    """Return the verdict of more than half of `of` votes, those that cannot be read included; None
    without one. This is the rule of VL-RewardBench's own script."""
    named: tuple[Verdict, Verdict] = (1, 2)
    return next((v for v in named if 2 * verdicts.count(v) > of), None)


def is_settled(verdicts: Sequence[Verdict | None], of: int) -> bool:
    """Return whether no votes to come can change `absolute_majority`.

    Args:
      verdicts: those that are in.
      of: their number once all are.
    """
    leader = max(verdicts.count(1), verdicts.count(2))
    return 2 * leader > of or 2 * (leader + of - len(verdicts)) <= of


def weighted(
    verdicts: Sequence[Verdict | None], probabilities: Sequence[float | None]
) -> Verdict | None:
    """Return the verdict with more probability behind it, `sum_i p_i(1)` against half the votes.

    Args:
      verdicts: of the samples; one that cannot be read does not vote.
      probabilities: of the verdict 1, one for each; a vote without one is left out.

    Returns:
      The verdict; None on a tie or without votes.
    """
    given = [p for v, p in zip(verdicts, probabilities) if v is not None and p is not None]
    lead = math.fsum(given) - len(given) / 2
    # p and 1 - p of two orders must cancel in spite of rounding
    return None if abs(lead) < 1e-9 * max(1, len(given)) else (1 if lead > 0 else 2)


def both_orders(a: Judgement, b: Judgement) -> tuple[Verdict | None, Verdict | None]:
    """Return the verdict of all votes of both orders together: by majority, and by probability.

    Args:
      a: the record as stored.
      b: the record with its responses swapped.

    Returns:
      1 where the first response, as stored, is the better one. A model that looks at the position
      only ties with itself.
    """
    votes: list[Verdict | None] = [*a.votes, *(None if v is None else other(v) for v in b.votes)]
    turned = [None if p is None else 1 - p for p in b.vote_probabilities]
    return majority(votes), weighted(votes, [*a.vote_probabilities, *turned])


def passed(verdicts: Sequence[Verdict | None], label: Verdict | None) -> bool:
    """Return whether one of the samples is right, as pass@k asks; read it beside `pass_chance`."""
    return label is not None and label in verdicts


def pass_chance(samples: int) -> float:
    """Return what a coin per sample scores at pass@k: `1 - 2^-k`."""
    return 1 - 0.5**samples


def sizes(pairs: Sequence[PairJudgement], asked: int | None = None) -> list[int]:
    """Return for which K there are votes: those of SIZES, and all.

    Args:
      pairs: what was judged.
      asked: votes that were asked for. None: the most that a judgement has.

    Returns:
      In rising order; empty without votes. Where sampling was stopped early the votes say only
      what all of them would have come to, so only their whole number is left.
    """
    judgements = [j for pair in pairs for j in pair.orders if not j.skipped]
    whole = asked or max((len(j.votes) for j in judgements), default=0)
    if not whole or not any(j.votes for j in judgements):
        return []
    if any(j.stopped for j in judgements):
        return [whole]
    least = min(len(j.votes) for j in judgements)
    return sorted({k for k in (*SIZES, whole) if k <= least})


def verdict_at(judgement: Judgement, votes: int) -> Verdict | None:
    """Return the greedy verdict (0 votes), or the majority of the first votes."""
    return majority(judgement.votes[:votes]) if votes else judgement.position


# ---------------------------------------------------------- stopping rules


def decided(ones: int, twos: int, left: int) -> bool:
    """Return whether no votes to come can take the majority away: the lead exceeds what is left.

    A tie would take it away, too. Votes that turn out unparsable leave the lead as it is, so that
    they cannot.
    """
    return abs(ones - twos) > left


def leader_stays(ones: int, twos: int, left: int) -> float:
    """Return the probability that the leader of the votes so far has the majority of all of them.

    With a uniform prior on the share of votes for either side, a votes for the leader and b
    against, the number k for the leader among m more is beta-binomial:

        P(k) = C(a + k, k) C(b + m - k, m - k) / C(a + b + m + 1, m),

    summed over the k with a + k > b + m - k. Votes to come are taken to be parsable. 0 while there
    is no leader.
    """
    return _leader_stays(max(ones, twos), min(ones, twos), left)


@cache  # a vote asks for the same few counts again and again
def _leader_stays(a: int, b: int, m: int) -> float:
    from scipy.stats import betabinom  # takes half a second to import, so only where it is needed

    # a + k > b + m - k for whole numbers k exceeding (b + m - a) / 2, rounded down
    return float(betabinom.sf((b + m - a) // 2, m, a + 1, b + 1)) if a > b else 0.0


def probably_decided(ones: int, twos: int, left: int, level: float = LEVEL) -> bool:
    """Return whether the leader keeps the majority with a probability of at least `level`."""
    return leader_stays(ones, twos, left) >= level


RULES: dict[str, Rule] = {"exact": decided, "posterior": probably_decided}


def replay(judgement: Judgement, rule: Rule) -> tuple[Verdict | None, int, int]:
    """Return what would have come out, had votes been drawn one by one until the rule holds.

    Args:
      judgement: with all its votes.
      rule: one of RULES.

    Returns:
      The verdict, the votes used, and the tokens of their completions.

    Raises:
      ValueError: sampling was stopped, so that the votes to come are not known.
    """
    if judgement.stopped:
        raise ValueError("votes that were stopped early cannot be replayed")
    ones = twos = used = 0
    for used, vote in enumerate(judgement.votes, 1):
        ones, twos = ones + (vote == 1), twos + (vote == 2)
        if rule(ones, twos, len(judgement.votes) - used):
            break
    return majority(judgement.votes[:used]), used, sum(judgement.vote_tokens[:used])
