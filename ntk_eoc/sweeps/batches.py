"""Seeds in batches of a fixed size, so that a seed's bits do not depend on how many there are."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Key

from ntk_eoc.checks import require, require_count

REPLICAS = PartitionSpec("replicas")


def map_batched(f: Callable[..., Any], keys: Key[Array, " s"], batch: int, *data: Any) -> Any:
    """Return `f(key, *data)` of every key, stacked along a first axis [s].

    It is computed `batch` keys at a time. The compiled batch always has the same size, the last one
    padded with its own first key: the last bits of a `vmap` depend on the size of its batch, and so
    here on nothing but `batch`. Where there are several devices and several batches, the batches
    are sharded over the devices, one whole batch a device, and every device runs the same program
    on its batch.

    Args:
        f: From one key, and the data, to a pytree of arrays. The same function object, in this call
            or another, is compiled once for data of the same shapes.
        keys: One key a seed, [s], s >= 1.
        batch: Size of the batches.
        *data: Pytrees of arrays that all keys share.

    Returns:
        The pytree of NumPy arrays, each [s, ...].
    """
    batch = require_count("batch", batch)
    require(len(keys) >= 1, "keys", "at least one key", len(keys))
    batches = -(-len(keys) // batch)
    devices = min(jax.local_device_count(), batches)
    run = _compiled(f, devices, len(data))
    pieces = []
    for first in range(0, len(keys), batch * devices):
        piece = jax.device_get(run(keys[_padded(first, batch, devices, len(keys))], *data))
        pieces.append(jax.tree.map(lambda x: x[: len(keys) - first], piece))  # noqa: B023
    return jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)


def _padded(first: int, batch: int, devices: int, keys: int) -> np.ndarray:
    """Indices of the next `devices` batches; past the end, the first key of the batch again.

    A batch that is past the end as a whole repeats the first batch.
    """
    index = np.arange(first, first + batch * devices)
    start = index - (index - first) % batch
    return np.where(index < keys, index, np.where(start < keys, start, first))


@functools.lru_cache(maxsize=64)
def _compiled(f: Callable[..., Any], devices: int, data: int) -> Callable[..., Any]:
    one_batch = jax.vmap(f, in_axes=(0, *[None] * data))
    if devices == 1:
        return jax.jit(one_batch)
    mesh = Mesh(np.array(jax.local_devices()[:devices]), ("replicas",))
    specs = (REPLICAS, *[PartitionSpec()] * data)
    one_batch_each = jax.shard_map(
        one_batch, mesh=mesh, in_specs=specs, out_specs=REPLICAS, check_vma=False
    )
    return jax.jit(one_batch_each, in_shardings=tuple(NamedSharding(mesh, s) for s in specs))
