"""Make endless, shuffled, prefetched batches with grain, resumable by their number."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import grain

T = TypeVar("T")


def batches(
    items: Sequence[T],
    *,
    size: int,
    seed: int,
    first: int,
    encode: Callable[[T], Any],
    collate: Callable[[Sequence[Any]], Any],
    threads: int,
) -> Any:
    """Return an endless iterator over `collate([encode(item), …])` with `size` items each.

    Every epoch is a new permutation, fixed by the seed, so `first` alone resumes the order.

    Args:
      items: at least one; kept in memory.
      size: items per batch.
      seed: of the permutations.
      first: batches to leave out: those that a resumed run has already seen.
      encode: from an item to what is collated; called in reader threads.
      collate: from the encoded items of a batch to the batch.
      threads: reader threads; 0 encodes in the caller's.
    """
    dataset = grain.MapDataset.source(items).seed(seed).shuffle().repeat(None)[first * size :]
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(1, 2 * size))
    dataset = dataset.map(encode).to_iter_dataset(options)
    return iter(dataset.batch(size, drop_remainder=True, batch_fn=collate))
