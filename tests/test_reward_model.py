"""The Python API and `r1reward score`: the probability is the model's own, orders mirror each
other, images count, an exported model knows how it is asked."""

import io
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from r1reward_jax.cli import configs, convert, score
from r1reward_jax.cli.main import main
from r1reward_jax.evals.scalar import ScalarModel
from r1reward_jax.models import qwen2_5_vl, reward_head
from r1reward_jax.prompts import TEMPLATES, evaluator_prompt
from r1reward_jax.reward_model import RewardModel
from r1reward_jax.rollout.answers import verdict_place
from r1reward_jax.train.build import export, load_policy
from r1reward_jax.train.checkpoint import Checkpoints
from r1reward_jax.train.settings import FILE, ModelSettings
from r1reward_jax.types import Completion, InputError, PreferenceRecord, TrainState
from tests.conftest import random_image
from tests.train.test_step import one_device

QUESTION, RED, GREEN = "What color is the circle?", "It is red.", "It is green."
BRIEF = ModelSettings("brief", 10**5, 24, "max")
TEXT = "<think>1 circle, 2 squares.</think><answer> 2\n</answer>"


@pytest.fixture(scope="module")
def model(checkpoint):
    return RewardModel.from_pretrained(
        checkpoint, template="brief", max_pixels=10**5, max_new_tokens=24, max_prompt_tokens=128
    )


@pytest.fixture
def write(model, monkeypatch):
    """Makes the model write the given texts, to the orders (a, b) and (b, a)."""

    def write(*texts):
        ids = [tuple(model._judge.engine.processor.encode_completion(t)) for t in texts]
        written = [[Completion(t, i, "eos")] for t, i in zip(texts, ids, strict=True)]
        rollout = SimpleNamespace(completions=written)
        monkeypatch.setattr(model._judge.engine, "generate", lambda *a, **k: rollout)

    return write


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
    programs = [made._prefill, jitted.insert, jitted.advance, jitted.empty, model._judge._first]
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
    with pytest.raises(InputError, match="not found"):
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
    policy = load_policy(config, checkpoint)
    policy.save(first, policy.params)
    assert RewardModel.from_pretrained(first).settings == ModelSettings("brief", 501760, 34, "max")
    given = RewardModel.from_pretrained(first, template="full", max_new_tokens=5).settings
    assert given == ModelSettings("full", 501760, 5, "max")
    config.template, config.rollout.max_new_tokens = "full", 7
    load_policy(config, first).save(second, policy.params)
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
        lm, headed, processor, rows=2, max_response_tokens=24, compute_dtype="float32",
        put_batch=jax.device_put,
    )  # fmt: skip
    (expected,) = scorer.score([PreferenceRecord("", QUESTION, (RED, GREEN), None, (image,))])
    assert found.scores == pytest.approx(expected, abs=1e-4) and found.orders == ()
    probability = 1 / (1 + np.exp(found.scores[1] - found.scores[0]))
    assert found.probability == pytest.approx(probability) and found.preferred in (1, 2)
    swapped = model.compare(QUESTION, image, GREEN, RED)
    assert swapped.probability == pytest.approx(1 - found.probability, abs=1e-6)
    assert "scores" in str(found)
    with pytest.raises(InputError, match="longer response has"):
        model.compare(QUESTION, [], RED * 3000, GREEN)


# ---------------------------------------------------------------------- score


@pytest.fixture
def verb(model, monkeypatch):
    """`r1reward score` with the model at hand; what it asked for is kept."""
    asked = {}

    def load(path, **settings):
        asked.update(settings, path=path)
        return model

    monkeypatch.setattr(RewardModel, "from_pretrained", load)

    def run(*more):
        return main(["score", "--model", "m", "--question", QUESTION, *more])

    return run, asked


def test_score_prints_both_orders(verb, write, capsys):
    run, asked = verb
    write("<think>x</think><answer>1</answer>", TEXT)
    assert run("--a", RED, "--b", GREEN, "--template", "brief") == 0
    out = capsys.readouterr().out
    assert asked["template"] == "brief" and asked["max_new_tokens"] is None
    assert "both orders agree" in out and "1 circle, 2 squares." in out and "probability 0." in out


def test_score_as_json_from_files(verb, write, tmp_path, capsys):
    run, _ = verb
    write(TEXT, TEXT)
    (tmp_path / "a.txt").write_text(f"{RED}\n")
    picture = tmp_path / "image.png"
    random_image(0, 84, 84).save(picture)
    assert run("--a", f"@{tmp_path}/a.txt", "--b", "@@b", "--image", str(picture), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["orders"][0]["verdict"] == 2 and found["orders"][1]["verdict"] == 1
    assert found["preferred"] in (1, 2) and not found["agree"]
    assert score._text(f"@{tmp_path}/a.txt") == RED and score._text("@@b") == "@b"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--a", "x", "--b", "y", "--image", "nowhere.png"], "nowhere.png"),
        (["--a", "x", "--b", "y", "--image", "empty.png"], "empty.png"),
        (["--a", "@nowhere.txt", "--b", "y"], "text file behind the @"),
        (["--a", "x", "--b", " "], "b is empty"),
    ],
)
def test_score_names_mistakes_in_one_line(verb, more, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.png").touch()
    assert verb[0](*more) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("r1reward score: ") and error.count("\n") == 1
