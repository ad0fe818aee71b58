"""Make the embedded world: preference records about small rendered images, from a seed.

A scene is a 3 x 3 board with a few coloured shapes. Records come in twins: the same question and
the same two responses about two scenes, one for which the first response is true and one for
which the second is. So neither text nor length tells which response is right; only the image does
(the balanced pairs of VQA v2, Goyal et al. 2017, arXiv 1612.00837). Questions, and therefore
twins, are disjoint between splits, and so are images.

Differs from the paper's data (MM-RLHF and others): a program knows the truth here, which is what
lets tests and the quickstart check consistency without a model.
"""

import hashlib
import io
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from etils import epath
from PIL import Image, ImageDraw

from r1reward_jax.console import counter
from r1reward_jax.types import InputError, PreferenceRecord, Verdict

COLORS = {
    "red": (214, 39, 40),
    "green": (44, 150, 44),
    "blue": (31, 90, 220),
    "yellow": (240, 200, 20),
}
SHAPES = ("circle", "square", "triangle", "cross")
ORDINALS = ("first", "second")
PLURALS = {s: s + ("es" if s == "cross" else "s") for s in SHAPES}
NUMBERS = ("zero", "one", "two", "three")
SPLITS = {"sft": 0.6, "rl": 0.2, "heldout": 0.2}
"""Share of the question texts that each split gets."""
BOARD = 3
CELL = 28
"""Pixels of a board cell, the size of one visual token of Qwen2.5-VL."""

QUESTIONS = {
    "color": (
        "What color is the {x}?",
        "Which color does the {x} have?",
        "Tell me the color of the {x}.",
        "Name the color of the {x}.",
        "The {x} has which color?",
        "Say what color the {x} is.",
    ),
    "count": (
        "How many {xs} are there?",
        "What is the number of {xs}?",
        "Tell me the number of {xs}.",
        "Count the {xs}.",
        "How many {xs} do you see?",
        "Say how many {xs} there are.",
    ),
    "shape": (
        "What shape is the {x} object?",
        "Which shape does the {x} object have?",
        "Tell me the shape of the {x} object.",
        "Name the shape of the {x} object.",
        "The {x} object has which shape?",
        "Say what shape the {x} object is.",
    ),
    "position": (
        "In which row is the {x}?",
        "Which row holds the {x}?",
        "Tell me the row of the {x}.",
        "Name the row of the {x}.",
        "The {x} is in which row?",
        "Say in which row the {x} is.",
    ),
}
ROWS = ("top", "middle", "bottom")
CONCLUSIONS = ("So {k} fits.", "So {k} is right.")
"""Ways to end an analysis; {k} is the response that it argues for."""


@dataclass(frozen=True)
class Thing:
    """A shape on the board; row and column count from the top left."""

    color: str
    shape: str
    row: int
    column: int


@dataclass(frozen=True)
class Twin:
    """A question, two responses, and one scene for which each of them is true."""

    skill: str
    question: str
    responses: tuple[str, str]
    facts: tuple[str, str]
    scenes: tuple[tuple[Thing, ...], tuple[Thing, ...]]


# ------------------------------------------------------------------ skills
# Each takes (random numbers, subject of the question, things in a scene) and returns the two
# responses' texts, the two facts that an analysis states, and the two scenes.


def _places(rng: random.Random, count: int) -> list[tuple[int, int]]:
    """Return `count` cells from top to bottom, at most one in a row."""
    return [(row, rng.randrange(BOARD)) for row in sorted(rng.sample(range(BOARD), count))]


def _scene(rng: random.Random, looks: Sequence[tuple[str, str]]) -> tuple[Thing, ...]:
    looks = rng.sample(list(looks), len(looks))
    return tuple(
        Thing(*look, *at) for look, at in zip(looks, _places(rng, len(looks)), strict=True)
    )


def _others(rng: random.Random, count: int, *, color: str = "", shape: str = ""):
    """Return looks of `count` things that are neither of this colour nor of this shape."""
    colors = [c for c in COLORS if c != color]
    shapes = [s for s in SHAPES if s != shape]
    return [(rng.choice(colors), rng.choice(shapes)) for _ in range(count)]


def _color(rng: random.Random, shape: str, things: int):
    pair = rng.sample(list(COLORS), 2)
    scenes = [_scene(rng, [(c, shape), *_others(rng, things - 1, shape=shape)]) for c in pair]
    return [f"{shape} {c}" for c in pair], [f"{shape} {c}" for c in pair], scenes


def _count(rng: random.Random, shape: str, things: int):
    pair = rng.sample(range(things + 1), 2)
    scenes = [
        _scene(
            rng,
            [(rng.choice(list(COLORS)), shape) for _ in range(n)]
            + _others(rng, things - n, shape=shape),
        )
        for n in pair
    ]
    return (
        [f"I count {NUMBERS[n]}" for n in pair],
        [f"I count {NUMBERS[n]}" for n in pair],
        scenes,
    )


def _shape(rng: random.Random, color: str, things: int):
    pair = rng.sample(SHAPES, 2)
    scenes = [_scene(rng, [(color, s), *_others(rng, things - 1, color=color)]) for s in pair]
    return [f"It is a {s}." for s in pair], [f"It is a {s}" for s in pair], scenes


def _position(rng: random.Random, shape: str, things: int):
    pair = rng.sample(range(BOARD), 2)
    scenes = []
    for row in pair:
        rest = rng.sample([r for r in range(BOARD) if r != row], things - 1)
        looks = dict(zip(rest, _others(rng, things - 1, shape=shape), strict=True))
        looks[row] = (rng.choice(list(COLORS)), shape)
        scene = (Thing(*looks[r], r, rng.randrange(BOARD)) for r in sorted(looks))
        scenes.append(tuple(scene))
    return (
        [f"The {ROWS[r]} row." for r in pair],
        [f"It is in the {ROWS[r]} row" for r in pair],
        scenes,
    )


SKILLS: dict[str, tuple[Callable, Sequence[str]]] = {
    "color": (_color, SHAPES),
    "count": (_count, SHAPES),
    "shape": (_shape, tuple(COLORS)),
    "position": (_position, SHAPES),
}


# ------------------------------------------------------------------ worlds


def make_world(
    folder: str,
    *,
    seed: int,
    sizes: dict[str, int],
    skills: Sequence[str],
    things: dict[str, Sequence[int]],
) -> dict[str, list[PreferenceRecord]]:
    """Make the records of every split and write their images as PNG files.

    Args:
      folder: images go to `folder/images`, record paths point there.
      seed: of everything; the same seed gives the same bytes.
      sizes: records per split ("sft", "rl", "heldout"); rounded down to whole twins.
      skills: names from SKILLS.
      things: per split, the numbers of things in a scene to draw from; more are harder.

    Raises:
      InputError: an unknown skill or split, or a scene that does not fit the board.
    """
    unknown = [s for s in skills if s not in SKILLS] + [s for s in sizes if s not in SPLITS]
    if unknown:
        raise InputError(f"unknown {unknown}; skills are {list(SKILLS)}, splits are {list(SPLITS)}")
    for split in sizes:
        if not things[split] or not 1 <= min(things[split]) <= max(things[split]) <= 3:
            raise InputError(f"{split}: a scene has 1 to 3 things, not {list(things[split])}")
    (epath.Path(folder) / "images").mkdir(parents=True, exist_ok=True)
    questions = _split_questions(random.Random(f"{seed}/questions"), skills)
    world, seen = {}, set()
    for split, size in sizes.items():
        rng = random.Random(f"{seed}/{split}")
        world[split] = []
        with counter(f"world: {split}", size // 2) as one_more:
            while len(world[split]) + 2 <= size:
                twin = _twin(rng, questions[split], things[split])
                images = [render(scene, rng) for scene in twin.scenes]
                keys = {hashlib.sha256(image.tobytes()).digest() for image in images}
                if seen.isdisjoint(keys):  # no image occurs twice, within or between splits
                    seen |= keys
                    stem = f"{folder}/images/{split}-{len(world[split]):05d}"
                    world[split] += _records(rng, twin, images, stem)
                    one_more()
    return world


def _split_questions(rng: random.Random, skills: Sequence[str]) -> dict[str, list[tuple]]:
    """Divide the (skill, template, subject) triples among the splits, per skill and subject, so
    that every split asks about every subject."""
    shares: dict[str, list[tuple]] = {split: [] for split in SPLITS}
    for skill in skills:
        for subject in SKILLS[skill][1]:
            triples = [(skill, template, subject) for template in QUESTIONS[skill]]
            rng.shuffle(triples)
            start = 0.0
            for split, share in SPLITS.items():
                first, last = round(start * len(triples)), round((start + share) * len(triples))
                shares[split] += triples[first:last]
                start += share
    return shares


def _twin(rng: random.Random, questions: Sequence[tuple], things: Sequence[int]) -> Twin:
    skill, question, subject = rng.choice(questions)
    responses, facts, scenes = SKILLS[skill][0](rng, subject, rng.choice(things))
    question = question.format(x=subject, xs=PLURALS.get(subject, ""))
    return Twin(skill, question, tuple(responses), tuple(facts), tuple(scenes))


def _records(
    rng: random.Random, twin: Twin, images: Sequence[Image.Image], stem: str
) -> list[PreferenceRecord]:
    """Return the two records of a twin, in one order of the responses: each is right in one."""
    records, flip = [], rng.random() < 0.5
    for k, (scene, image) in enumerate(zip(twin.scenes, images, strict=True)):
        path = f"{stem}-{k}.png"
        png = io.BytesIO()
        image.save(png, "PNG")
        epath.Path(path).write_bytes(png.getvalue())  # not image.save: the folder may be a bucket
        meta = {
            "skill": twin.skill,
            "things": [[t.color, t.shape] for t in scene],
            "fact": twin.facts[k],
            "level": len(scene),
        }
        name, preferred = epath.Path(path).stem, (1 if k == 0 else 2)
        record = PreferenceRecord(
            name, twin.question, twin.responses, preferred, (path,), meta=meta
        )
        records.append(record.swapped() if flip else record)
    return records


def render(scene: Sequence[Thing], rng: random.Random) -> Image.Image:
    """Draw a scene on a light board; sizes and places vary within a cell.

    The board is lit from a corner: the light falls off to the right in red and to the bottom in
    blue, so that a cell's colour tells where it is, as shading does in photographs.
    """
    side, shade = BOARD * CELL, rng.randint(245, 255)
    fall = np.linspace(shade, shade - 60, side).astype(np.uint8)
    board = np.full((side, side, 3), shade, np.uint8)
    board[:, :, 0], board[:, :, 2] = fall, fall[:, None]
    image = Image.fromarray(board)
    draw = ImageDraw.Draw(image)
    for thing in scene:
        size = rng.randint(16, 22)
        x = thing.column * CELL + rng.randint(2, CELL - size - 2)
        y = thing.row * CELL + rng.randint(2, CELL - size - 2)
        color = tuple(max(0, min(255, c + rng.randint(-15, 15))) for c in COLORS[thing.color])
        _draw(draw, thing.shape, x, y, size, color)
    return image


def _draw(draw: ImageDraw.ImageDraw, shape: str, x: int, y: int, size: int, color: tuple) -> None:
    box, third = (x, y, x + size, y + size), size // 3
    if shape == "circle":
        draw.ellipse(box, fill=color)
    elif shape == "square":
        draw.rectangle(box, fill=color)
    elif shape == "triangle":
        draw.polygon([(x + size / 2, y), (x, y + size), (x + size, y + size)], fill=color)
    else:
        draw.rectangle((x + third, y, x + size - third, y + size), fill=color)
        draw.rectangle((x, y + third, x + size, y + size - third), fill=color)


# ------------------------------------------------------------------ truth


def listing(record: PreferenceRecord) -> str:
    """Return the faultless first half of an analysis: the things on the board in reading order, the
    fact that the question asks for, and the response that says the same.

    Shape stands before color, and a fact before the place of its response: a value directly behind
    its key, here and in the brief prompt alike. That is the first lookup that a small decoder
    learns ("induction", Olsson et al. 2022, arXiv 2209.11895); with other orders it came late, or
    on some seeds not at all."""
    things = ", ".join(f"{shape} {color}" for color, shape in record.meta["things"])
    place = ORDINALS[0 if record.preferred == 1 else 1]
    return f"{things}; {record.meta['fact']} {place}."


def conclusion(verdict: Verdict, rng: random.Random) -> str:
    """Return a last sentence that argues for `verdict`."""
    return rng.choice(CONCLUSIONS).format(k=verdict)


def supports(analysis: str) -> Verdict | None:
    """Return the response that an analysis argues for, by its conclusion; None if it has none or
    several that disagree. This is the world's ground truth for consistency."""
    found: set[Verdict] = set()
    for number, _ in re.findall(r"So ([12]) (fits|is right)\.", analysis):
        found.add(1 if number == "1" else 2)
    return found.pop() if len(found) == 1 else None


def world_hash(records: Sequence[PreferenceRecord]) -> str:
    """Return a hash of texts, labels and image bytes."""
    digest = hashlib.sha256()
    for r in records:
        digest.update(repr((r.question, r.responses, r.preferred)).encode())
        for path in r.images:
            digest.update(epath.Path(path).read_bytes())
    return digest.hexdigest()
