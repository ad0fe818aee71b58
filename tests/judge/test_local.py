"""The local judge: batched, cached, and honest about what it cannot read."""

import functools
import math

import jax
import numpy as np
import pytest

from r1reward_jax.judge.cached import CachedJudge
from r1reward_jax.judge.local import LocalJudge
from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.prompts import SYSTEM, TEMPLATES, judge_prompt
from r1reward_jax.sharding import make_mesh, param_shardings, put_batch
from r1reward_jax.types import ImagePart, InputError, Prompt
from tests.conftest import BUCKETS, random_image

PAIRS = [(f"I see a circle {'very ' * (i % 5)}well.", 1 + i % 2) for i in range(9)]


def make_judge(loaded, params=None, put_batch=lambda x: x, min_mass=0.0):
    """A judge with random weights, which gives neither word any probability to speak of."""
    model, own, processor = loaded
    processor = qwen2_5_vl.Processor(processor.folder, qwen2_5_vl.Buckets((64, 96), (1,), (36,)))
    return LocalJudge(
        model,
        own if params is None else params,
        processor,
        TEMPLATES["brief"],
        rows=4,
        min_mass=min_mass,
        compute_dtype="float32",
        put_batch=put_batch,
    )


@pytest.fixture(scope="module")
def judge(loaded):
    return make_judge(loaded)


def test_the_decoder_alone_is_enough(judge, checkpoint):
    """The vision tower stays on the disk; a prompt with an image would be an error."""
    model, params = qwen2_5_vl.load(checkpoint, with_vision=False)
    assert list(params) == ["text"]
    blind = make_judge((model, params, judge.processor))
    assert blind.score(PAIRS) == judge.score(PAIRS)
    processor = qwen2_5_vl.Processor(checkpoint, BUCKETS)
    seen = Prompt(SYSTEM, (ImagePart(random_image(0, 84, 84)),))
    with pytest.raises(InputError, match="without its vision"):
        model.hidden(params, processor.collate([processor.encode(seen)]))


def test_probability_is_of_the_two_answer_tokens(judge, loaded):
    model, params, _ = loaded
    encoded = judge.processor.encode(judge_prompt(*PAIRS[0], TEMPLATES["brief"]))
    batch = jax.tree.map(jax.numpy.asarray, judge.processor.collate([encoded]))
    logits = (model.hidden(params, batch) @ model.head(params))[0, len(encoded.token_ids) - 1]
    yes, no = (logits[judge.processor.token_id(w)] for w in ("Yes", "No"))
    expected = 1 / (1 + np.exp(no - yes))
    assert judge.score(PAIRS[:1])[0] == pytest.approx(float(expected), abs=1e-5)


def test_batched_equals_sequential_and_keeps_order(judge):
    together = judge.score(PAIRS)
    alone = [judge.score([pair])[0] for pair in PAIRS]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(judge.score(PAIRS[::-1]), together[::-1], atol=1e-5)
    assert len(set(together)) > 2


def test_as_few_device_calls_as_can_be_and_none_retraced(loaded):
    """Also where pairs come one by one, twice, and some of them long."""
    judge = make_judge(loaded)
    cached = CachedJudge(judge)
    pairs = [(f"a circle {'and a square ' * (i % 5)}, number {i}", 1 + i % 2) for i in range(50)]
    waits = [cached.start([pair]) for pair in [*pairs, *pairs[::-1]]]
    answers = [wait()[0] for wait in waits]
    assert judge.calls == math.ceil(50 / judge.batch) and answers == [
        *answers[:50],
        *answers[49::-1],
    ]
    assert judge.programs() == 2  # one for each width
    alone = [judge.score([pair])[0] for pair in pairs]
    np.testing.assert_allclose(answers[:50], alone, atol=1e-5)
    for size in (1, 3, 7, 50):  # other numbers, nothing new to compile
        judge.score(pairs[:size])
    assert judge.programs() == 2


def test_sharded_over_eight_devices_gives_the_same(judge, loaded):
    mesh = make_mesh(2, 2, 2)
    params = jax.device_put(loaded[1], param_shardings(loaded[1], qwen2_5_vl.RULES, mesh))
    sharded = make_judge(loaded, params, functools.partial(put_batch, mesh=mesh))
    np.testing.assert_allclose(sharded.score(PAIRS), judge.score(PAIRS), atol=1e-5)


def test_equal_pairs_are_judged_once(judge, monkeypatch):
    calls = []
    step = judge._step
    monkeypatch.setattr(judge, "_step", lambda *a: calls.append(1) or step(*a))
    assert judge.score([PAIRS[0]] * 20) == [judge.score(PAIRS[:1])[0]] * 20
    assert len(calls) == 2


def test_too_long_an_analysis_is_no_verdict(judge):
    found = judge.score([("word " * 200, 1), PAIRS[0]])
    assert found[0] is None and found[1] is not None


def test_answer_words_must_be_single_tokens(loaded):
    from r1reward_jax.prompts import Template

    template = Template("", "", "certainly so", "No")
    with pytest.raises(InputError, match="expected one"):
        LocalJudge(
            *loaded[:2],
            loaded[2],
            template,
            rows=1,
            min_mass=0.0,
            compute_dtype="float32",
            put_batch=jax.device_put,
        )


def test_a_score_that_is_not_a_number_is_no_verdict(judge, monkeypatch):
    scores = np.array([np.nan, 0.9, 0.1, np.nan]), np.ones(4), np.zeros(4, int)
    monkeypatch.setattr(judge, "_step", lambda *a: scores)
    assert judge.score(PAIRS[:3]) == [None, 0.9, 0.1]
