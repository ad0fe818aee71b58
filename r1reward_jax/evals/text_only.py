"""The accuracy that needs no image: a bag-of-words classifier on question and responses."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from r1reward_jax.types import PreferenceRecord


def _words(record: PreferenceRecord) -> list[str]:
    """Return words marked with where they stand, word pairs of both responses, and which response
    is longer."""
    parts = (record.question, *record.responses)
    q, a, b = (part.lower().split() for part in parts)
    words = [f"q:{w}" for w in q] + [f"1:{w}" for w in a] + [f"2:{w}" for w in b]
    words += [f"{x}|{y}" for x in set(a) for y in set(b)]
    return words + [f"longer:{(len(parts[1]) > len(parts[2])) - (len(parts[1]) < len(parts[2]))}"]


def text_only_accuracy(
    train: Sequence[PreferenceRecord], heldout: Sequence[PreferenceRecord], *, steps: int = 300
) -> float:
    """Return the held-out accuracy, over both orders, of a logistic regression on the words."""
    train, heldout = ([r for x in rs for r in (x, x.swapped())] for rs in (train, heldout))
    index = {w: i for i, w in enumerate(sorted({w for r in train for w in _words(r)}))}

    def features(records):
        x = np.zeros((len(records), len(index) + 1), np.float32)
        x[:, -1] = 1
        for row, record in enumerate(records):
            x[row, [index[w] for w in _words(record) if w in index]] = 1
        return x, np.asarray([r.preferred == 2 for r in records], np.float32)

    x, y = features(train)
    optimizer = optax.adam(0.05)

    def loss(weights):
        return optax.sigmoid_binary_cross_entropy(x @ weights, y).mean() + 1e-4 * (weights**2).sum()

    def update(carry, _):
        weights, state = carry
        updates, state = optimizer.update(jax.grad(loss)(weights), state)
        return (optax.apply_updates(weights, updates), state), None

    start = jnp.zeros(x.shape[1])
    run = jax.jit(lambda w: jax.lax.scan(update, (w, optimizer.init(w)), length=steps)[0][0])
    weights = np.asarray(run(start))
    x, y = features(heldout)
    return float(np.mean((x @ weights > 0) == (y > 0.5)))
