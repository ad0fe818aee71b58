"""Samples as cards: images, question, both responses, what was written, what it earned."""

from collections.abc import Sequence
from html import escape

from r1reward_jax.prompts import parse_analysis, well_formed
from r1reward_jax.report.pictures import Picture
from r1reward_jax.report.samples import Sample, Source
from r1reward_jax.report.scale import short
from r1reward_jax.types import Verdict

LONGEST = 20_000
"""Characters of a text, at most; what is longer is cut, and says so."""
PARTS = ("total", "format", "result", "consistency")
"""Of a reward, shown even where they are 0."""


class Cards:
    """Makes cards; a picture's data stand in the page once, where it is first seen."""

    def __init__(self, names: Sequence[str]):
        """
        Args:
          names: of the runs.
        """
        self._names, self._seen = names, set()

    def card(
        self, source: Source, sample: Sample, question: str | None, pictures: Sequence[Picture]
    ) -> str:
        """One sample as an article.

        Args:
          source: where it is from.
          sample: what was judged and written.
          question: what was asked; None if it is not known.
          pictures: of its record.
        """
        where = [self._names[source.run]] if len(self._names) > 1 else []
        where += [source.label, sample.id]
        asked = _text(question) if question else "The question was not recorded."
        seen = "".join(self._picture(p, sample) for p in pictures)
        return (
            f'<article class="sample" data-run="{source.run}" data-source="{escape(source.key)}" '
            f'data-training="{int(source.training)}" data-kinds="{" ".join(sorted(sample.kinds))}">'
            f'<p class="where"><span class="marks">{_marks(sample)}</span>'
            f"<span data-say>{escape(' · '.join(where))}</span></p>"
            f'<div class="body"><div class="seen">{seen}</div><div class="said">'
            f"<h3 data-say>{asked}</h3>{_responses(sample)}{_texts(sample)}{_votes(sample)}"
            "</div></div></article>"
        )

    def _picture(self, picture: Picture, sample: Sample) -> str:
        if picture.problem:
            return f'<p class="lost">Image missing. {escape(picture.problem)}</p>'
        width, height = picture.size
        alt = f"image of record {sample.id}, {width} by {height} pixels"
        first = picture.key not in self._seen
        self._seen.add(picture.key)
        source = (
            f'id="i-{picture.key}" src="{picture.uri}"' if first else f'data-same="i-{picture.key}"'
        )
        kind = ' class="small"' if picture.small else ""
        return f'<img {source} alt="{escape(alt)}"{kind} width="{width}" height="{height}">'


def _marks(sample: Sample) -> str:
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
    marks += [("odd", "cut at the limit")] if sample.cut else []
    return "".join(f'<span class="mark {look}">{text}</span>' for look, text in marks)


def _responses(sample: Sample) -> str:
    rows = ""
    for position, response in enumerate(sample.responses, 1):
        tags = ['<span class="tag best">preferred</span>'] if sample.preferred == position else []
        if sample.verdict == position:
            tags.append('<span class="tag chosen">chosen by the model</span>')
        if sample.scores:
            tags.append(f'<span class="tag">score {short(sample.scores[position - 1])}</span>')
        look = ' class="best"' if sample.preferred == position else ""
        rows += (
            f'<li{look}><span class="position">{position}</span>'
            f'<div><p class="response" data-say>{_text(response)}</p>{"".join(tags)}</div></li>'
        )
    return f'<ol class="responses" aria-label="responses">{rows}</ol>'


def _texts(sample: Sample) -> str:
    """What was written: the first text open, further ones behind a fold."""
    texts = [_written(sample, i) for i in range(len(sample.texts))]
    if len(texts) < 2:
        return "".join(texts)
    more = "".join(texts[1:])
    return f"{texts[0]}<details><summary>{len(texts) - 1} more analyses</summary>{more}</details>"


def _written(sample: Sample, i: int) -> str:
    text = sample.texts[i]
    verdict = sample.verdicts[i] if i < len(sample.verdicts) else None
    ends = f"says {verdict}" if verdict else "no verdict"
    if well_formed(text):
        body = f'<p class="text" data-say tabindex="0">{_text(parse_analysis(text))}</p>'
    else:
        body = f'<pre class="text" data-say tabindex="0">{_text(text) or "(nothing)"}</pre>'
        ends += ", not well-formed; as written"
    return (
        f'<div class="written"><p class="label">Analysis <b>{ends}</b></p>{body}'
        f"{_earned(sample, i)}</div>"
    )


def _earned(sample: Sample, i: int) -> str:
    """Reward, part by part, and the judge's probability."""
    reward = sample.rewards[i] if i < len(sample.rewards) else {}
    names = [n for n in PARTS if n in reward]
    names += [n for n, value in reward.items() if n not in PARTS and value]
    rows = "".join(f"<div><dt>{escape(n)}</dt><dd>{short(reward[n])}</dd></div>" for n in names)
    probability = sample.judge[i] if i < len(sample.judge) else None
    if probability is not None:
        share = min(max(probability, 0.0), 1.0) * 100
        look = "bad" if probability < 0.5 else "good"
        rows += (
            f'<div class="judge"><dt>judge: supports</dt><dd><span class="bar {look}">'
            f'<i style="width:{share:.0f}%"></i></span>{probability:.3f}</dd></div>'
        )
    return f'<dl class="earned">{rows}</dl>' if rows else ""


def _votes(sample: Sample) -> str:
    """Verdicts of several samples, beside the greedy one or without it."""
    votes = sample.votes or (sample.verdicts if len(sample.verdicts) > 1 else ())
    if not votes:
        return ""
    signs = "".join(_vote(v, sample.preferred) for v in votes)
    right = sum(v == sample.preferred for v in votes)
    told = f" {right} of {len(votes)} right" if sample.preferred else ""
    return f'<p class="votes"><span class="label">Votes</span> {signs}{told}</p>'


def _vote(vote: Verdict | None, preferred: Verdict | None) -> str:
    look = "" if preferred is None else "good" if vote == preferred else "bad"
    return f'<span class="vote {look}">{vote or "?"}</span>'


def _text(text: str) -> str:
    """Escaped, and not longer than LONGEST."""
    if len(text) <= LONGEST:
        return escape(text)
    return f"{escape(text[:LONGEST])}<i> … {len(text) - LONGEST:,} more characters</i>"
