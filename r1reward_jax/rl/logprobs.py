"""Log-probabilities of completion tokens without a [B, T, V] array, and masked averages.

Positions are sliced before the output head, and the head runs over chunks of positions that the
backward pass recomputes: a chunk holds max(chunk, B) x V logits.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def completion_hidden(
    hidden: Float[Array, "B T D"], prompt_lengths: Int[Array, " B"], capacity: int
) -> Float[Array, "B C D"]:
    """Return the hidden states that predict each completion token: from the prompt's last position
    on.

    Args:
      hidden: final hidden states of prompt and completion.
      prompt_lengths: tokens of each prompt; completions start right behind.
      capacity: C, columns to take.
    """
    index = prompt_lengths[:, None] - 1 + jnp.arange(capacity)
    index = jnp.minimum(index, hidden.shape[1] - 1)
    return jnp.take_along_axis(hidden, index[..., None], axis=1)


def token_logprobs(
    hidden: Float[Array, "B C D"],
    head: Float[Array, "D V"],
    targets: Int[Array, "B C"],
    *,
    chunk: int,
    temperature: float,
) -> tuple[Float[Array, "B C"], Float[Array, "B C"]]:
    """Return log p(target) and the entropy of the distribution at each position, in float32.

        p = softmax(hidden @ head / temperature)

    The ratio of two policies is only the ratio of what was sampled if both are scored at the
    temperature of the samples.

    Args:
      hidden: hidden states at the predicting positions.
      head: output projection.
      targets: token ids.
      chunk: positions (rows times columns) per step of the scan, rounded down to whole columns but
        never below one.
      temperature: of the distribution; above 0.

    Returns:
      (logp, entropy), both float32 [B, C]; entropy in nats. Gradients flow through both.
    """
    rows, columns, width = hidden.shape
    # some columns of every row: devices that the rows are split over are all busy in every chunk
    size = min(max(1, chunk // rows), columns)
    padding = -columns % size
    wide = jnp.pad(hidden, ((0, 0), (0, padding), (0, 0))).reshape(rows, -1, size, width)
    wanted = jnp.pad(targets, ((0, 0), (0, padding))).reshape(rows, -1, size)

    @jax.checkpoint
    def one(carry, part):
        states, ids = part
        # the product comes in the compute dtype, as in the reference implementation; float32 from
        # here on, because the sum over the vocabulary loses digits in bf16
        logits = (states @ head).astype(jnp.float32) / temperature
        total = jax.nn.logsumexp(logits, axis=-1)
        picked = jnp.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
        mean_logit = jnp.sum(jax.nn.softmax(logits, axis=-1) * logits, axis=-1)
        return carry, (picked - total, total - mean_logit)

    parts = jnp.swapaxes(wide, 0, 1), jnp.swapaxes(wanted, 0, 1)
    _, (logp, entropy) = jax.lax.scan(one, None, parts)
    in_rows = lambda x: jnp.swapaxes(x, 0, 1).reshape(rows, -1)[:, :columns]  # noqa: E731
    return in_rows(logp), in_rows(entropy)


def masked_mean(
    x: Float[Array, "..."], mask: Bool[Array, "..."], *, denominator: Float[Array, ""] | None = None
) -> Float[Array, ""]:
    """Return the sum of `x` where `mask` is true, divided by the number of true places (or
    `denominator`).

    An empty mask gives 0. Values under a false mask never matter, not even NaN.
    """
    total = jnp.sum(jnp.where(mask, x, 0.0))
    return total / (jnp.maximum(jnp.sum(mask), 1) if denominator is None else denominator)
