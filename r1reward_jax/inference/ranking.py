"""Rank responses by comparing two at a time: merge sort, or all against all.

Pure functions. A judge is a function from pairs (i, j), i < j, to the probabilities that i is
better than j; all pairs of a call are independent and can be judged together. A tie, 0.5, keeps
the given order.
"""

import itertools
from collections import deque
from collections.abc import Callable, Sequence

Pair = tuple[int, int]
Better = Callable[[list[Pair]], Sequence[float]]


def merge_sort(count: int, better: Better) -> list[int]:
    """Return the places 0..count-1, best first, from at most count * ceil(log2 count) comparisons.

    Neighbouring runs are merged, all merges of a level at the same time and each of them from both
    ends: that halves the calls, which follow one another, and adds no comparison. With a judge
    that contradicts itself the result is some order, within the same bound.

    Args:
      count: of what is ranked.
      better: the judge; never asked twice about a pair.
    """
    runs = [[place] for place in range(count)]
    while len(runs) > 1:
        merges = [_Merge(left, right) for left, right in zip(runs[::2], runs[1::2], strict=False)]
        while pairs := [pair for merge in merges for pair in merge.wants()]:
            chances = dict(zip(pairs, better(pairs), strict=True))
            for merge in merges:
                merge.advance(chances)
        runs = [merge.order() for merge in merges] + runs[2 * len(merges) :]
    return runs[0] if runs else []


class _Merge:
    """Two runs, each best first, that are merged from both ends."""

    def __init__(self, left: Sequence[int], right: Sequence[int]):
        self.left, self.right = deque(left), deque(right)
        self.top: list[int] = []
        self.bottom: list[int] = []
        """The worst first."""

    def wants(self) -> list[Pair]:
        """Return the next comparisons, of the best and of the worst ones; none at the end."""
        if not self.left or not self.right:
            return []
        front, back = (self.left[0], self.right[0]), (self.left[-1], self.right[-1])
        return [front] if front == back else [front, back]

    def advance(self, chances: dict[Pair, float]) -> None:
        """Take the better one of the best, and the worse one of the worst."""
        pairs = self.wants()
        for pair in pairs[:1]:
            self.top.append((self.left if chances[pair] >= 0.5 else self.right).popleft())
        for pair in pairs[1:]:
            worse = self.right if chances[pair] >= 0.5 else self.left
            if worse:  # empty: a judge that contradicts itself calls one response best and worst
                self.bottom.append(worse.pop())

    def order(self) -> list[int]:
        """Return the merged run."""
        return [*self.top, *self.left, *self.right, *self.bottom[::-1]]


def round_robin(count: int, better: Better) -> tuple[list[int], list[float]]:
    """Return the places 0..count-1, best first, and their mean chances against the others (0.5
    without others), from all count * (count - 1) / 2 comparisons in one call.

    Args:
      count: of what is ranked.
      better: the judge.
    """
    pairs = list(itertools.combinations(range(count), 2))
    won: list[list[float]] = [[] for _ in range(count)]
    for (first, second), chance in zip(pairs, better(pairs) if pairs else [], strict=True):
        won[first].append(chance)
        won[second].append(1 - chance)
    means = [sum(chances) / len(chances) if chances else 0.5 for chances in won]
    return sorted(range(count), key=lambda place: -means[place]), means


def agreement(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the share of questions for which two ways of choosing, or one and the truth, have the
    same best response.

    Args:
      first: the best response's place, for each question.
      second: the same, chosen otherwise.
    """
    same = [a == b for a, b in zip(first, second, strict=True)]
    return sum(same) / len(same)
