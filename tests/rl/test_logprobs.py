"""Chunked log-probabilities against the plain form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from r1reward_jax.rl.logprobs import completion_hidden, masked_mean, token_logprobs
from r1reward_jax.sharding import BATCH, make_mesh


def naive(hidden, head, targets):
    logp = jax.nn.log_softmax((hidden @ head).astype(jnp.float32))
    picked = jnp.take_along_axis(logp, targets[..., None], axis=-1)[..., 0]
    return picked, -(jnp.exp(logp) * logp).sum(-1)


@pytest.mark.parametrize("chunk", [1, 4, 7, 100])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_chunks_equal_the_plain_form_in_value_and_gradient(chunk, temperature):
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.normal(size=(3, 5, 8)), jnp.float32)
    head = jnp.asarray(rng.normal(size=(8, 11)), jnp.float32)
    targets = jnp.asarray(rng.integers(0, 11, (3, 5)))
    weights = jnp.asarray(rng.normal(size=(2, 3, 5)), jnp.float32)

    def total(function, hidden, head):
        logp, entropy = function(hidden, head, targets)
        return (weights[0] * logp + weights[1] * entropy).sum()

    def chunked(h, w, t):
        return token_logprobs(h, w, t, chunk=chunk, temperature=temperature)

    def plain_form(h, w, t):
        return naive(h, w / temperature, t)  # the distribution at this temperature

    for ours, plain in zip(chunked(hidden, head, targets), plain_form(hidden, head, targets)):
        np.testing.assert_allclose(ours, plain, atol=1e-5)
    ours, plain = (
        jax.jit(jax.grad(lambda h, w, f=f: total(f, h, w), argnums=(0, 1)))(hidden, head)
        for f in (chunked, plain_form)
    )
    for a, b in zip(ours, plain):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_probabilities_at_a_temperature_by_hand():
    """Logits 0, log 2, log 4 at temperature 0.5 are 0, log 4, log 16: 1, 4 and 16 of 21 parts."""
    hidden, head = jnp.ones((1, 3, 1)), jnp.log(jnp.asarray([[1.0, 2.0, 4.0]]))
    logp, entropy = token_logprobs(hidden, head, jnp.arange(3)[None], chunk=8, temperature=0.5)
    p = np.asarray([1, 4, 16]) / 21
    np.testing.assert_allclose(np.exp(logp[0]), p, rtol=1e-6)
    np.testing.assert_allclose(entropy[0], -(p * np.log(p)).sum(), rtol=1e-6)


def test_completion_hidden_starts_at_the_prompts_last_token():
    hidden = jnp.arange(2 * 6, dtype=jnp.float32).reshape(2, 6, 1)
    found = completion_hidden(hidden, jnp.array([2, 5]), 3)
    np.testing.assert_array_equal(found[..., 0], [[1, 2, 3], [10, 11, 11]])


def test_masked_mean():
    x = jnp.array([1.0, jnp.nan, 3.0])
    assert float(masked_mean(x, jnp.array([True, False, True]))) == 2.0
    assert float(masked_mean(x, jnp.zeros(3, bool))) == 0.0
    total = masked_mean(x, jnp.array([True, False, True]), denominator=jnp.float32(8))
    assert float(total) == 0.5


def test_memory_at_the_familys_vocabulary():
    """Peak temporaries of value and gradient, from the compiled programs; nothing is run."""
    rows, columns, width, vocab = 4, 512, 64, 151_936
    shapes = [
        jax.ShapeDtypeStruct((rows, columns, width), jnp.float32),
        jax.ShapeDtypeStruct((width, vocab), jnp.float32),
        jax.ShapeDtypeStruct((rows, columns), jnp.int32),
    ]

    def temporaries(function):
        def loss(hidden, head, targets):
            logp, entropy = function(hidden, head, targets)
            return logp.sum() + entropy.sum()

        compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert (
        temporaries(lambda *a: token_logprobs(*a, chunk=256, temperature=1.0))
        <= temporaries(naive) / 3
    )


def test_rows_stay_on_their_devices():
    """Eight rows over eight devices: no chunk is gathered, and each device has an eighth."""

    def compiled(place):
        shapes = [
            jax.ShapeDtypeStruct((8, 64, 16), jnp.float32, sharding=place),
            jax.ShapeDtypeStruct((16, 4096), jnp.float32),
            jax.ShapeDtypeStruct((8, 64), jnp.int32, sharding=place),
        ]

        def loss(hidden, head, targets):
            logp, entropy = token_logprobs(hidden, head, targets, chunk=64, temperature=1.0)
            return logp.sum() + entropy.sum()

        return jax.jit(jax.grad(loss)).lower(*shapes).compile()

    one, split = compiled(None), compiled(NamedSharding(make_mesh(8, 1, 1), BATCH))
    assert "all-gather" not in split.as_text()
    memory = [c.memory_analysis().temp_size_in_bytes for c in (one, split)]
    assert memory[1] < memory[0] / 4
