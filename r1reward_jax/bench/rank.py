"""Best of N: what a merge sort of comparisons finds, against all pairs and against the truth.

Questions are those of the embedded world about held-out scenes, and one of N responses is right.
The first four are of the question's own kind (all colors of a shape, or all numbers of it). Beyond
these come statements of the other kind, which no model of the quickstart was trained to reject.
"""

import random
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from r1reward_jax.bench.timing import Row, compare
from r1reward_jax.console import say
from r1reward_jax.data.synthetic import COLORS, NUMBERS, SHAPES, make_world
from r1reward_jax.inference.ranking import agreement
from r1reward_jax.inference.results import Ranking
from r1reward_jax.reward_model import RewardModel
from r1reward_jax.types import InputError, PreferenceRecord

OWN = len(COLORS)
"""Responses of a question's own kind."""


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    scenes: int
    fewest: int
    """Responses to a question, in the first round."""
    most: int
    """In the last one."""
    seed: int
    """Of the world."""
    batch: int
    """Pairs that are judged at a time."""
    model: str
    """Hugging Face folder."""

    def __post_init__(self) -> None:
        if self.scenes < 1 or not 2 <= self.fewest <= self.most <= 2 * OWN:
            raise InputError(
                f"bench rank: scenes {self.scenes}, fewest {self.fewest}, most {self.most}: "
                f"expected a scene or more, and between 2 and {2 * OWN} responses"
            )


class Question(NamedTuple):
    """A question with one right response."""

    skill: str
    text: str
    image: str
    responses: list[str]
    right: int


def run(s: Settings) -> tuple[list[Row], dict[str, Any]]:
    """Merge sort and round robin, for every number of responses, and how often they agree.

    Raises:
      InputError: no model, or settings that make no sense.
    """
    model = RewardModel.from_pretrained(s.model, batch_size=s.batch)
    rows, found = [], {}
    with tempfile.TemporaryDirectory() as folder:
        records = _records(folder, s)
        for count in range(s.fewest, s.most + 1):
            questions = [_question(r, count, random.Random(f"{s.seed}/{r.id}")) for r in records]
            row, found[f"{count} responses"] = _measure(model, questions)
            rows.append(row)
    return rows, found


def _measure(model: RewardModel, questions: Sequence[Question]) -> tuple[Row, dict[str, Any]]:
    """Both ways, timed, and what came out."""
    kept: dict[str, list[Ranking]] = {}

    def call(name: str) -> None:
        rank = getattr(model, name)
        kept[name] = [rank(q.text, q.image, q.responses) for q in questions]

    count = len(questions[0].responses)
    row = compare(
        f"best of {count}, {len(questions)} scenes",
        lambda: call("rank"),
        lambda: call("round_robin"),
        rounds=1,
    )
    sort, robin = ([r.best for r in kept[name]] for name in ("rank", "round_robin"))
    right = [q.right for q in questions]
    found = {
        "agreement": agreement(sort, robin),
        "rank_accuracy": agreement(sort, right),
        "round_robin_accuracy": agreement(robin, right),
        "rank_accuracy_by_skill": _by_skill(sort, questions),
        "pair_accuracy": _pairs(kept["round_robin"], questions),
        "chance": 1 / count,
        "rank_judgements": _mean([r.judgements for r in kept["rank"]]),
        "round_robin_judgements": _mean([r.judgements for r in kept["round_robin"]]),
    }
    say(
        f"{'':<28} agree {found['agreement']:.3f}; right {found['rank_accuracy']:.3f} and "
        f"{found['round_robin_accuracy']:.3f}; judgements {found['rank_judgements']:.1f} and "
        f"{found['round_robin_judgements']:.1f}"
    )
    return row, found


def _pairs(rankings: Sequence[Ranking], questions: Sequence[Question]) -> float:
    """Share of the comparisons with the right response that it wins."""
    won = [
        comparison.preferred == (1 if pair[0] == question.right else 2)
        for ranking, question in zip(rankings, questions, strict=True)
        for pair, comparison in ranking.comparisons.items()
        if question.right in pair
    ]
    return _mean(won)


def _by_skill(chosen: Sequence[int], questions: Sequence[Question]) -> dict[str, float]:
    """Share of questions of each skill whose chosen response is right."""
    right: dict[str, list[bool]] = {}
    for place, question in zip(chosen, questions, strict=True):
        right.setdefault(question.skill, []).append(place == question.right)
    return {skill: _mean(found) for skill, found in right.items()}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# ------------------------------------------------------------------ questions


def _records(folder: str, s: Settings) -> list[PreferenceRecord]:
    """Held-out records, as the quickstart of this seed makes them."""
    world = make_world(
        folder,
        seed=s.seed,
        sizes={"heldout": s.scenes + s.scenes % 2},  # whole twins
        skills=("color", "count"),
        things={"heldout": (1, 2, 3, 3)},
    )
    return world["heldout"][: s.scenes]


def _question(record: PreferenceRecord, count: int, rng: random.Random) -> Question:
    """The right response among others, in random places."""
    right = record.responses[0 if record.preferred == 1 else 1]
    shape = next(shape for shape in SHAPES if re.search(rf"\b{shape}", record.question))
    colors, numbers = [f"{shape} {c}" for c in COLORS], [f"I count {n}" for n in NUMBERS]
    own, others = (colors, numbers) if record.meta["skill"] == "color" else (numbers, colors)
    wrong = [text for text in own if text != right]
    chosen = [right, *rng.sample(wrong, len(wrong)), *rng.sample(others, len(others))][:count]
    rng.shuffle(chosen)
    return Question(
        record.meta["skill"], record.question, record.images[0], chosen, chosen.index(right)
    )
