"""Samples as cards: what `templates/card.html` shows of a record in one order."""

from collections.abc import Sequence
from dataclasses import dataclass

from r1reward_jax.prompts import parse_analysis, well_formed
from r1reward_jax.report.pictures import Picture
from r1reward_jax.report.samples import Sample, Source
from r1reward_jax.types import Verdict

PARTS = ("total", "format", "result", "consistency")
"""Parts of a reward that are shown even where they are 0."""


@dataclass(frozen=True)
class Analysis:
    """What a model wrote about the responses."""

    text: str
    well_formed: bool
    """Shown as prose; other texts are shown as they were written."""
    verdict: Verdict | None
    reward: Sequence[tuple[str, float]]
    judge: float | None
    """The judge's probability that the text supports its verdict."""


@dataclass(frozen=True)
class SampleCard:
    """One sample."""

    source: Source
    sample: Sample
    where: str
    """Run, source and id."""
    question: str | None
    pictures: Sequence[tuple[Picture, bool]]
    """Pictures, and whether their data stand here: the page has each picture's once."""

    @property
    def marks(self) -> list[tuple[str, str]]:
        """Look and text of the signs above the sample."""
        sample, kinds = self.sample, self.sample.kinds
        if sample.preferred is None:
            marks = [("", "no label")]
        elif sample.verdict is None:
            marks = [("bad", "no verdict" if sample.texts else "a tie")]
        else:
            marks = [("bad", "wrong") if "wrong" in kinds else ("good", "right")]
        marks += [("odd", kind) for kind in ("flipped", "inconsistent") if kind in kinds]
        if "unparsable" in kinds and sample.verdict is not None:
            marks.append(("odd", "some without verdict"))
        return marks + ([("odd", "truncated")] if sample.truncated else [])

    @property
    def analyses(self) -> list[Analysis]:
        """What was written, in order."""
        return [_analysis(self.sample, i) for i in range(len(self.sample.texts))]

    @property
    def votes(self) -> Sequence[Verdict | None]:
        """Verdicts of several samples, beside the greedy one or without it."""
        several = self.sample.verdicts if len(self.sample.verdicts) > 1 else ()
        return self.sample.votes or several


class Cards:
    """Makes cards; a picture's data stand in the page once, on the first card that shows it."""

    def __init__(self, names: Sequence[str]):
        """
        Args:
          names: of the runs.
        """
        self._names, self._seen = names, set()

    def card(
        self, source: Source, sample: Sample, question: str | None, pictures: Sequence[Picture]
    ) -> SampleCard:
        """Return the card of one sample.

        Args:
          source: where it is from.
          sample: what was judged and written.
          question: what was asked; None if it is not known.
          pictures: of its record.
        """
        run = [self._names[source.run]] if len(self._names) > 1 else []
        where = " · ".join([*run, source.label, sample.id])
        firsts = [(picture, self._is_first(picture)) for picture in pictures]
        return SampleCard(source, sample, where, question, firsts)

    def _is_first(self, picture: Picture) -> bool:
        if picture.problem or picture.key in self._seen:
            return False
        self._seen.add(picture.key)
        return True


def _analysis(sample: Sample, i: int) -> Analysis:
    text, reward = sample.texts[i], sample.rewards[i] if i < len(sample.rewards) else {}
    names = [name for name in PARTS if name in reward]
    names += [name for name, value in reward.items() if name not in PARTS and value]
    return Analysis(
        parse_analysis(text) if well_formed(text) else text,
        well_formed(text),
        sample.verdicts[i] if i < len(sample.verdicts) else None,
        [(name, reward[name]) for name in names],
        sample.judge[i] if i < len(sample.judge) else None,
    )
