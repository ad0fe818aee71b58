"""The Python API and `r1reward compare`: the probability is the model's own, orders mirror each
other, images count, an exported model knows how it is asked."""

import functools
import io
import itertools
import json
import math
import re
from dataclasses import replace

import jax
import numpy as np
import pytest

from r1reward_jax import config as configs
from r1reward_jax.build import load_policy, make_meshes
from r1reward_jax.cli import compare as compare_verb
from r1reward_jax.cli import convert
from r1reward_jax.cli.main import main
from r1reward_jax.evals import judging
from r1reward_jax.evals.types import Judgement, PairJudgement
from r1reward_jax.images import open_image
from r1reward_jax.inference.chat_inputs import to_records
from r1reward_jax.inference.loading import rows_of
from r1reward_jax.inference.scalar import ScalarModel
from r1reward_jax.inference.settings import FILE, ModelSettings
from r1reward_jax.models import qwen2_5_vl, reward_head
from r1reward_jax.prompts import TEMPLATES, evaluator_prompt
from r1reward_jax.reward_model import RewardModel
from r1reward_jax.rollout.answers import verdict_place
from r1reward_jax.sharding import make_mesh
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.setup import export
from r1reward_jax.types import Completion, InputError, PreferenceRecord, TrainState, VideoPart
from tests.conftest import random_image
from tests.train.test_step import one_device

QUESTION, RED, GREEN = "What color is the circle?", "It is red.", "It is green."
BRIEF = ModelSettings("brief", 10**5, 24, "max")
TEXT = "<think>1 circle, 2 squares.</think><answer> 2\n</answer>"


@pytest.fixture(scope="module")
def model(checkpoint):
    return RewardModel.from_pretrained(
        checkpoint,
        template="brief",
        max_pixels=10**5,
        max_new_tokens=24,
        max_prompt_tokens=128,
        batch_size=2,
    )


@pytest.fixture
def write(model, monkeypatch):
    """Makes the model write the given texts, to the orders (a, b) and (b, a)."""

    def write(*texts):
        def made(params, prompts, *, on_done, **_):
            forced(model, prompts, texts, on_done)

        monkeypatch.setattr(model._judge.engine, "generate", made)

    return write


def forced(model, prompts, texts, on_done):
    """Completions with these texts, and what the model's logits say about them."""
    engine, params = model._judge.engine, model._judge.params
    ids = [tuple(engine.processor.encode_completion(t)) for t in texts]
    batch = engine.processor.collate(prompts, ids, completion_capacity=32)
    logits = np.asarray(_logits(engine.model, params, batch))
    gaps = logits[..., engine.config.answers[0]] - logits[..., engine.config.answers[1]]
    for place, (text, i, gap, p) in enumerate(zip(texts, ids, gaps, prompts, strict=True)):
        on_done(place, [Completion(text, i, "eos", gap[len(p.token_ids) - 1 :])])


@functools.partial(jax.jit, static_argnums=0)
def _logits(lm, params, batch):
    return lm.hidden(params, batch) @ lm.head(params)


def test_probability_is_that_of_the_verdicts_token(model, loaded, write):
    """Against a forward pass of our own: of the second order, whose verdict 2 means a."""
    write("no verdict", TEXT)
    image = random_image(0, 84, 84)
    found = model.compare(QUESTION, image, RED, GREEN)

    lm, params, processor = loaded
    shown = PreferenceRecord("", QUESTION, (GREEN, RED), None, (image,))
    prompt = processor.encode(evaluator_prompt(shown, TEMPLATES["brief"]))
    one, two = processor.token_id("1"), processor.token_id("2")
    ids = processor.encode_completion(TEXT)
    before = ids[: len(ids) - 1 - ids[::-1].index(two)]
    assert processor.decode(before).endswith("<answer> ") and two in before and one in before
    batch = processor.collate([prompt], [before], completion_capacity=len(before))
    logits = jax.jit(lambda p, b: lm.hidden(p, b) @ lm.head(p))(params, batch)
    z = np.asarray(logits, np.float64)[0, int(batch.lengths[0]) - 1, [one, two]]
    expected = np.exp(z[1]) / np.exp(z).sum()

    first, second = found.orders
    assert (first.position, first.verdict, first.probability) == (None, None, None)
    assert (second.position, second.verdict, second.shown) == (2, 1, (2, 1))
    assert second.probability == pytest.approx(expected, abs=1e-5) and 0.01 < expected < 0.99
    assert found.probability == second.probability and not found.agree
    assert second.analysis == "1 circle, 2 squares."


def test_swapped_responses_give_the_mirrored_comparison(model, write):
    first, second = ("<think>x</think><answer>1</answer>", TEXT)
    write(first, second)
    one = model.compare(QUESTION, [], RED, GREEN)
    write(second, first)
    other = model.compare(QUESTION, [], GREEN, RED)
    assert one.agree and other.agree and one.probability != 0.5
    assert one.probability + other.probability == pytest.approx(1, abs=1e-6)
    assert one.preferred == 3 - other.preferred
    for mine, theirs in zip(one.orders, other.orders[::-1], strict=True):
        assert mine.text == theirs.text and mine.position == theirs.position
        assert mine.verdict == 3 - theirs.verdict and mine.shown == theirs.shown[::-1]
        assert mine.probability + theirs.probability == pytest.approx(1, abs=1e-6)
    text = str(one)
    assert "both orders agree" in text and "b shown first: verdict 2, which is a" in text


def test_a_model_that_always_says_1_is_no_evidence(model, write):
    write(*["<think>x</think><answer>1</answer>"] * 2)
    same = model.compare(QUESTION, [], RED, RED)
    assert same.probability == pytest.approx(0.5, abs=1e-6) and not same.agree
    assert "disagree" in str(same) or "undecided" in str(same)


def test_images_count_however_they_are_given(model, write, tmp_path):
    write(TEXT, TEXT)
    image, data = random_image(0, 84, 84), io.BytesIO()
    image.save(data, "PNG")
    (tmp_path / "image.png").write_bytes(data.getvalue())
    ways = [image, [image], data.getvalue(), tmp_path / "image.png", str(tmp_path / "image.png")]
    found = {model.compare(QUESTION, way, RED, GREEN).probability for way in ways}
    assert len(found) == 1
    changed = model.compare(QUESTION, random_image(1, 84, 84), RED, GREEN).probability
    assert abs(changed - found.pop()) > 1e-4


def test_what_a_random_model_writes_and_calls_that_compile_nothing(model, capsys):
    """Nothing is faked: there is no verdict, and that reads well."""
    found = model.compare(QUESTION, random_image(0, 84, 84), RED, GREEN)
    assert (found.preferred, found.probability, found.agree) == (None, None, False)
    assert str(found).startswith("no verdict\na shown first: no verdict")
    made = model._judge.engine.programs
    (jitted,) = made._made.values()
    programs = [made._prefill, jitted.insert, jitted.advance, jitted.empty]
    before = [p._cache_size() for p in programs]
    again = model.compare("Which color is the square?", random_image(1, 90, 80), GREEN, "Red.")
    assert [p._cache_size() for p in programs] == before
    assert again.orders[0].text != "" and len(again.orders) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((" ", [], RED, GREEN), "question is empty"),
        ((QUESTION, [], "", GREEN), "a is empty"),
        ((QUESTION, [], RED, None), "b is empty or not a string"),
        ((QUESTION, [], RED, "\ud800"), "Unicode"),
        ((QUESTION, "nowhere.png", RED, GREEN), "nowhere.png"),
        ((QUESTION, b"", RED, GREEN), "image bytes"),
        ((QUESTION, b"\x89PNG\r\n\x1a\n\0\0\0\0IHDR", RED, GREEN), "image bytes"),
        ((QUESTION, None, RED, GREEN), "not NoneType"),
        ((QUESTION, [random_image(0, 30, 30)] * 9, RED, GREEN), "at most 8"),
        ((QUESTION, [], RED * 100, GREEN), "128 are allowed; raise max_prompt_tokens"),
    ],
)
def test_mistakes_are_named(model, arguments, message):
    with pytest.raises(InputError, match=message):
        model.compare(*arguments)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"template": "long"}, "'long': expected one of brief, full"),
        ({"max_new_tokens": 0}, "max_new_tokens 0"),
        ({"max_prompt_tokens": 0}, "max_prompt_tokens 0"),
        ({"dtype": "int8"}, "float32"),
        ({"video_rule": "none"}, "max, side"),
    ],
)
def test_wrong_settings_are_named(checkpoint, settings, message):
    with pytest.raises(InputError, match=message):
        RewardModel.from_pretrained(checkpoint, **settings)


def test_wrong_folders(checkpoint, tmp_path):
    with pytest.raises(InputError, match="holds no config.json: the folder is empty"):
        RewardModel.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes((tmp_path / checkpoint / "config.json").read_bytes())
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(InputError, match="tokenizer.json: not found"):
        RewardModel.from_pretrained(tmp_path)


def test_a_merged_digit_is_told():
    texts = {0: "<answer>", 1: "1", 2: "2", 3: "</answer>", 4: ">1<", 5: "<answer", 6: "/answer>"}
    decode = lambda ids: "".join(texts[i] for i in ids)  # noqa: E731
    assert verdict_place([1, 2, 0, 2, 3], [1, 2], decode) == 3
    assert verdict_place([1, 2, 3], [1, 2], decode) is None
    with pytest.raises(InputError, match="keeps digits apart"):
        verdict_place([5, 4, 6], [1, 2], decode)


# ------------------------------------------------- what an exported model knows


def test_export_knows_how_it_is_asked_and_the_last_config_wins(
    checkpoint, loaded, tmp_path, monkeypatch
):
    one_device(monkeypatch)
    monkeypatch.setattr(qwen2_5_vl, "load", lambda *a, **k: loaded[:2])  # not about weights
    config, first, second = configs.load("quickstart"), str(tmp_path / "1"), str(tmp_path / "2")
    mesh = make_meshes(config).policy
    policy = load_policy(config, checkpoint, mesh)
    policy.save(first, policy.params)
    assert RewardModel.from_pretrained(first).settings == ModelSettings("brief", 501760, 34, "max")
    given = RewardModel.from_pretrained(first, template="full", max_new_tokens=5).settings
    assert given == ModelSettings("full", 501760, 5, "max")
    config.template, config.rollout.max_new_tokens = "full", 7
    load_policy(config, first, mesh).save(second, policy.params)
    assert ModelSettings.load(second) == ModelSettings("full", 501760, 7, "max")
    export(second, policy.model, policy.params, like=checkpoint, settings=None)
    assert ModelSettings.load(second) is None  # not those of another model
    default = ModelSettings.of(configs.load("default"))
    assert RewardModel.from_pretrained(checkpoint).settings == default


@pytest.mark.parametrize("content", ["{", "[]", '{"template": "brief"}', "\xff"])
def test_a_broken_settings_file_is_named(content, tmp_path):
    (tmp_path / FILE).write_text(content, "latin1")
    with pytest.raises(InputError, match=f"{FILE}: .*correct the file"):
        ModelSettings.load(str(tmp_path))


def test_convert_keeps_the_settings_of_the_run(checkpoint, loaded, tmp_path):
    config = configs.load("quickstart")
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    saved, out = f"{tmp_path}/checkpoints/rl", str(tmp_path / "out")
    with Checkpoints(saved, every=1, keep=1) as checkpoints:
        checkpoints.save(TrainState(np.asarray(1), loaded[1], {}))
    assert main(["convert", saved, out, "--like", checkpoint, "--dtype=float32"]) == 0
    expected = ModelSettings("brief", 501760, 34, "max")
    assert ModelSettings.load(out) == expected
    assert convert._settings(f"{tmp_path}/elsewhere", checkpoint) is None
    assert convert._settings(f"{tmp_path}/elsewhere", out) == expected
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="not a config"):
        convert._settings(saved, out)


def test_a_scalar_model(checkpoint, loaded, tmp_path):
    lm, params, processor = loaded
    headed = reward_head.init_head(lm, params, seed=0)
    export(str(tmp_path), lm, headed, like=checkpoint, settings=BRIEF)
    model = RewardModel.from_pretrained(tmp_path)
    assert model.settings == BRIEF
    image = random_image(0, 84, 84)
    found = model.compare(QUESTION, image, RED, GREEN)
    scorer = ScalarModel(
        lm, headed, processor, sizes=(2,), capacities=(24,), knob="scalar.max_response_tokens",
        compute_dtype="float32", put_batch=jax.device_put,
    )  # fmt: skip
    (expected,) = scorer.score([PreferenceRecord("", QUESTION, (RED, GREEN), None, (image,))])
    assert found.scores == pytest.approx(expected, abs=1e-4) and found.orders == ()
    probability = 1 / (1 + np.exp(found.scores[1] - found.scores[0]))
    assert found.probability == pytest.approx(probability) and found.preferred in (1, 2)
    swapped = model.compare(QUESTION, image, GREEN, RED)
    assert swapped.probability == pytest.approx(1 - found.probability, abs=1e-6)
    assert "scores" in str(found)
    records = unlabelled(5)
    for one, record in zip(model.compare_batch(records), records, strict=True):
        same(one, model.compare(QUESTION, list(record.images), *record.responses))
    assert model.judge([QUESTION], [(RED, GREEN)]) in ([0], [1])
    ranked = model.rank(QUESTION, image, [RED, GREEN, "Red."])
    assert ranked.order == model.round_robin(QUESTION, image, [RED, GREEN, "Red."]).order
    with pytest.raises(InputError, match="record 0: the longer response has"):
        model.compare_batch([replace(records[0], responses=(RED * 3000, GREEN))])
    with pytest.raises(InputError, match="longer response has"):
        model.compare(QUESTION, [], RED * 3000, GREEN)


# ------------------------------------------------------------------ many pairs


def unlabelled(count):
    """Records about images of two sizes, and one without."""
    images = [random_image(0, 84, 84), random_image(1, 56, 90)]
    shown = [(images[0],), (images[1],), ()]
    pairs = [(RED, GREEN), (GREEN, "Blue?"), ("Red.", GREEN)]
    return [
        PreferenceRecord(f"r{i}", QUESTION, pairs[i % 3], None, shown[i // 2 % 3])
        for i in range(count)
    ]


def same(one, other):
    """Whether two comparisons say the same, probabilities to 1e-5."""
    assert (one.preferred, one.agree) == (other.preferred, other.agree)
    assert [o.text for o in one.orders] == [o.text for o in other.orders]
    assert [o.shown for o in one.orders] == [o.shown for o in other.orders]
    assert one.probability == pytest.approx(other.probability, abs=1e-5)
    assert one.scores == pytest.approx(other.scores, abs=1e-5)


class Scripted:
    """An engine's `generate` that writes what a function of the prompt says, as it is shown."""

    def __init__(self, model, text):
        self.model, self.text, self.calls = model, text, []
        self.processor = model._judge.engine.processor

    def __call__(self, params, prompts, *, on_done, **_):
        self.calls.append(len(prompts))
        texts = [self.text(self.processor.decode(p.token_ids.tolist())) for p in prompts]
        forced(self.model, prompts, texts, on_done)


@pytest.fixture
def script(model, monkeypatch):
    """Makes the model write what a function of the prompt's text gives."""

    def script(text):
        scripted = Scripted(model, text)
        monkeypatch.setattr(model._judge.engine, "generate", scripted)
        return scripted

    return script


def verdict(number):
    return f"<think>x</think><answer>{number}</answer>"


def test_a_batch_says_what_single_comparisons_say(model):
    """What the random model writes, in slots that are reused and compacted."""
    records = unlabelled(7)
    found = model.compare_batch(records)
    singles = [model.compare(QUESTION, list(r.images), *r.responses) for r in records]
    for one, other in zip(found, singles, strict=True):
        same(one, other)
    assert len({o.text for c in found for o in c.orders}) > 2
    assert model.compare_batch([]) == []


def test_probabilities_of_a_batch_are_those_of_single_comparisons(model, script, monkeypatch):
    """Also in several calls of the engine, and where texts have no verdict."""
    monkeypatch.setattr(judging, "BATCHES", 2)
    scripted = script(lambda prompt: "no verdict" if "Blue" in prompt else TEXT)
    records = unlabelled(7)
    found = model.compare_batch(records)
    assert scripted.calls == [8, 6] and model._judge.engine.sizes == [4, 2]
    for one, record in zip(found, records, strict=True):
        same(one, model.compare(QUESTION, list(record.images), *record.responses))
    assert [c.probability is None for c in found] == [False, True, False] * 2 + [False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": ""}, "record 2: question is empty"),
        ({"responses": ("x", "")}, "record 2: b is empty"),
        ({"responses": ("x",)}, "record 2: responses .* expected two"),
        ({"images": ("nowhere.png",)}, "record 2: image nowhere.png"),
        ({"images": "a.png"}, "record 2: images: expected several"),
        ({"responses": (RED * 100, GREEN)}, "record 2: the prompt has"),
        (None, "record 2: expected a PreferenceRecord, not str"),
    ],
)
def test_mistakes_name_the_record(model, script, change, message):
    script(lambda prompt: TEXT)
    records: list = unlabelled(4)
    records[2] = "a question" if change is None else replace(records[2], **change)
    with pytest.raises(InputError, match=f"^{message}"):
        model.compare_batch(records)
    with pytest.raises(InputError, match="records: expected a list, not PreferenceRecord"):
        model.compare_batch(records[0])


def test_batches_and_meshes_that_do_not_fit(checkpoint):
    two = make_mesh(2, 2, 1, devices=jax.devices()[:4])
    with pytest.raises(InputError, match="its 6 rows .* cannot be split over 4 devices"):
        RewardModel.from_pretrained(checkpoint, batch_size=3, mesh=two)
    for wrong in (0, 1.5, True):
        with pytest.raises(InputError, match="batch_size"):
            RewardModel.from_pretrained(checkpoint, batch_size=wrong)
    assert rows_of(4, two) == (8, 4)


# --------------------------------------------------------------------- ranking

WORDS = ["a cat", "a cup", "a red cup", "a tree", "a red cup on a table"]


def longer(prompt):
    """A verdict for the longer response of a brief prompt."""
    first, second = re.findall(r"(.*) (?:first|second)", prompt)
    return verdict(1 if len(first) > len(second) else 2)


@pytest.fixture
def likes_longer(model, monkeypatch):
    """Makes the model prefer longer responses; gives the sizes of its batches."""
    asked = []

    def compare_batch(records, names):
        asked.append(len(records))
        by = [len(r.responses[0]) - len(r.responses[1]) for r in records]
        chances = [0.5 if d == 0 else 0.9 if d > 0 else 0.2 for d in by]
        return [PairJudgement(orders=(Judgement(None, None, chance),)) for chance in chances]

    monkeypatch.setattr(model._judge, "compare_batch", compare_batch)
    return asked


def test_the_best_of_five(model, likes_longer):
    found = model.rank(QUESTION, [], WORDS)
    assert (found.order, found.best) == ((4, 2, 3, 0, 1), 4)
    assert found.judgements == 2 * len(found.comparisons) == 2 * sum(likes_longer) <= 30
    assert likes_longer[0] == 2 and found.chances is None
    assert found.comparisons[0, 1].probability == 0.5 and "best is response 4 of 5" in str(found)


def test_all_against_all(model, likes_longer):
    found = model.round_robin(QUESTION, [], tuple(WORDS))
    assert (found.order, found.best, found.judgements) == ((4, 2, 3, 0, 1), 4, 20)
    assert set(found.comparisons) == set(itertools.combinations(range(5), 2))
    assert found.chances == pytest.approx((0.275, 0.275, 0.675, 0.475, 0.8))
    assert likes_longer == [10] and model.rank(QUESTION, [], ["x"]).order == (0,)


def test_one_response_needs_no_judge_and_no_verdict_keeps_the_order(model, script):
    scripted = script(lambda prompt: "nothing")
    for way in (model.rank, model.round_robin):
        assert (way(QUESTION, [], ["x"]).order, scripted.calls) == ((0,), [])
    assert model.rank(QUESTION, [], WORDS).order == (0, 1, 2, 3, 4)
    for wrong, message in [([], "one text or more"), ("xy", "one text"), (["x", ""], "response 1")]:
        with pytest.raises(InputError, match=message):
            model.rank(QUESTION, [], wrong)
    with pytest.raises(InputError, match="responses 0 and 1: the prompt has"):
        model.rank(QUESTION, [], [RED * 100, GREEN])


# ----------------------------------------------------------------------- judge


def test_judge_gives_places_and_minus_one(model, script):
    prompts = ["Blue?", "Red?", "None?"]
    pairs = [["long text", "text"], ("text", "long text"), ["", "b"]]
    scripted = script(lambda prompt: "no" if "None?" in prompt else longer(prompt))
    for seed in range(4):  # whichever order is drawn
        assert model.judge(prompts, pairs, seed=seed) == [0, 1, -1]
    assert model.judge(prompts, pairs, False) == [0, 1, -1] and set(scripted.calls) == {3}
    first, second, nothing = model.judge(prompts, pairs, return_scores=True)
    assert 0 < first < 1 and 0 < second < 1 and math.isnan(nothing)
    assert model.judge([], []) == []


def test_judge_shuffles_by_the_seed_only(model, script):
    script(lambda prompt: verdict(1))
    prompts, pairs = [QUESTION] * 40, [(RED, GREEN)] * 40
    assert model.judge(prompts, pairs, shuffle_order=False) == [0] * 40
    drawn = model.judge(prompts, pairs)
    assert 8 < sum(drawn) < 32 and drawn == model.judge(prompts, pairs)
    assert drawn != model.judge(prompts, pairs, seed=1)
    single = [model.judge([f"{i}?"], [(RED, GREEN)])[0] for i in range(16)]
    assert 0 < sum(single) < 16  # one pair at a time, too


def test_judge_sees_the_last_turn_of_a_chat(model, tmp_path):
    """As a record with the same material, whose answer the random model words alike."""
    image, frames, data = random_image(0, 84, 84), [random_image(i, 56, 56) for i in (1, 2)], None
    image.save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    before = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes?"}]
    text = {"type": "text", "text": QUESTION}
    ways = [image, data, tmp_path / "a.png", str(tmp_path / "a.png")]
    chats = [
        [*before, {"role": "user", "content": [{"type": "image", "image": way}, text]}]
        for way in ways
    ]
    chats += [[{"role": "user", "content": [image, text]}], [{"role": "user", "content": QUESTION}]]
    video = {"type": "video", "video": frames, "fps": 2}
    chats += [[{"role": "user", "content": [video, text, {"type": "text", "text": "Say."}]}]]
    *seen, plain, moving = to_records(chats, [(RED, GREEN)] * len(chats))
    pixels = {open_image(r.images[0]).tobytes() for r in seen}
    assert pixels == {image.tobytes()} and {r.question for r in seen} == {QUESTION}
    assert plain.images == () and moving.question == f"{QUESTION}\nSay."
    assert moving.video == VideoPart(tuple(frames), 2.0)
    assert model.judge(chats[-2:], [(RED, GREEN)] * 2) == [-1, -1]


@pytest.mark.parametrize(
    ("prompt", "pair", "message"),
    [
        (3, ("a", "b"), "pair 0: the prompt is 3: expected a string"),
        ([], ("a", "b"), "the prompt is"),
        (["x"], ("a", "b"), "message 'x'"),
        ([{"role": "user"}], ("a", "b"), "keys role and content"),
        ([{"role": "assistant", "content": "x"}], ("a", "b"), "role 'assistant'"),
        ([{"role": "user", "content": 5}], ("a", "b"), "content 5"),
        ([{"role": "user", "content": ["x"]}], ("a", "b"), "part 'x'"),
        ([{"role": "user", "content": [{"type": "audio"}]}], ("a", "b"), "type text, image or"),
        ([{"role": "user", "content": [{"type": "image"}]}], ("a", "b"), "a path, bytes"),
        ([{"role": "user", "content": [{"type": "text", "text": 1}]}], ("a", "b"), "a string"),
        ([{"role": "user", "content": [random_image(0, 9, 9)]}], ("a", "b"), "no text"),
        ([{"role": "user", "content": [{"type": "video", "video": []}]}], ("a", "b"), "video"),
        ("q", ("a",), "expected two strings"),
        ("q", "ab", "expected two strings"),
        ("q", (1, "b"), "expected two strings"),
        ("q", ("a", "\ud800"), "pair 0: b: not valid Unicode"),
        (" ", ("a", "b"), "pair 0: the prompt has no text"),
    ],
)
def test_judge_refuses_other_shapes(model, prompt, pair, message):
    with pytest.raises(InputError, match=message):
        model.judge([prompt], [pair])


def test_judge_refuses_lists_that_do_not_fit(model):
    with pytest.raises(InputError, match="1 prompts and 2 pairs"):
        model.judge(["q"], [("a", "b")] * 2)
    with pytest.raises(InputError, match="prompts: expected a list, not str"):
        model.judge("q", [("a", "b")])


# ---------------------------------------------------------------------- compare


@pytest.fixture
def verb(model, monkeypatch):
    """`r1reward compare` with the model at hand; what it asked for is kept."""
    asked = {}

    def load(path, **settings):
        asked.update(settings, path=path)
        return model

    monkeypatch.setattr(RewardModel, "from_pretrained", load)

    def run(*more):
        return main(["compare", "--model", "org/m", "--question", QUESTION, *more])

    return run, asked


def test_compare_prints_both_orders(verb, write, capsys):
    run, asked = verb
    write("<think>x</think><answer>1</answer>", TEXT)
    assert run("--a", RED, "--b", GREEN, "--template", "brief") == 0
    out = capsys.readouterr().out
    assert asked["template"] == "brief" and asked["max_new_tokens"] is None
    assert "both orders agree" in out and "1 circle, 2 squares." in out and "probability 0." in out


def test_compare_as_json_from_files(verb, write, tmp_path, capsys):
    run, _ = verb
    write(TEXT, TEXT)
    (tmp_path / "a.txt").write_text(f"{RED}\n")
    picture = tmp_path / "image.png"
    random_image(0, 84, 84).save(picture)
    assert run("--a", f"@{tmp_path}/a.txt", "--b", "@@b", "--image", str(picture), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["orders"][0]["verdict"] == 2 and found["orders"][1]["verdict"] == 1
    assert found["preferred"] in (1, 2) and not found["agree"]
    assert compare_verb._text(f"@{tmp_path}/a.txt") == RED and compare_verb._text("@@b") == "@b"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--a", "x", "--b", "y", "--image", "nowhere.png"], "nowhere.png"),
        (["--a", "x", "--b", "y", "--image", "empty.png"], "empty.png"),
        (["--a", "@nowhere.txt", "--b", "y"], "text file behind the @"),
        (["--a", "x", "--b", " "], "b is empty"),
    ],
)
def test_compare_names_mistakes_in_one_line(verb, more, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.png").touch()
    assert verb[0](*more) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("r1reward compare: ") and error.count("\n") == 1
