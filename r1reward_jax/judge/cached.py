"""What a judge stands behind for an iteration: each pair is judged once, in groups that are worth
it. Not longer: an iteration must not depend on earlier ones, which a resumed run has not seen."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from r1reward_jax.types import Judge, Verdict

T = TypeVar("T")
Pair = tuple[str, Verdict]


class CachedJudge:
    """Remembers the answers of a judge, whose parameters do not change, by (analysis, verdict).

    New pairs are collected until they make a group; when one of them is waited for, those that
    there are go out at once.
    """

    def __init__(self, judge: Judge):
        self.judge, self.batch = judge, judge.batch
        self._known: dict[Pair, float] = {}
        self._filling = _Group(judge)
        self._open: dict[Pair, _Group] = {}
        """Where pairs without answer are."""

    def start(self, pairs: Sequence[Pair]) -> Callable[[], list[float | None]]:
        """As `types.Judge`; pairs without verdict are asked again the next time."""
        shown = list(pairs)
        known = {pair: self._known[pair] for pair in shown if pair in self._known}
        for pair in dict.fromkeys(shown):
            if pair not in known and pair not in self._open:
                self._collect(pair)
        groups = {pair: self._open[pair] for pair in shown if pair not in known}

        def wait() -> list[float | None]:
            answers: dict[Pair, float | None] = dict(known)
            for pair, group in groups.items():
                answers[pair] = self._answer(pair, group)
            for pair in shown:
                self._remember(pair, answers[pair])
            return [answers[pair] for pair in shown]

        return wait

    def score(self, pairs: Sequence[Pair]) -> list[float | None]:
        """As the judge's own."""
        return self.start(pairs)()

    def _collect(self, pair: Pair) -> None:
        group = self._open[pair] = self._filling
        group.pairs.append(pair)
        if len(group.pairs) == self.batch:
            self._filling = _Group(self.judge)
            self._or_forget(group, group.ask)

    def _answer(self, pair: Pair, group: "_Group") -> float | None:
        if group is self._filling:
            self._filling = _Group(self.judge)
        answer = self._or_forget(group, group.answers)[pair]
        if self._open.get(pair) is group:
            del self._open[pair]
        return answer

    def _or_forget(self, group: "_Group", call: Callable[[], T]) -> T:
        """What a call gives; if it fails, the pairs of the group can be asked for again."""
        try:
            return call()
        except BaseException:
            self._open = {pair: g for pair, g in self._open.items() if g is not group}
            raise

    def _remember(self, pair: Pair, answer: float | None) -> None:
        if answer is not None:
            self._known[pair] = answer


class _Group:
    """Pairs that go to the judge together."""

    def __init__(self, judge: Judge):
        self.judge, self.pairs = judge, list[Pair]()
        self._wait: Callable[[], Sequence[float | None]] | None = None
        self._answers: dict[Pair, float | None] | None = None

    def ask(self) -> Callable[[], Sequence[float | None]]:
        """Once; what it returns waits."""
        self._wait = self._wait or self.judge.start(self.pairs)
        return self._wait

    def answers(self) -> dict[Pair, float | None]:
        """Waits for them."""
        if self._answers is None:
            self._answers = dict(zip(self.pairs, self.ask()(), strict=True))
        return self._answers
