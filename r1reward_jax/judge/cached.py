"""What every judge stands behind: each pair is judged once per run."""

from collections import OrderedDict
from collections.abc import Sequence

from r1reward_jax.types import Judge, Verdict


class CachedJudge:
    """Remembers the answers of a judge, whose parameters do not change, by (analysis, verdict)."""

    def __init__(self, judge: Judge, *, lines: int = 0, size: int = 100_000):
        """
        Args:
          judge: is asked for what is not known.
          lines: show it only so many last lines of an analysis (the release: 3); 0 for all.
          size: answers that are kept, the latest ones.
        """
        self.judge, self.lines, self.size = judge, lines, size
        self._known: OrderedDict[tuple[str, Verdict], float] = OrderedDict()

    def score(self, pairs: Sequence[tuple[str, Verdict]]) -> list[float | None]:
        """As the judge's own; pairs without verdict are asked again the next time."""
        shown: list[tuple[str, Verdict]] = [(last_lines(a, self.lines), v) for a, v in pairs]
        new = [pair for pair in dict.fromkeys(shown) if pair not in self._known]
        answers = dict(zip(new, self.judge.score(new) if new else [], strict=True))
        answers |= {pair: self._known[pair] for pair in shown if pair in self._known}
        for pair in shown:
            if (answer := answers[pair]) is not None:
                self._known[pair] = answer
                self._known.move_to_end(pair)
        while len(self._known) > self.size:
            self._known.popitem(last=False)
        return [answers[pair] for pair in shown]


def last_lines(text: str, count: int) -> str:
    """The last lines of a text that are not blank; all of it for a count of 0."""
    if not count:
        return text
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-count:])
