"""Samples as cards: what `templates/card.html` shows of a record in one order."""

from collections.abc import Sequence
from dataclasses import dataclass

from r1reward_jax.prompts import parse_analysis, well_formed
from r1reward_jax.report.pictures import Picture
from r1reward_jax.report.samples import Sample, Source
from r1reward_jax.report.scale import short
from r1reward_jax.types import Verdict

LONGEST = 20_000
"""Characters of a text, at most; what is longer is shortened, and says so."""
PARTS = ("total", "format", "result", "consistency")
"""Parts of a reward that are shown even where they are 0."""


@dataclass(frozen=True)
class Text:
    """A text of a record or of a model, shortened where it is very long."""

    shown: str
    more: int = 0
    """Characters that are left out."""


@dataclass(frozen=True)
class Response:
    """One of the two responses."""

    position: Verdict
    text: Text
    preferred: bool
    chosen: bool
    """The model's verdict names it."""
    score: str
    """Of a scalar model; empty for others."""


@dataclass(frozen=True)
class Analysis:
    """What a model wrote about the responses."""

    ends: str
    """Its verdict, and whether the text has the trained format."""
    text: Text
    well_formed: bool
    """Shown as prose; other texts are shown as they were written."""
    reward: Sequence[tuple[str, str]]
    """Name and value of each part."""
    judge: float | None
    """The judge's probability that the text supports its verdict."""


@dataclass(frozen=True)
class SampleCard:
    """One sample."""

    source: Source
    kinds: Sequence[str]
    where: str
    """Run, source and id."""
    marks: Sequence[tuple[str, str]]
    """Look and text of the signs above it."""
    pictures: Sequence[tuple[Picture, bool]]
    """Pictures, and whether their data stand here: the page has each picture's once."""
    alt: str
    """What a picture shows, without its size."""
    question: Text | None
    responses: Sequence[Response]
    analyses: Sequence[Analysis]
    votes: Sequence[tuple[str, str]]
    """Look and text of each vote."""
    right: str
    """How many votes are right; empty without a label."""


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
        votes = sample.votes or (sample.verdicts if len(sample.verdicts) > 1 else ())
        right = sum(vote == sample.preferred for vote in votes)
        return SampleCard(
            source,
            sorted(sample.kinds),
            " · ".join([*run, source.label, sample.id]),
            _marks(sample),
            [(picture, self._is_first(picture)) for picture in pictures],
            f"image of record {sample.id}",
            _text(question) if question else None,
            _responses(sample),
            [_analysis(sample, i) for i in range(len(sample.texts))],
            [_vote(vote, sample.preferred) for vote in votes],
            f"{right} of {len(votes)} right" if sample.preferred else "",
        )

    def _is_first(self, picture: Picture) -> bool:
        if picture.problem or picture.key in self._seen:
            return False
        self._seen.add(picture.key)
        return True


def _marks(sample: Sample) -> list[tuple[str, str]]:
    kinds = sample.kinds
    if sample.preferred is None:
        marks = [("", "no label")]
    elif sample.verdict is None:
        marks = [("bad", "no verdict" if sample.texts else "a tie")]
    else:
        marks = [("bad", "wrong") if "wrong" in kinds else ("good", "right")]
    marks += [("odd", "flipped")] if "flipped" in kinds else []
    marks += [("odd", "inconsistent")] if "inconsistent" in kinds else []
    if "unparsable" in kinds and sample.verdict is not None:
        marks.append(("odd", "some without verdict"))
    return marks + ([("odd", "truncated")] if sample.truncated else [])


def _responses(sample: Sample) -> list[Response]:
    positions: tuple[Verdict, Verdict] = (1, 2)
    return [
        Response(
            position,
            _text(sample.responses[position - 1]),
            sample.preferred == position,
            sample.verdict == position,
            short(sample.scores[position - 1]) if sample.scores else "",
        )
        for position in positions
    ]


def _analysis(sample: Sample, i: int) -> Analysis:
    text, is_formed = sample.texts[i], well_formed(sample.texts[i])
    verdict = sample.verdicts[i] if i < len(sample.verdicts) else None
    ends = f"verdict {verdict}" if verdict else "no verdict"
    ends += "" if is_formed else ", not well-formed; as written"
    shown = parse_analysis(text) if is_formed else text or "(nothing)"
    reward = sample.rewards[i] if i < len(sample.rewards) else {}
    parts = [name for name in PARTS if name in reward]
    parts += [name for name, value in reward.items() if name not in PARTS and value]
    return Analysis(
        ends,
        _text(shown),
        is_formed,
        [(name, short(reward[name])) for name in parts],
        sample.judge[i] if i < len(sample.judge) else None,
    )


def _vote(vote: Verdict | None, preferred: Verdict | None) -> tuple[str, str]:
    look = "" if preferred is None else "good" if vote == preferred else "bad"
    return look, str(vote or "?")


def _text(text: str) -> Text:
    return Text(text[:LONGEST], max(0, len(text) - LONGEST))
