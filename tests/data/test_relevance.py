"""Which of two products fits a query better: the files, the prompt, the judging."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from PIL import Image, ImageDraw

from r1reward_jax.data.benchmarks import read_benchmark
from r1reward_jax.data.relevance import read_relevance, write_relevance
from r1reward_jax.data.video import Sampling
from r1reward_jax.evals import evaluate
from r1reward_jax.evals.journal import judgement_row
from r1reward_jax.evals.metrics import accuracy
from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.prompts import TEMPLATES, Template, evaluator_prompt
from r1reward_jax.types import (
    Candidate,
    Completion,
    ImagePart,
    InputError,
    PreferenceRecord,
    RelevanceRecord,
)
from tests.rollout.test_sampler import make_engine


def photo(path, shape, color):
    """A product before a white wall."""
    image = Image.new("RGB", (84, 84), "white")
    draw = ImageDraw.Draw(image)
    getattr(draw, shape)((20, 16, 64, 68), fill=color)
    path.parent.mkdir(exist_ok=True)
    image.save(path)


@pytest.fixture
def shop(tmp_path):
    """The worked example: a query in a shop, two products of three photos each."""
    for name, shape, colors in (
        ("mug", "rectangle", ("red", "darkred", "firebrick")),
        ("bowl", "ellipse", ("blue", "navy", "royalblue")),
    ):
        for i, color in enumerate(colors):
            photo(tmp_path / name / f"{i}.png", shape, color)
    row = {
        "id": "shop-1",
        "query": "red mug, {size} 300 ml [Images 2]",
        "candidates": [
            {"text": "A mug.", "images": [f"mug/{i}.png" for i in range(3)]},
            {"text": "A {blue} bowl.", "images": [f"bowl/{i}.png" for i in range(3)]},
        ],
        "preferred": 1,
        "meta": {"group": "kitchen"},
    }
    path = tmp_path / "shop.jsonl"
    path.write_text(json.dumps(row) + "\n" + json.dumps(row | {"preferred": 2}))
    return path


def test_files_survive_the_round_trip(shop):
    records = read_relevance(str(shop))
    first = records[0]
    assert first.candidates[0].images == tuple(str(shop.parent / f"mug/{i}.png") for i in range(3))
    assert [r.preferred for r in records] == [1, 2] and first.meta == {"group": "kitchen"}
    embedded = RelevanceRecord("2", "q", (Candidate("a", (b"\x89PNG",)), Candidate("b")), None)
    write_relevance(str(shop.parent / "again.jsonl"), [*records, embedded])
    assert read_relevance(str(shop.parent / "again.jsonl")) == [*records, embedded]
    assert read_benchmark(str(shop), "", Sampling())[1] == records


def test_a_candidate_may_have_a_video(shop):
    row = json.loads(shop.read_text().splitlines()[0])
    row["candidates"][1] = {"text": "", "video": "bowl"}
    shop.write_text(json.dumps(row))
    (record,) = read_relevance(str(shop), Sampling(fps=2.0, most=2))
    assert len(record.candidates[1].video.frames) == 2
    head, *rest = evaluator_prompt(record, TEMPLATES["full"]).content
    assert rest[-2] is record.candidates[1].video and rest[-1].startswith("\n\nFirst list")
    write_relevance(str(shop.parent / "v.jsonl"), [record])
    assert read_relevance(str(shop.parent / "v.jsonl"), Sampling(2.0, 2)) == [record]
    assert evaluate.without_images([record])[0].candidates[1].video.fps == pytest.approx(4 / 3)


@pytest.mark.parametrize("template", ["full", "brief"])
def test_images_stand_behind_their_heading(shop, template):
    record = read_relevance(str(shop))[0]
    mug, bowl = (list(map(ImagePart, c.images)) for c in record.candidates)
    head, *images, tail = evaluator_prompt(record, TEMPLATES[template]).content
    middle = images.pop(3)
    assert images == mug + bowl
    assert "red mug, {size} 300 ml [Images 2]" in head
    assert head.rstrip().endswith(("[Candidate 1]:", "first"))
    assert middle.startswith("A mug.") and middle.rstrip().endswith(("[Candidate 2]:", "second"))
    assert tail.startswith("A {blue} bowl.")
    swapped = evaluator_prompt(record.swapped(), TEMPLATES[template]).content
    assert list(swapped[1:4]) == bowl and list(swapped[5:8]) == mug
    assert swapped[4].startswith("A {blue} bowl.") and swapped[8].startswith("A mug.")
    assert record.swapped().preferred == 2 and record.swapped().swapped() == record


def test_the_processor_sees_them_in_that_order(shop, checkpoint):
    processor = qwen2_5_vl.Processor(checkpoint, qwen2_5_vl.Buckets((512,), (6,), (36,)))
    encoded = processor.encode(evaluator_prompt(read_relevance(str(shop))[0], TEMPLATES["brief"]))
    text = processor.tokenizer.decode(encoded.token_ids)
    order = [text.index(word) for word in ("first", "A mug.", "second", "A {blue} bowl.")]
    pads = [text.count("<|image_pad|>", a, b) for a, b in zip(order, [*order[1:], None])]
    assert order == sorted(order) and len(encoded.images) == 6
    assert pads == [27, 0, 27, 0]  # three photos of nine merged patches


def test_judged_in_both_orders_by_a_script(shop):
    class Scripted:
        """Finds the mug, wherever it stands."""

        slots = 3
        config = SimpleNamespace(answers=())
        processor = SimpleNamespace(
            misfit=lambda prompt: None,
            encode=lambda prompt: SimpleNamespace(content=prompt.content, token_ids=[0]),
            decode=str,
        )

        def generate(self, params, prompts, *, on_done, **_):
            for place, prompt in enumerate(prompts):
                verdict = 1 if prompt.content[4].startswith("A mug.") else 2
                text = f"<think>red</think><answer>{verdict}</answer>"
                on_done(place, [Completion(text, (1,), "eos")])

    found = judged(Scripted(), {}, read_relevance(str(shop)))
    assert [j.position for pair in found for j in pair.orders] == [1, 2, 1, 2]
    assert accuracy(found) == 0.5  # the second row's label is the bowl
    row = judgement_row(read_relevance(str(shop))[0], found[0].orders[1], 1)
    assert row["question"].startswith("red mug") and row["responses"] == (
        "A {blue} bowl.",
        "A mug.",
    )
    assert row["images"][3].endswith("mug/0.png") and json.dumps(row)


def judged(engine, params, records):
    settings = {"temperatures": (0.0,), "seed": 0, "threads": 2}
    return evaluate.judge(engine, params, records, TEMPLATES["brief"], **settings)


def test_judged_by_a_model(shop, loaded):
    """One photo each, so that the programs are those of the sampler's tests."""
    (record, _) = read_relevance(str(shop))
    few = tuple(replace(c, images=c.images[:1]) for c in record.candidates)
    found = judged(make_engine(loaded), loaded[1], [replace(record, candidates=few)])
    orders = [j for pair in found for j in pair.orders]
    assert len(orders) == 2 and not any(j.skipped for j in orders)
    assert all(len(j.completions[0].token_ids) > 0 for j in orders)


def test_blank_images_of_both_candidates(shop):
    plain = PreferenceRecord("p", "?", ("a", "b"), 1)
    blank, same = evaluate.without_images([read_relevance(str(shop))[0], plain])
    assert same == plain
    colors = [i.getcolors() for c in blank.candidates for i in c.images]
    assert colors == [[(84 * 84, (128, 128, 128))]] * 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"candidates": [{"text": "a"}]}, "list of two"),
        ({"candidates": [{"text": "a"}, {"text": " "}]}, "a candidate is empty"),
        ({"candidates": [{"text": "a"}, "b"]}, "needs a `text`"),
        ({"preferred": 3}, "expected 1, 2 or null"),
        ({"preferred": True}, "expected 1, 2 or null"),
        ({"query": ""}, "query is empty"),
        ({"meta": [1]}, "meta is list"),
        ({"candidates": [{"text": "a"}, {"text": "b", "images": ["gone.png"]}]}, "gone.png"),
    ],
)
def test_bad_rows_are_named(shop, change, said):
    row = json.loads(shop.read_text().splitlines()[0])
    shop.write_text(json.dumps(row | change))
    with pytest.raises(InputError, match=rf"(?s)shop.jsonl:1 \(id shop-1\).*{said}"):
        read_relevance(str(shop))


def test_a_template_without_the_wording_is_refused(shop):
    with pytest.raises(InputError, match="shop-1.*no wording"):
        evaluator_prompt(read_relevance(str(shop))[0], Template("", "", "", ""))
