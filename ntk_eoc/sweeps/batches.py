"""Seeds in batches of a fixed size, so that a seed's bits do not depend on how many there are."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key

from ntk_eoc.checks import require, require_count


@functools.lru_cache(maxsize=64)
def _compiled(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return jax.jit(jax.vmap(f))


def map_batched(f: Callable[[Any], Any], keys: Key[Array, " s"], batch: int) -> Any:
    """Return `f` of every key, stacked along a first axis [s], computed `batch` keys at a time.

    The compiled batch always has the same size, the last one padded with its own first key: the
    last bits of a `vmap` depend on the size of its batch, and so here on nothing but `batch`.

    Args:
        f: From one key to a pytree of arrays. The same function object, in this call or another,
            is compiled once.
        keys: One key a seed, [s], s >= 1.
        batch: Size of the batches.

    Returns:
        The pytree of NumPy arrays, each [s, ...].
    """
    batch = require_count("batch", batch)
    require(len(keys) >= 1, "keys", "at least one key", len(keys))
    run = _compiled(f)
    pieces = []
    for first in range(0, len(keys), batch):
        index = np.arange(first, first + batch)
        padded = np.where(index < len(keys), index, first)
        piece = jax.device_get(run(keys[padded]))
        pieces.append(jax.tree.map(lambda x: x[: len(keys) - first], piece))  # noqa: B023
    return jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)
