"""The scalar baseline: what it scores, that it learns, and how it comes before the evaluator."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from r1reward_jax.cli.main import main
from r1reward_jax.data.preferences import write_records
from r1reward_jax.evals.metrics import describe, judgements_of
from r1reward_jax.inference import scalar
from r1reward_jax.models import qwen2_5_vl, reward_head
from r1reward_jax.models.reward_head import scores
from r1reward_jax.sharding import make_mesh, put_batch
from r1reward_jax.train.bradley_terry import encode_pair, make_pair_batch
from r1reward_jax.train.objectives import BRADLEY_TERRY
from r1reward_jax.train.optimizer import init_state
from r1reward_jax.train.setup import export
from r1reward_jax.train.step import jit_step, loss_and_gradients
from r1reward_jax.types import InputError
from tests.cli.test_main import SMALL
from tests.readme import command
from tests.train.test_step import STEP, one_device, optimizer

RULES = (*reward_head.RULES, *qwen2_5_vl.RULES)


@pytest.fixture(scope="module")
def headed(loaded):
    """The tiny model with a fresh head."""
    model, params, _ = loaded
    return model, reward_head.init_head(model, params, seed=0)


@pytest.fixture(scope="module")
def pairs(loaded, world):
    encoded = [encode_pair(record, loaded[2], 24) for record in world[1]["rl"][:8]]
    return jax.tree.map(jnp.asarray, make_pair_batch(encoded, loaded[2], capacity=24))


def gradients(headed, batch, config=STEP):
    model, params = headed
    function = jax.jit(lambda p, b: loss_and_gradients(model, BRADLEY_TERRY, config, p, b))
    return function(params, batch)


def test_the_score_is_read_at_the_last_token(headed, pairs, loaded, world):
    model, params = headed
    found = scores(model, params, pairs.better, dtype=jnp.float32)
    hidden = np.asarray(model.hidden(loaded[1], pairs.better))
    weight = np.asarray(params["reward_head"]["weight"])
    last = [hidden[i, n - 1] @ weight for i, n in enumerate(pairs.better.lengths)]
    np.testing.assert_allclose(found, last, atol=1e-5)
    record = world[1]["rl"][3]
    end = pairs.better.tokens[3, pairs.better.lengths[3] - 1]
    assert end in loaded[2].eos_ids  # the response is over: nothing else could tell
    preferred = loaded[2].encode_completion(record.responses[record.preferred - 1])
    n = pairs.better.lengths[3]
    assert pairs.better.tokens[3, n - len(preferred) : n].tolist() == preferred


def test_loss_and_metrics_are_those_of_the_scores(headed, pairs):
    model, params = headed
    better, worse = (np.asarray(scores(model, params, x, dtype=jnp.float32)) for x in pairs)
    value, metrics, grads = gradients(headed, pairs)
    assert float(value) == pytest.approx(np.log1p(np.exp(worse - better)).mean(), rel=1e-5)
    assert float(metrics["scalar/accuracy"]) == (better > worse).mean()
    assert float(metrics["scalar/margin"]) == pytest.approx((better - worse).mean(), abs=1e-5)
    assert np.abs(grads["visual"]["patch_embed"]["kernel"]).max() > 0


def test_it_sees_the_image(headed, pairs):
    def moved(inputs):
        return inputs._replace(vision=inputs.vision._replace(patches=inputs.vision.patches[::-1]))

    other = type(pairs)(*(moved(x) for x in pairs))
    assert abs(float(gradients(headed, pairs)[0]) - float(gradients(headed, other)[0])) > 1e-5


@pytest.mark.slow
def test_micro_batches_and_meshes_change_nothing(headed, pairs):
    model, params = headed
    rows, width = pairs.size
    value, metrics, whole = gradients(headed, pairs)
    split = replace(STEP, micro_tokens=2 * width)
    found, joined, parts = gradients(headed, pairs, split)
    assert float(found) == pytest.approx(float(value), rel=1e-5)
    gap = optax.tree.norm(jax.tree.map(jnp.subtract, parts, whole))
    assert float(gap) <= 1e-5 * float(optax.tree.norm(whole))
    assert {k: float(v) for k, v in joined.items()} == pytest.approx(
        {k: float(v) for k, v in metrics.items()}, rel=1e-4, abs=1e-6
    )
    mesh = make_mesh(2, 2, 2)
    state = init_state(params, optimizer(), RULES, mesh)
    _, sharded = jit_step(model, optimizer(), BRADLEY_TERRY, STEP, state)(
        state, put_batch(pairs, mesh)
    )
    assert float(sharded["loss/total"]) == pytest.approx(float(value), rel=1e-5)


def test_it_learns_pairs(headed, pairs):
    """Twins among them: the same question and responses, told apart by the picture alone."""
    model, params = headed
    mesh = make_mesh(1, 1, 1, devices=jax.devices()[:1])
    state = init_state(params, optimizer(3e-4), RULES, mesh)
    step, rows = (
        jit_step(model, optimizer(3e-4), BRADLEY_TERRY, STEP, state),
        put_batch(pairs, mesh),
    )
    losses = []
    for _ in range(32):
        state, metrics = step(state, rows)
        losses.append(float(metrics["loss/total"]))
    assert losses[-1] < 0.1 < 0.6 < losses[0] and float(metrics["scalar/accuracy"]) == 1.0
    assert step._cache_size() == 1


def test_verb_and_evaluator(world, checkpoint, tmp_path, monkeypatch):
    one_device(monkeypatch)
    data = f"{world[0]}/scalar.jsonl"
    write_records(data, world[1]["heldout"][:7])
    run, judged = str(tmp_path / "scalar"), str(tmp_path / "eval")
    small = [*SMALL, "scalar.steps=2", "scalar.batch=4", "scalar.max_response_tokens=24"]
    small.append("scalar.head=mlp")  # a linear one is trained above, and exported in RewardModel's
    base = f"model.path={checkpoint}"
    assert main([*command("scalar-rm"), *small, f"workdir={run}", base, f"data.train={data}"]) == 0
    start = f"model.path={run}/exported"
    arguments = [*command("evaluate", nth=-1), *small, start, f"eval.benchmark={data}"]
    assert main([*arguments, f"workdir={judged}"]) == 0

    found = json.loads((tmp_path / "eval" / "evaluation.json").read_text())["overall"]
    assert found["pairs"] == 7 and found["votes"] == {} and found["format"] is None
    assert found["greedy"]["flip_rate"]["value"] == 0 and found["greedy"]["says_1"]["value"] == 0.5
    assert (
        found["greedy"]["accuracy_stored"]["right"] == found["greedy"]["accuracy_swapped"]["right"]
    )
    written = (tmp_path / "eval" / "judgements.jsonl").read_text()
    rows = [json.loads(x) for x in written.splitlines()]
    assert len(rows) == 14 and rows[0]["scores"] == rows[1]["scores"][::-1]
    first, second = rows[0]["scores"]
    assert rows[0]["verdicts"] == [1 if first > second else 2] and first != second
    assert rows[0]["probabilities"] == [pytest.approx(1 / (1 + np.exp(second - first)))]

    model, params = qwen2_5_vl.load(f"{run}/exported")  # the backbone is an ordinary folder
    with_head = reward_head.load_head(f"{run}/exported", model, params)
    shapes = {name: x.shape for name, x in with_head["reward_head"].items()}
    assert shapes == {"kernel": (64, 64), "bias": (64,), "weight": (64,)}
    assert np.abs(with_head["reward_head"]["bias"]).max() > 0  # it was trained: it starts at zero
    assert "scalar reward model" in (tmp_path / "scalar" / "exported" / "README.md").read_text()
    converted = str(tmp_path / "converted")
    arguments = [f"{run}/checkpoints/scalar", converted, "--like", checkpoint, "--dtype=float32"]
    assert main(["convert", *arguments]) == 0
    again = reward_head.load_head(converted, model, params)["reward_head"]
    jax.tree.map(np.testing.assert_array_equal, again, with_head["reward_head"])
    qwen2_5_vl.save(converted, model, params, like=checkpoint)  # a model without a head
    assert not reward_head.has_head(converted)
    assert main(["sft", *small, f"workdir={run}", base, f"data.train={data}"]) == 2
    moved = params["text"]["embed_tokens"] - qwen2_5_vl.load(checkpoint)[1]["text"]["embed_tokens"]
    assert np.abs(moved).max() > 0


def test_ties_and_numbers_that_are_none_are_no_verdict(world):
    records, asked = world[1]["heldout"][:4], []
    scores = [(0.5, 0.5), (float("nan"), 1.0), None, (2.0, 1.0)]

    class Scripted:
        pairs = 2

        def misfit(self, record):
            return "long" if record is records[2] else None

        def score(self, part):
            asked.append(len(part))
            return [scores[records.index(record)] for record in part]

    pairs = scalar.judge(Scripted(), records)
    judgements = judgements_of(pairs)
    assert [j.position for j in judgements] == [None] * 6 + [1, 2] and asked == [2, 1]
    assert [j.skipped for j in judgements] == [False] * 4 + [True] * 2 + [False] * 2
    expected = [0.5, 0.5, None, None, None, None, 1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(1.0))]
    assert [j.first_probability for j in judgements] == pytest.approx(expected)
    rest = []
    scalar.judge_each(Scripted(), records, rest.append, done=5)
    assert rest[1:] == judgements[6:] and rest[0].skipped
    found = describe(pairs)
    assert found["skipped"] == 1 and pairs[2].skipped == "long"
    assert found["unparsable_share"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("kind", reward_head.HEADS)
def test_heads_by_hand_and_through_a_file(headed, pairs, loaded, tmp_path, kind):
    """Scores are those of the formula; of a saved and loaded head the same to the last bit."""
    model, backbone = headed[0], loaded[1]
    params = reward_head.init_head(model, backbone, seed=3, kind=kind)
    head = {name: np.asarray(x) for name, x in params["reward_head"].items()}
    assert reward_head.kind_of(params) == kind and head["weight"].std() < 0.2
    score = jax.jit(lambda p: scores(model, p, pairs.better, dtype=jnp.float32))
    hidden = np.asarray(model.hidden(backbone, pairs.better))
    last = np.stack([hidden[i, n - 1] for i, n in enumerate(pairs.better.lengths)])
    if kind == "mlp":
        params["reward_head"]["bias"] = jnp.asarray(np.linspace(-1, 1, 64), jnp.float32)
        last = np.maximum(last @ head["kernel"] + np.linspace(-1, 1, 64), 0)
    found = score(params)
    np.testing.assert_allclose(found, last @ head["weight"], atol=1e-4)
    reward_head.save_head(str(tmp_path), params)
    np.testing.assert_array_equal(
        score(reward_head.load_head(str(tmp_path), model, backbone)), found
    )


def test_two_layers_in_the_file_are_those_of_torch(headed, loaded, tmp_path):
    """Matrices are [out, in]: a head that another program reads gives the same score."""
    model, backbone = headed[0], loaded[1]
    params = reward_head.init_head(model, backbone, seed=1, kind="mlp")
    reward_head.save_head(str(tmp_path), params)
    with np.load(tmp_path / reward_head.FILE) as stored:
        layers = {name: stored[name] for name in stored.files}
    h = np.random.default_rng(0).normal(size=64)
    inner = layers["score.0.weight"] @ h + layers["score.0.bias"]
    head = {name: np.asarray(x, np.float64) for name, x in params["reward_head"].items()}
    ours = np.maximum(h @ head["kernel"] + head["bias"], 0) @ head["weight"]
    assert layers["score.2.weight"] @ np.maximum(inner, 0) == pytest.approx(ours, rel=1e-6)
    del layers["score.0.bias"]
    np.savez(tmp_path / reward_head.FILE, **layers)
    with pytest.raises(InputError, match="not a reward head"):
        reward_head.load_head(str(tmp_path), model, backbone)


def test_a_scalar_model_is_no_policy_and_no_judge(headed, checkpoint, tmp_path, world, capsys):
    """Its language model does not write; its head would be lost without a word."""
    model, params = headed
    export(str(tmp_path / "scalar"), model, params, like=checkpoint, settings=None)
    write_records(f"{tmp_path}/data.jsonl", world[1]["heldout"][:4])
    data = [f"data.train={tmp_path}/data.jsonl", f"workdir={tmp_path}/run", "mesh.data=1"]
    scalar_model = f"{tmp_path}/scalar"
    for call, what in (
        (["sft", f"model.path={scalar_model}", *data], "sft needs a model that writes"),
        (["rl", f"model.path={scalar_model}", "judge=none", *data], "rl needs a model that writes"),
        (
            ["rl", f"model.path={checkpoint}", f"judge.path={scalar_model}", *data],
            "a judge needs a model that writes",
        ),
    ):
        assert main(call) == 2
        assert f"is a scalar reward model (reward_head.npz); {what}" in capsys.readouterr().err


def test_a_head_that_does_not_fit(loaded, tmp_path):
    model, params, _ = loaded
    assert not reward_head.has_head(str(tmp_path))
    np.savez(tmp_path / reward_head.FILE, **{reward_head.TENSOR: np.zeros((1, 5), np.float32)})
    with pytest.raises(InputError, match=r"\(1, 5\), expected \(1, 64\)"):
        reward_head.load_head(str(tmp_path), model, params)
    good = {reward_head.TENSOR: np.full((1, 64), np.nan, np.float32)}
    np.savez(tmp_path / reward_head.FILE, **good)
    with pytest.raises(InputError, match="not finite"):
        reward_head.load_head(str(tmp_path), model, params)
    whole = (tmp_path / reward_head.FILE).read_bytes()
    for broken in (b"nothing", b"", whole[:100], whole[:-30]):
        (tmp_path / reward_head.FILE).write_bytes(broken)
        with pytest.raises(InputError, match="not a reward head"):
            reward_head.load_head(str(tmp_path), model, params)


def test_a_response_that_is_too_long_is_named(loaded, world):
    record = world[1]["rl"][0]
    with pytest.raises(InputError, match=f"record {record.id}.*max_response_tokens=2"):
        encode_pair(record, loaded[2], 2)
