"""Continuous batching: slots are reused, and completions do not depend on it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from r1reward_jax.models import qwen2_5_vl
from r1reward_jax.models.qwen2_5_vl import original
from r1reward_jax.prompts import SYSTEM
from r1reward_jax.rollout.engine import _Run
from r1reward_jax.rollout.prefill import prefill
from r1reward_jax.rollout.sampler import truncated
from r1reward_jax.rollout.slots import empty_slots
from r1reward_jax.sharding import make_mesh, param_shardings, remesh, slot_shardings
from r1reward_jax.types import InputError, Prompt
from tests.conftest import random_params
from tests.rollout.test_sampler import NEW, make_engine, on_eight_devices


@pytest.fixture(scope="module")
def many(prompts):
    """Thirteen prompts of three kinds, and how much each may write."""
    return [prompts[i % 3] for i in range(13)], [1 + (5 * i) % NEW for i in range(13)]


def test_reused_slots_give_what_a_slot_per_prompt_gives(loaded, many):
    """Three slots, reused one by one, for more steps than the ring buffer has places."""
    prompts, limits = many
    settings = {"samples": 2, "temperature": 1.0, "seed": 5, "limits": limits}
    whole = make_engine(loaded, slots=13).generate(loaded[1], prompts, **settings)
    parts = make_engine(loaded, slots=3, prefill_batch=1).generate(loaded[1], prompts, **settings)
    assert parts.completions == whole.completions
    np.testing.assert_allclose(parts.batch.logp, whole.batch.logp, atol=1e-4)
    assert whole.steps == NEW and parts.steps > 2 * NEW
    assert parts.occupancy > whole.occupancy
    lengths = whole.batch.lengths
    assert np.all(lengths <= np.asarray(limits)[:, None]) and len(set(lengths.ravel())) > 4
    ended = {c.finish_reason for row in whole.completions for c in row if len(c.token_ids) < 3}
    assert "length" in ended and whole.finish_reasons.total() == 26


@pytest.mark.parametrize("parallel", [1, 2, 3])
def test_active_samples_are_followed_by_the_next_ones(loaded, many, parallel):
    """Five samples of each prompt, fewer of them at a time: same completions, busier slots."""
    prompts, limits = many
    settings = {"samples": 5, "temperature": 1.0, "seed": 2}
    changed = {"repetition_penalty": 1.2, "top_p": 0.9, "eos_ids": tuple(range(100, 140))}
    engines = [
        make_engine(loaded, slots=4, prefill_batch=2, parallel_samples=n, **changed)
        for n in (0, parallel)
    ]
    whole, parts = (e.generate(loaded[1], prompts[:6], **settings) for e in engines)
    assert parts.completions == whole.completions
    np.testing.assert_allclose(parts.batch.logp, whole.batch.logp, atol=1e-4)
    assert parts.occupancy > whole.occupancy
    assert len({len(c.token_ids) for row in whole.completions for c in row}) > 1


def test_greedy_and_sampled_completions_share_a_prefill(loaded, many):
    """Each sample has its own temperature, and is what it is at that temperature alone."""
    prompts, _ = many
    engine = make_engine(loaded, slots=6)
    settings = {"samples": 3, "seed": 2}
    mixed = engine.generate(loaded[1], prompts[:6], temperature=[0.0, 1.0, 0.5], **settings)
    for place, temperature in enumerate([0.0, 1.0, 0.5]):
        alone = engine.generate(loaded[1], prompts[:6], temperature=temperature, **settings)
        assert [c[place] for c in alone.completions] == [c[place] for c in mixed.completions]
    assert mixed.completions[0][0] != mixed.completions[0][1]
    with pytest.raises(InputError, match="temperature"):
        engine.generate(loaded[1], prompts[:1], temperature=[0.0, 1.0, -1.0], **settings)


def test_answer_gap_is_that_of_the_training_forward_pass(loaded, many):
    """Also where slots are reused; a penalty or a temperature leaves it as it is."""
    prompts, limits = many
    model, params, processor = loaded
    changed = {"answers": (5, 9), "repetition_penalty": 1.3}
    engine = make_engine(loaded, slots=3, prefill_batch=1, **changed)
    settings = {"samples": 2, "temperature": 0.7, "seed": 5, "limits": limits}
    found = engine.generate(params, prompts, **settings)
    forward = jax.jit(lambda p, b: model.hidden(p, b) @ model.head(p))
    for place in (1, 8):
        encoded, (_, completion) = found.prompts[place], found.completions[place]
        batch = processor.collate([encoded], [completion.token_ids], completion_capacity=NEW)
        logits = np.asarray(forward(params, batch))[0]
        start = len(encoded.token_ids) - 1
        expected = (logits[:, 5] - logits[:, 9])[start : start + len(completion.token_ids)]
        gap = found.batch.answer_gap[place, 1, : len(expected)]
        np.testing.assert_allclose(gap, expected, atol=1e-4)
        assert len(expected) > 1 and np.ptp(expected) > 0.1


@pytest.mark.parametrize("parallel", [1, 0])
def test_samples_that_are_not_needed_are_not_written(loaded, many, parallel):
    """Those that are written are what they are without a rule; the others end as "stopped"."""
    prompts, _ = many
    changed = {"parallel_samples": parallel, "eos_ids": tuple(range(100, 140))}
    engine = make_engine(loaded, slots=4, prefill_batch=2, **changed)
    settings = {"samples": 6, "temperature": 1.0, "seed": 2}
    whole = engine.generate(loaded[1], prompts[:6], **settings)
    asked, done = [], {}

    def should_stop(ended):
        asked.append(len(ended))
        return len(ended) >= 3

    parts = engine.generate(
        loaded[1], prompts[:6], should_stop=should_stop, on_done=done.__setitem__, **settings
    )
    assert asked and max(asked) >= 3 and done == dict(enumerate(parts.completions))
    for mine, theirs in zip(parts.completions, whole.completions, strict=True):
        kept = [a == b for a, b in zip(mine, theirs, strict=True)]
        assert sum(kept) >= 3
        for same, completion, other in zip(kept, mine, theirs, strict=True):
            size = len(completion.token_ids)
            assert same or completion.finish_reason == "stopped"
            assert completion.token_ids == other.token_ids[:size]
    if parallel == 1:  # one after the other: the last ones were never started
        assert parts.finish_reasons["stopped"] > 6
        assert parts.batch.lengths.sum() < 0.85 * whole.batch.lengths.sum()
        assert any(c.token_ids == () for row in parts.completions for c in row)
    never = engine.generate(loaded[1], prompts[:6], should_stop=lambda ended: False, **settings)
    assert never.completions == whole.completions


def test_the_last_prompts_are_compacted(loaded, many):
    """Same completions, same steps, in fewer slots towards the end; few prompts begin in few."""
    prompts, limits = many
    settings = {"samples": 2, "temperature": 1.0, "seed": 5, "limits": limits}
    still = make_engine(loaded, slots=12, prefill_batch=2)
    moving = make_engine(loaded, slots=12, prefill_batch=2, compact=2)
    assert moving.sizes == [12, 6, 4, 2] and still.sizes == [12]
    whole, parts = (e.generate(loaded[1], prompts, **settings) for e in (still, moving))
    assert parts.completions == whole.completions and parts.steps == whole.steps
    assert parts.occupancy > 1.2 * whole.occupancy
    ((_, jitted),) = moving.programs._made.items()
    assert jitted.advance._cache_size() == 4
    few = moving.generate(loaded[1], prompts[:3], **settings | {"limits": limits[:3]})
    assert few.completions == whole.completions[:3]
    assert few.batch.lengths.sum() / few.occupancy <= 2 * 4 * few.steps  # four slots, not twelve
    with pytest.raises(InputError, match="compact 0"):
        make_engine(loaded, compact=0)


def test_the_order_of_prompts_does_not_matter(loaded, many):
    """Each with its own number, in the opposite order and other company."""
    prompts, _ = many
    engine = make_engine(loaded, slots=4, prefill_batch=2)
    forward = engine.generate(loaded[1], prompts[:6], samples=1, temperature=1.0, seed=1)
    for place in (5, 2):
        alone = engine.generate(
            loaded[1],
            [prompts[place], *prompts[:3]],
            samples=1,
            temperature=1.0,
            seed=1,
            first_row=place,
        )
        assert alone.completions[0] == forward.completions[place]


def test_eight_devices_reuse_slots_like_one(loaded, many):
    prompts, limits = many
    mesh, params, sharded = on_eight_devices(loaded)
    settings = {"samples": 1, "temperature": 1.0, "seed": 5, "limits": limits}
    found = sharded.generate(params, prompts, **settings)
    expected = make_engine(loaded, slots=13).generate(loaded[1], prompts, **settings)
    assert found.completions == expected.completions
    (jitted,) = sharded.programs._made.values()
    assert jitted.advance._cache_size() == 1
    with pytest.raises(InputError, match=r"rollout\.slots 6"):
        slot_shardings(jax.eval_shape(lambda: slots_of(loaded, count=6)), mesh)


def test_weights_go_to_the_samplers_layout_on_the_devices(loaded, many):
    """From a training mesh to another one over the same devices: one jitted cast, no host copy."""
    prompts, limits = many
    training = make_mesh(1, 8, 1)
    params = jax.device_put(loaded[1], param_shardings(loaded[1], qwen2_5_vl.RULES, training))
    mesh = remesh(training, 2, 2, 2)
    layout = param_shardings(params, qwen2_5_vl.RULES, mesh)
    _, _, sharded = on_eight_devices(loaded, mesh, layout)
    with jax.transfer_guard("disallow"):
        moved = sharded.programs.cast(params)
    assert sharded.programs._cast._cache_size() == 1
    jax.tree.map(lambda x, where: x.sharding == where or pytest.fail(), moved, layout)
    jax.tree.map(np.testing.assert_array_equal, moved, params)
    assert sharded.programs.cast(moved) is moved
    settings = {"samples": 1, "temperature": 1.0, "seed": 5, "limits": limits}
    found = sharded.generate(params, prompts, **settings)
    expected = make_engine(loaded, slots=13).generate(loaded[1], prompts, **settings)
    assert found.completions == expected.completions
    with pytest.raises(InputError, match="there are 8"):
        remesh(training, 2, 2, 1)


def slots_of(loaded, count):
    model, params, processor = loaded
    config = make_engine(loaded).config
    inputs = jax.tree.map(jnp.asarray, processor.collate([processor.encode(text_prompt(4))]))
    return empty_slots(config, prefill(model, config, params, inputs), count=count, width=128)


def text_prompt(words: int) -> Prompt:
    return Prompt(SYSTEM, (" circle" * words,))


@pytest.mark.parametrize("unroll", [False, True])
def test_prefill_and_decoding_copy_no_cache(loaded, unroll):
    """All that is donated is written in place, by the programs that an engine runs."""
    params = loaded[1]
    engine = make_engine(loaded, slots=8, prefill_batch=1, unroll=unroll)
    encoded = [engine.processor.encode(text_prompt(4))]
    inputs = jax.tree.map(jnp.asarray, engine.processor.collate(encoded))
    jitted = engine.programs.of(1, 1024, params, inputs)
    slots, new = jitted.empty(count=8), jitted.prefill(params, inputs)
    one = jnp.zeros(1, jnp.int32)
    donated = sum(x.nbytes for x in jax.tree.leaves(slots))
    programs = [
        jitted.insert.lower(slots, new, one, one, one),
        jitted.advance.lower(params, slots, jax.random.key(0), np.ones(1, np.float32), 1, 9),
    ]
    layer = sum(x.nbytes for x in slots.cache) / 3  # of which a program may look at one at a time
    for program in programs:
        memory = program.compile().memory_analysis()
        assert memory.alias_size_in_bytes == donated
        assert unroll or memory.temp_size_in_bytes < 1.5 * layer


def lognormal(count: int, mean: float, sigma: float, cap: int) -> list[int]:
    """Lengths of completions as a trained policy writes them."""
    rng = np.random.default_rng(0)
    drawn = rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, count)
    return [int(n) for n in np.clip(np.round(drawn), 1, cap)]


def test_reused_slots_save_steps_and_are_busy(loaded):
    """128 prompts in 16 slots, lengths around 40: against batches that wait for their longest."""
    lengths, cap = lognormal(128, 40, 0.4, 64), 64
    prompts = [text_prompt(1 + i % 7) for i in range(128)]
    settings = {"samples": 1, "temperature": 0.0, "seed": 0, "limits": lengths}
    steps = {}
    for size in (2, 16):
        engine = make_engine(loaded, slots=16, prefill_batch=size, max_new_tokens=cap, eos_ids=())
        rollout = engine.generate(loaded[1], prompts, **settings)
        assert rollout.batch.lengths[:, 0].tolist() == lengths
        steps[size] = rollout.steps
        if size == 2:
            assert rollout.occupancy >= 0.85
            kept = rollout.completions
    assert steps[16] == sum(max(lengths[i : i + 16]) for i in range(0, 128, 16))
    assert steps[2] <= steps[16] / 1.3
    assert kept == rollout.completions


def test_what_has_ended_is_handed_over_while_the_rest_goes_on(loaded, many):
    prompts, limits = many
    engine, told = make_engine(loaded, slots=3, prefill_batch=1), []
    rollout = engine.generate(
        loaded[1],
        prompts,
        samples=1,
        temperature=1.0,
        seed=5,
        limits=limits,
        on_done=lambda place, completions: told.append((place, completions)),
    )
    assert sorted(place for place, _ in told) == list(range(13))
    assert [place for place, _ in told] != list(range(13))  # as they end
    assert all(completions == rollout.completions[place] for place, completions in told)


def test_the_device_goes_on_while_the_host_reads(loaded, many, monkeypatch):
    """What has ended becomes text behind the dispatch of the next steps, not before."""
    prompts, limits = many
    engine, order = make_engine(loaded, slots=3, prefill_batch=1), []
    settings = {"samples": 1, "temperature": 1.0, "seed": 5, "limits": limits}
    engine.generate(loaded[1], prompts, **settings)
    ((key, jitted),) = engine.programs._made.items()

    def watched(*arguments):
        order.append("dispatch")
        return jitted.advance(*arguments)

    engine.programs._made[key] = jitted._replace(advance=watched)
    read_out = _Run._read_out
    monkeypatch.setattr(_Run, "_read_out", lambda *a: order.append("wait") or read_out(*a))
    told = lambda place, completions: order.append("text")  # noqa: E731
    engine.generate(loaded[1], prompts, on_done=told, **settings)
    assert order.count("text") == 13
    first_wait, last_dispatch = order.index("wait"), len(order) - order[::-1].index("dispatch")
    between = order[first_wait:last_dispatch]
    assert "text" in between
    for before, now in zip(between, between[1:]):  # never between a wait and the next dispatch
        assert now != "text" or before in ("dispatch", "text")


def test_nans_do_not_leak_into_a_reused_slot(loaded, prompts):
    """NaN pixels spoil their own completions, not those of the slot's next prompt."""
    engine = make_engine(loaded, slots=1)
    words = Prompt(SYSTEM, (*prompts[2].content, " circle" * 90))
    wide, narrow = engine.processor.encode(words), engine.processor.encode(prompts[0])
    assert engine.processor.width([wide]) > engine.processor.width([narrow])
    images = tuple(replace(i, patches=i.patches * np.nan) for i in wide.images)
    settings = {"samples": 2, "temperature": 1.0, "seed": 0}
    good, bad = (
        engine.generate(loaded[1], [first, narrow], **settings)
        for first in (wide, replace(wide, images=images))
    )
    assert not np.isfinite(bad.batch.logp[0]).all()
    assert bad.completions[1] == good.completions[1]
    np.testing.assert_array_equal(bad.batch.logp[1], good.batch.logp[1])


def test_a_prefill_batch_that_does_not_divide_the_slots(loaded):
    """All slots are filled at first."""
    engine = make_engine(loaded, slots=4, prefill_batch=3, max_new_tokens=6, eos_ids=())
    settings = {"samples": 1, "temperature": 0.0, "seed": 0}
    rollout = engine.generate(loaded[1], [text_prompt(3)] * 4, **settings)
    assert rollout.steps == 6 and rollout.occupancy == 1.0


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"parallel_samples": -1}, "parallel_samples -1"),
        ({"top_k": -1}, "top_k -1"),
        ({"top_p": 0.0}, "top_p 0.0"),
        ({"top_p": 1.5}, "top_p 1.5"),
        ({"repetition_penalty": 0.0}, "repetition_penalty 0.0"),
        ({"max_new_tokens": 0}, "max_new_tokens 0"),
    ],
)
def test_settings_that_make_no_sense(loaded, changed, named):
    with pytest.raises(InputError, match=named):
        make_engine(loaded, **changed)


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"samples": 0}, "samples 0"), ({"temperature": -1.0}, "-1.0")]
    + [({"temperature": float("nan")}, "nan")],
)
def test_calls_that_make_no_sense(loaded, prompts, changed, named):
    settings = {"samples": 1, "temperature": 0.0, "seed": 0} | changed
    with pytest.raises(InputError, match=named):
        make_engine(loaded).generate(loaded[1], prompts, **settings)


@pytest.mark.parametrize("limits", [[1] * 2, [0, 1, 1], [1, 1, NEW + 1]])
def test_limits_that_make_no_sense(loaded, prompts, limits):
    with pytest.raises(InputError, match="limits"):
        make_engine(loaded).generate(
            loaded[1], prompts, samples=1, temperature=0.0, seed=0, limits=limits
        )


def test_prefill_batches_that_make_no_sense(loaded):
    with pytest.raises(InputError, match="prefill_batch 5"):
        make_engine(loaded, slots=4, prefill_batch=5)


def test_no_prompts_no_completions(loaded):
    rollout = make_engine(loaded).generate(loaded[1], [], samples=1, temperature=0.0, seed=0)
    assert rollout.completions == [] and rollout.steps == 0


# ------------------------------------------------------------- choosing tokens


def test_truncation_by_hand():
    scores = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))
    kept = [
        truncated(scores, top_k=k, top_p=p).tolist()
        for k, p in [(0, 1.0), (2, 1.0), (0, 0.7), (0, 0.81), (0, 0.0), (2, 0.6), (9, 1.0)]
    ]
    assert [sum(k) for k in kept] == [4, 2, 2, 3, 1, 1, 4]
    assert all(k[0] for k in kept)


def test_truncation_is_that_of_transformers():
    """Kept tokens equal its warpers'."""
    torch = pytest.importorskip("torch", reason="torch is a test dependency on Python 3.11 only")
    from transformers.generation import logits_process as hub

    rng = np.random.default_rng(0)
    scores = rng.normal(0, 3, (16, 50)).astype(np.float32)
    for k, p in [(5, 1.0), (0, 0.8), (12, 0.6)]:
        theirs = torch.tensor(scores)
        for warper in [*([hub.TopKLogitsWarper(k)] if k else []), hub.TopPLogitsWarper(p)]:
            theirs = warper(None, theirs)
        ours = truncated(jnp.asarray(scores), top_k=k, top_p=p)
        np.testing.assert_array_equal(ours, np.isfinite(theirs.numpy()))


@pytest.mark.parametrize(("penalty", "weights"), [(1.0, 1), (1.5, 2)])
def test_greedy_equals_the_originals_generate(loaded, prompts, penalty, weights, tmp_path):
    """Token by token, on two checkpoints, one prompt at a time there, in reused slots here; to the
    limit, and to a token that ends some of them."""
    pytest.importorskip("torch", reason="torch is a test dependency on Python 3.11 only")
    model, _, processor = loaded
    params = jax.tree.map(jnp.asarray, random_params(model.abstract_params(), weights))
    qwen2_5_vl.save(str(tmp_path), model, params, like=processor.folder)
    hub = original.load(str(tmp_path), "float32")

    def both(eos_ids):
        settings = {"slots": 2, "prefill_batch": 1, "max_new_tokens": 24, "eos_ids": eos_ids}
        engine = make_engine(loaded, **settings, repetition_penalty=penalty)
        rollout = engine.generate(params, prompts, samples=1, temperature=0.0, seed=0)
        for place, prompt in enumerate(prompts):
            encoded = rollout.prompts[place]
            out = hub.generate(
                **original.inputs(prompt, encoded, processor),
                max_new_tokens=24,
                do_sample=False,
                eos_token_id=list(eos_ids) or None,
                pad_token_id=processor.pad_id,
                bad_words_ids=never,
                repetition_penalty=penalty,
            )
            (ours,) = rollout.completions[place]
            assert out[0, len(encoded.token_ids) :].tolist() == list(ours.token_ids)
        return [c for (c,) in rollout.completions]

    never = [[i] for i in processor.banned_ids] + [
        [i] for i in range(len(processor.tokenizer), hub.config.text_config.vocab_size)
    ]
    whole = both(())
    assert all(len(c.token_ids) == 24 for c in whole)
    ended = both((whole[0].token_ids[5], whole[1].token_ids[9]))
    assert {c.finish_reason for c in ended} >= {"eos"} and len(ended[0].token_ids) <= 6
