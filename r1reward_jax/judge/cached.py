"""A cache in front of a judge for one iteration: each pair is judged once, in whole batches where
possible. It is not kept longer: an iteration must not depend on earlier ones, which a resumed run
has not seen."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from r1reward_jax.types import Judge, Verdict

T = TypeVar("T")
Pair = tuple[str, Verdict]


class CachedJudge:
    """Remembers the probabilities of a judge, whose parameters do not change, by (analysis,
    verdict).

    New pairs are collected until they fill a batch; when one of them is waited for, the incomplete
    batch is sent at once.
    """

    def __init__(self, judge: Judge):
        self.judge, self.batch = judge, judge.batch
        self._known: dict[Pair, float] = {}
        self._filling = _Batch(judge)
        """The batch that collects new pairs."""
        self._batches: dict[Pair, _Batch] = {}
        """The batch of each pair whose probability has not been read yet."""

    def start(self, pairs: Sequence[Pair]) -> Callable[[], list[float | None]]:
        """Begin to score pairs as `types.Judge`; pairs that got no probability are asked again the
        next time."""
        wanted = list(pairs)
        known = {pair: self._known[pair] for pair in wanted if pair in self._known}
        for pair in dict.fromkeys(wanted):
            if pair not in known and pair not in self._batches:
                self._collect(pair)
        batches = {pair: self._batches[pair] for pair in wanted if pair not in known}

        def wait() -> list[float | None]:
            probabilities: dict[Pair, float | None] = dict(known)
            for pair, batch in batches.items():
                probabilities[pair] = self._read(pair, batch)
            self._known |= {pair: p for pair, p in probabilities.items() if p is not None}
            return [probabilities[pair] for pair in wanted]

        return wait

    def score(self, pairs: Sequence[Pair]) -> list[float | None]:
        """Return P(supports) of each pair, as `types.Judge`."""
        return self.start(pairs)()

    def _collect(self, pair: Pair) -> None:
        batch = self._batches[pair] = self._filling
        batch.pairs.append(pair)
        if len(batch.pairs) == self.batch:
            self._filling = _Batch(self.judge)
            self._or_forget(batch, batch.send)

    def _read(self, pair: Pair, batch: "_Batch") -> float | None:
        if batch is self._filling:
            self._filling = _Batch(self.judge)
        probability = self._or_forget(batch, batch.probabilities)[pair]
        # another call may have collected the pair again since then
        if self._batches.get(pair) is batch:
            del self._batches[pair]
        return probability

    def _or_forget(self, batch: "_Batch", call: Callable[[], T]) -> T:
        """Return what a call returns; if it fails, its pairs can be asked for again."""
        try:
            return call()
        except BaseException:
            self._batches = {pair: b for pair, b in self._batches.items() if b is not batch}
            raise


class _Batch:
    """Pairs that go to the judge together."""

    def __init__(self, judge: Judge):
        self.judge, self.pairs = judge, list[Pair]()
        self._wait: Callable[[], Sequence[float | None]] | None = None
        self._probabilities: dict[Pair, float | None] | None = None

    def send(self) -> Callable[[], Sequence[float | None]]:
        """Send the pairs, once; return the function that waits for their probabilities."""
        self._wait = self._wait or self.judge.start(self.pairs)
        return self._wait

    def probabilities(self) -> dict[Pair, float | None]:
        """Wait for the probabilities of the pairs, once, and return them."""
        if self._probabilities is None:
            self._probabilities = dict(zip(self.pairs, self.send()(), strict=True))
        return self._probabilities
