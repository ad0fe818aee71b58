"""The sampler against the training forward pass."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.rollout.engine import Engine
from r1reward_jax.rollout.sampler import SamplerConfig
from r1reward_jax.rollout.slots import sample
from r1reward_jax.sharding import make_mesh, param_shardings, put_batch, slot_shardings
from r1reward_jax.train.batches import make_train_batch
from r1reward_jax.train.objectives import StepConfig, batch_logprobs

NEW = 12


def make_engine(
    loaded,
    *,
    slots=3,
    prefill_batch=None,
    compact=1,
    put_batch=lambda x: x,
    slot_shardings=None,
    param_shardings=None,
    **changed,
):
    """An engine whose sampler differs from a plain one by what is `changed`."""
    model, _, processor = loaded
    sampler = SamplerConfig(
        samples=1,
        max_new_tokens=NEW,
        eos_ids=processor.eos_ids,
        pad_id=processor.pad_id,
        banned_ids=processor.banned_ids,
        vocab_size=len(processor.tokenizer),
        unroll=False,
        compute_dtype=jnp.float32,
    )
    return Engine(
        model,
        processor,
        replace(sampler, **changed),
        slots=slots,
        prefill_batch=prefill_batch or slots,
        compact=compact,
        put_batch=put_batch,
        slot_shardings=slot_shardings,
        param_shardings=param_shardings,
    )


def on_eight_devices(loaded, mesh=None, layout=None):
    """(mesh, parameters on it, engine): slots over data x fsdp, heads over tensor."""
    mesh = mesh or make_mesh(2, 2, 2)
    params = jax.device_put(loaded[1], param_shardings(loaded[1], qwen2_5_vl.RULES, mesh))
    sharded = make_engine(
        loaded,
        slots=8,
        prefill_batch=4,
        put_batch=functools.partial(put_batch, mesh=mesh),
        slot_shardings=functools.partial(slot_shardings, mesh=mesh),
        param_shardings=layout,
    )
    return mesh, params, sharded


@pytest.fixture(scope="module")
def engine(loaded):
    return make_engine(loaded)


def test_log_probs_equal_the_trainers(engine, loaded, prompts):
    """What the sampler recorded is what the training forward pass gives, image included."""
    model, params, processor = loaded
    rollout = engine.generate(params, prompts, samples=1, temperature=1.0, seed=0)
    completions = [row[0].token_ids for row in rollout.completions]
    batch = make_train_batch(rollout.prompts, completions, processor, capacity=NEW)
    step = StepConfig(chunk=16, remat=False, compute_dtype=jnp.float32)
    batch = jax.tree.map(jnp.asarray, batch)
    logp, _ = jax.jit(lambda p, b: batch_logprobs(model, p, b, step))(params, batch)
    expected = np.where(batch.mask, logp, 0.0)
    np.testing.assert_allclose(rollout.batch.logp[:, 0], expected, atol=1e-4)


@pytest.mark.parametrize("temperature", [0.7, 1.5, (0.0, 1.0, 2.0)])
def test_log_probs_are_those_of_the_distribution_that_is_sampled(loaded, prompts, temperature):
    """Every token's log-prob equals log softmax(logits / temperature) by hand and is the trainer's;
    greedy samples have those of temperature 1. The gap between answers is that of the logits."""
    model, params, processor = loaded
    engine = make_engine(loaded, answers=(5, 9))
    rollout = engine.generate(params, prompts, samples=3, temperature=temperature, seed=1)
    forward = jax.jit(lambda p, b: model.hidden(p, b) @ model.head(p))
    for place, t in enumerate(np.broadcast_to(temperature, 3)):
        scored = float(t) or 1.0
        completions = [row[place].token_ids for row in rollout.completions]
        batch = make_train_batch(rollout.prompts, completions, processor, capacity=NEW)
        batch = jax.tree.map(jnp.asarray, batch)
        step = StepConfig(chunk=16, remat=False, compute_dtype=jnp.float32, temperature=scored)
        trainers, _ = jax.jit(functools.partial(batch_logprobs, model, config=step))(params, batch)
        every = np.asarray(forward(params, batch.inputs), np.float64)
        for row, (prompt, ids) in enumerate(zip(rollout.prompts, completions, strict=True)):
            start = len(prompt.token_ids) - 1
            logits = every[row, start : start + len(ids)]
            p = np.exp(logits / scored - (logits / scored).max(-1, keepdims=True))
            exact = np.log(p / p.sum(-1, keepdims=True))[range(len(ids)), list(ids)]
            found = rollout.batch.logp[row, place, : len(ids)]
            np.testing.assert_allclose(found, exact, atol=2e-4)
            np.testing.assert_allclose(found, trainers[row, : len(ids)], atol=2e-4)
            gap = rollout.batch.answer_gap[row, place, : len(ids)]
            np.testing.assert_allclose(gap, logits[:, 5] - logits[:, 9], atol=2e-4)
            if scored != 1:  # and it is another distribution than that of temperature 1
                plain = np.exp(logits - logits.max(-1, keepdims=True))
                plain = np.log(plain / plain.sum(-1, keepdims=True))[range(len(ids)), list(ids)]
                assert np.abs(plain - exact).max() > 0.1


def test_greedy_takes_the_best_token_of_the_full_forward(engine, loaded, prompts):
    model, params, processor = loaded
    rollout = engine.generate(params, prompts, samples=1, temperature=0.0, seed=0)
    full = processor.collate(
        rollout.prompts,
        [row[0].token_ids for row in rollout.completions],
        completion_capacity=NEW,
    )
    logits = np.array(jax.jit(lambda p, b: model.hidden(p, b) @ model.head(p))(params, full))
    logits[..., list(processor.banned_ids)] = -np.inf
    logits[..., len(processor.tokenizer) :] = -np.inf
    for row, prompt, found in zip(logits, rollout.prompts, rollout.completions):
        start = len(prompt.token_ids) - 1
        best = row[start : start + len(found[0].token_ids)].argmax(-1)
        assert best.tolist() == list(found[0].token_ids)


def test_unrolled_layers_give_the_same(engine, loaded, prompts):
    other = make_engine(loaded, unroll=True)
    a, b = (
        e.generate(loaded[1], prompts, samples=1, temperature=0.0, seed=0) for e in (engine, other)
    )
    assert a.completions == b.completions


def test_sharded_over_eight_devices_gives_the_same(loaded, prompts):
    """Prompts in groups of four over data x fsdp, heads over tensor."""
    _, params, sharded = on_eight_devices(loaded)
    settings = {"samples": 2, "temperature": 1.0, "seed": 0}
    found = sharded.generate(params, prompts, **settings)
    expected = make_engine(loaded, slots=4).generate(loaded[1], prompts, **settings)
    assert found.completions == expected.completions
    np.testing.assert_allclose(found.batch.logp, expected.batch.logp, atol=1e-4)


def test_a_sample_does_not_depend_on_its_neighbours(engine, loaded, prompts):
    params = loaded[1]
    together = engine.generate(params, prompts, samples=2, temperature=1.0, seed=3)
    alone = engine.generate(params, prompts[1:2], samples=2, temperature=1.0, seed=3, first_row=1)
    assert alone.completions[0] == together.completions[1]
    waves = make_engine(loaded, slots=2)  # three prompts in two batches
    split = waves.generate(params, prompts, samples=2, temperature=1.0, seed=3)
    assert split.completions == together.completions
    assert together.completions[0][0] != together.completions[0][1]
    again = engine.generate(params, prompts, samples=2, temperature=1.0, seed=4)
    assert again.completions != together.completions


def test_rows_that_fill_a_batch_are_not_decoded(engine, loaded, prompts):
    """One prompt in a batch of three rows: the other two have length 0 from the start."""
    model, params, processor = loaded
    inputs = processor.collate([processor.encode(prompts[1])], rows=3)
    settings = replace(engine.config, samples=2)
    run = jax.jit(functools.partial(sample, model, settings))
    out = run(params, inputs, jnp.arange(3), jax.random.key(0), jnp.float32(1.0))
    assert not out.finished[1:].any() and not out.lengths[1:].any()
    assert (out.lengths[0] > 0).all() and (out.tokens[1:] == processor.pad_id).all()


@pytest.mark.parametrize(
    ("temperature", "changed"),
    [
        (1.0, {}),
        (0.7, {}),
        (1.5, {}),
        (2.0, {"top_p": 0.8}),
        (1.0, {"top_k": 12, "repetition_penalty": 1.5}),
    ],
)
def test_samples_follow_the_softmax(loaded, prompts, temperature, changed):
    """First and second tokens of many samples against the model's distribution, truncated by hand
    (chi-square, 1e-3 level)."""
    model, params, processor = loaded
    engine = make_engine(loaded, max_new_tokens=2, eos_ids=(), **changed)
    sampled = [
        engine.generate(params, prompts[:1], samples=64, temperature=temperature, seed=s)
        for s in range(24)
    ]
    tokens = np.concatenate([r.batch.tokens[0] for r in sampled])
    encoded = processor.encode(prompts[0])

    def probabilities(before):
        batch = jax.tree.map(
            jnp.asarray, processor.collate([encoded], [before], completion_capacity=1)
        )
        hidden = model.hidden(params, batch)[0, len(encoded.token_ids) + len(before) - 1]
        logits = np.array(hidden @ model.head(params), np.float64)
        logits[list(processor.banned_ids)] = -np.inf
        logits[len(processor.tokenizer) :] = -np.inf
        if "repetition_penalty" in changed:
            for token in {*encoded.token_ids.tolist(), *before}:
                logits[token] *= 1 / 1.5 if logits[token] > 0 else 1.5
        p = np.exp((logits - logits.max()) / temperature)
        order = np.argsort(-p)
        p[order[changed.get("top_k", len(p)) :]] = 0
        p /= p.sum()
        first_left_out = np.searchsorted(np.cumsum(p[order]), changed.get("top_p", 2.0)) + 1
        p[order[first_left_out:]] = 0
        return p / p.sum()

    assert fits(tokens[:, 0], probabilities([]))
    often = int(np.bincount(tokens[:, 0]).argmax())
    assert fits(tokens[tokens[:, 0] == often, 1], probabilities([often]))
    assert not fits(tokens[:, 0], np.roll(probabilities([]), 1))


def fits(tokens, p) -> bool:
    """Chi-square of tokens against their probabilities; rare ones count together."""
    counts = np.bincount(tokens, minlength=len(p))
    common = p * len(tokens) >= 5
    expected = np.append(p[common], p[~common].sum()) * len(tokens)
    found = np.append(counts[common], counts[~common].sum())
    statistic = ((found - expected) ** 2 / np.maximum(expected, 1e-9)).sum()
    freedom = max(1, len(found) - 1)
    return counts[p == 0].sum() == 0 and statistic < freedom + 4 * (2 * freedom) ** 0.5


def test_vision_tokens_are_never_sampled_and_eos_ends(engine, loaded, prompts):
    model, params, processor = loaded
    biased = jax.tree.map(lambda x: x, params)
    rows = np.array(biased["text"]["embed_tokens"])
    # states point at every banned token and, a little less, at the end token
    rows[list(processor.banned_ids)] = 3 * np.abs(rows).max() * np.sign(rows[processor.eos_ids[0]])
    biased["text"] = biased["text"] | {"embed_tokens": jnp.asarray(rows)}
    rollout = engine.generate(biased, prompts, samples=4, temperature=1.0, seed=0)
    for row, lengths in zip(rollout.completions, rollout.batch.lengths):
        for completion, length in zip(row, lengths):
            assert not set(completion.token_ids) & set(processor.banned_ids)
            assert len(completion.token_ids) == length
            ended = completion.token_ids[-1] in processor.eos_ids
            assert completion.finish_reason == ("eos" if ended else "length")
            assert not set(completion.token_ids[:-1]) & set(processor.eos_ids)


def test_pixels_change_what_is_sampled(engine, loaded, prompts):
    from r1reward_jax.prompts import SYSTEM
    from r1reward_jax.types import ImagePart, Prompt
    from tests.conftest import random_image

    text = prompts[1].content[1]
    pair = [Prompt(SYSTEM, (ImagePart(random_image(s, 84, 84)), text)) for s in (10, 11)]
    rollout = engine.generate(loaded[1], pair, samples=1, temperature=0.0, seed=0)
    assert not np.array_equal(rollout.batch.logp[0], rollout.batch.logp[1])
