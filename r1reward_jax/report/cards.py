"""Items as cards: what `templates/card.html` shows of a record with all its judgements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from r1reward_jax.prompts import parse_analysis, well_formed
from r1reward_jax.report.items import LOST, WON, Item, Judged
from r1reward_jax.report.pictures import Picture
from r1reward_jax.report.prose import prose
from r1reward_jax.report.rewards import Reward, reward_of
from r1reward_jax.report.samples import Sample
from r1reward_jax.report.view import color_of
from r1reward_jax.types import Verdict

PICTURE_BYTES = 12 * 2**20
"""Bytes that the pictures of a page may have together."""
LETTERS = ("a", "b")
"""Names of the two responses where both orders are shown, as stored."""
NUMBERS = ("1", "2")
"""Their names where there is one order only: their positions."""


@dataclass(frozen=True)
class Text:
    """A text that somebody wrote."""

    source: str
    drawn: Markup | None
    """With its Markdown and formulas drawn; None where it has none."""


@dataclass(frozen=True)
class Analysis:
    """What a model wrote about the responses."""

    text: Text
    well_formed: bool
    """Shown as prose; other texts are shown as they were written."""
    verdict: Verdict | None
    reward: Reward | None
    judge: float | None
    """The judge's probability that the text supports its verdict."""


@dataclass(frozen=True)
class Shown:
    """A judgement in one order."""

    sample: Sample
    order: str
    """Which response is shown first; empty where there is one order only."""
    names: tuple[str, str]
    """Names of the responses in the order in which they are shown."""
    analyses: Sequence[Analysis]

    @property
    def look(self) -> tuple[str, str, str]:
        """Look, sign and word of its outcome."""
        if self.sample.skipped:
            return "odd", "–", "skipped"
        if self.sample.verdict is None:
            return "bad", "?", "no verdict" if self.sample.texts else "a tie"
        if self.sample.right is None:
            return "", "·", "no label"
        return ("good", "✓", "right") if self.sample.right else ("bad", "✗", "wrong")

    @property
    def says(self) -> str:
        """The verdict in words; empty without one."""
        verdict = self.sample.verdict
        if verdict is None:
            return ""
        return f"says {verdict}" + (f", which is {self.name_of(verdict)}" if self.order else "")

    def name_of(self, verdict: Verdict | None) -> str:
        """Return the name of the response at a position; a question mark for none."""
        return "?" if verdict is None else self.names[verdict - 1]

    @property
    def votes(self) -> list[tuple[str, str]]:
        """Look and name of the response that each vote is for; of several verdicts of one line,
        without a greedy one, they are the votes."""
        sample = self.sample
        given = sample.votes or (sample.verdicts if len(sample.verdicts) > 1 else ())
        looks = [
            "" if sample.preferred is None else "good" if vote == sample.preferred else "bad"
            for vote in given
        ]
        return [(look, self.name_of(vote)) for look, vote in zip(looks, given)]


@dataclass(frozen=True)
class Column:
    """What one run says about a record."""

    run: str
    """Its name; empty where there is only one."""
    color: int
    orders: Sequence[Shown]


@dataclass(frozen=True)
class ItemCard:
    """One record with its judgements, or one sample of training."""

    item: Item
    where: str
    """Source and id."""
    group: str
    question: Text | None
    responses: Sequence[tuple[str, Text, bool]]
    """Name and text of each, and whether it is the preferred one."""
    pictures: Sequence[tuple[Picture, bool]]
    """Pictures, and whether their data stand here: the page has each picture's once."""
    columns: Sequence[Column]

    @property
    def marks(self) -> list[tuple[str, str]]:
        """Look and text of the signs above the card."""
        kinds, samples = self.item.kinds, [s.sample for c in self.columns for s in c.orders]
        marks = [("good", "B right where A was wrong")] if WON in kinds else []
        marks += [("bad", "B wrong where A was right")] if LOST in kinds else []
        if all(sample.preferred is None for sample in samples):
            marks.append(("", "no label"))
        elif "wrong" in kinds:
            marks.append(("bad", "wrong"))
        elif "right" in kinds:
            marks.append(("good", "right"))
        for kind, text in (("flipped", "flipped"), ("inconsistent", "inconsistent")):
            marks += [("odd", text)] if kind in kinds else []
        marks += [("odd", "no verdict in some text")] if "unparsable" in kinds else []
        marks += [("odd", "skipped")] if "skipped" in kinds else []
        return marks + ([("odd", "truncated")] if any(s.truncated for s in samples) else [])


class Cards:
    """Makes cards; a picture's data stand in the page once, on the first card that shows it, and
    only as long as all of them together are not too large."""

    def __init__(self, names: Sequence[str], weights: Sequence[Mapping[str, Any]]):
        """
        Args:
          names: of the runs.
          weights: the section `rl` of each run's config.
        """
        self._names, self._weights = names, weights
        self._seen: set[str] = set()
        self._bytes, self.left_out = 0, 0
        """How many pictures were left out because the page has too many."""

    def card(
        self,
        item: Item,
        judged: Sequence[tuple[Judged, Sequence[Sample]]],
        question: str | None,
        pictures: Sequence[Picture],
    ) -> ItemCard:
        """Return the card of an item.

        Args:
          item: what is shown.
          judged: its judgements with their samples.
          question: what was asked; None if it is not known.
          pictures: of its record.
        """
        first = judged[0][1][0]
        names = LETTERS if len(judged[0][1]) == 2 else NUMBERS
        run = [self._names[judged[0][0].source.run]] if self._is_alone(judged) else []
        where = " · ".join([*run, judged[0][0].source.label, first.id])
        responses = [
            (name, _text(response), first.preferred == position)
            for position, (name, response) in enumerate(zip(names, first.responses), 1)
        ]
        return ItemCard(
            item,
            where,
            first.groups[-1] if first.groups else "",
            None if question is None else _text(question),
            responses,
            [self._once(picture) for picture in pictures],
            [self._column(part, samples) for part, samples in judged],
        )

    def _is_alone(self, judged: Sequence[Any]) -> bool:
        return len(self._names) > 1 and len(judged) == 1

    def _column(self, judged: Judged, samples: Sequence[Sample]) -> Column:
        run = judged.source.run
        both, weights = len(samples) == 2, self._weights[run]
        orders = []
        for i, sample in enumerate(samples):
            first, second = LETTERS if both else NUMBERS
            names = (second, first) if i else (first, second)
            said = [_analysis(sample, k, weights) for k in range(len(sample.texts))]
            orders.append(Shown(sample, f"{names[0]} shown first" if both else "", names, said))
        return Column(self._names[run] if len(self._names) > 1 else "", color_of(run), orders)

    def _once(self, picture: Picture) -> tuple[Picture, bool]:
        if picture.problem or picture.key in self._seen:
            return picture, False
        if self._bytes + len(picture.uri) > PICTURE_BYTES:
            self.left_out += 1
            problem = f"left out: the page holds {PICTURE_BYTES // 2**20} MB of images already"
            return replace(picture, uri="", problem=problem), False
        self._bytes += len(picture.uri)
        self._seen.add(picture.key)
        return picture, True


def _text(source: str) -> Text:
    return Text(source, prose(source))


def _analysis(sample: Sample, i: int, weights: Mapping[str, Any]) -> Analysis:
    text = sample.texts[i]
    formed = well_formed(text)
    said = parse_analysis(text) if formed else text
    return Analysis(
        _text(said) if formed else Text(said, None),
        formed,
        sample.verdicts[i] if i < len(sample.verdicts) else None,
        reward_of(sample.rewards[i] if i < len(sample.rewards) else {}, weights),
        sample.judge[i] if i < len(sample.judge) else None,
    )
