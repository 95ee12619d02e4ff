"""The neurons of a layer in chunks and blocks: what is drawn, and how much of it at a time."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ntk_eoc.checks import require, require_count
from ntk_eoc.eoc import Init

MEMORY = 2**28
# Gaussians drawn from one key. On a CPU a chunk of this size lives in the cache, which makes
# drawing and using it about twice as fast as one long array.
CHUNK = 2**16
# A longer block loses the cache of a CPU; an accelerator takes what the memory allows.
BLOCK = {"cpu": 2**18}


class Layer(NamedTuple):
    """How the m neurons of a hidden layer are drawn: chunks of neurons, several to a block.

    The chunks define the draw and depend on shapes alone; the blocks follow the memory. The layers
    of a single chunk are drawn together, all of them at once, and kept.
    """

    m: int
    rows: int  # Gaussians a neuron needs: n for ξ, the rest for η
    chunk: int  # neurons drawn from one key
    block: int  # chunks at a time
    blocks: int
    stored: bool  # whether the backward pass finds the draws in memory or draws them again

    @property
    def small(self) -> bool:
        """Whether the layer is a single chunk."""
        return self.chunk == self.m


class Plan(NamedTuple):
    """The static part of a run."""

    init: Init
    layers: tuple[Layer, ...]
    k: int
    copies: int  # back-propagated signals: 1 for K alone
    dtype: Any


def prepare(
    caller: str, init: Init, x: Any, widths: Sequence[int], memory: int, dtype: Any, copies: int
) -> tuple[Array, Plan]:
    """Check the arguments of a sampler and lay out its blocks."""
    require_float64(caller)
    x = jnp.asarray(x)
    require(x.ndim == 2 and min(x.shape) >= 1, "x", "[n, d] with n, d >= 1", x.shape)
    dtype = jnp.dtype(x.dtype if dtype is None else dtype)
    require(dtype.name in ("float32", "float64"), "dtype", "float32 or float64", dtype.name)
    sizes = tuple(require_count(f"widths[{i}]", m) for i, m in enumerate(widths))
    require_count("len(widths)", len(sizes))
    memory = require_count("memory", memory)
    layers = _lay_out(x.shape[0], sizes, copies, memory, dtype.itemsize)
    return x, Plan(init, layers, sizes[-1], copies, dtype)


def require_float64(caller: str) -> None:
    """Raise unless JAX's float64 is on; turning it on is the application's business."""
    if jax.dtypes.canonicalize_dtype("float64") != jnp.float64:
        raise RuntimeError(
            f"`{caller}` needs float64 for its n × n algebra: call "
            'jax.config.update("jax_enable_x64", True) first. The draws may still be float32.'
        )


def _lay_out(
    n: int, sizes: tuple[int, ...], copies: int, memory: int, itemsize: int
) -> tuple[Layer, ...]:
    """Cut every hidden layer into chunks and blocks that keep within the memory."""
    *hidden, k = sizes
    q = copies * n * k
    rows = [n + q] * (len(hidden) - 1) + [n + k] * bool(hidden)
    # The matrices that live through the run; then those of one elimination and of the sums.
    matrices = 8 * (len(hidden) * (4 * n * n + n * q) + 8 * q * q)
    # The layers of a single chunk are kept.
    matrices += sum(itemsize * m * r for m, r in zip(hidden, rows, strict=True) if m * r <= CHUNK)
    # Random bits, draws, a copy of them and the arrays made of them, two of these in float64.
    needs = [itemsize * (3 * r + 3 * n + 2 * q) + 8 * (n + q) for r in rows]
    chunks = [-(-m * r // CHUNK) for m, r in zip(hidden, rows, strict=True)]
    chunk = [-(-m // c) for m, c in zip(hidden, chunks, strict=True)]
    least = matrices + max((c * b for c, b in zip(chunk, needs, strict=True)), default=0)
    require(memory >= least, "memory", f">= {least} bytes (n = {n}, k = {k})", memory)

    longest = BLOCK.get(jax.default_backend(), memory)
    store = (memory - least) // 2
    free = memory - matrices - store
    layers = []
    for h, (m, r, c, b) in enumerate(zip(hidden, rows, chunk, needs, strict=True)):
        count = -(-m // c)
        block = max(1, min(free // (c * b), longest // (c * r), count))
        blocks = -(-count // block)
        block = -(-count // blocks)
        bytes_stored = itemsize * r * c * block * blocks if count > 1 else 0
        stored = h < len(hidden) - 1 and bytes_stored <= store
        store -= bytes_stored if stored else 0
        layers.append(Layer(m, r, c, block, blocks, stored))
    return tuple(layers)


def draw_together(
    key: Array, shapes: Sequence[tuple[int, ...]], dtype: Any
) -> list[Float[Array, "..."]]:
    """Draw Gaussian arrays from one key in one go, which compiles once for all of them."""
    sizes = [math.prod(shape) for shape in shapes]
    flat = jax.random.normal(key, (sum(sizes),), dtype)
    ends = list(itertools.accumulate(sizes))
    return [
        flat[end - size : end].reshape(shape)
        for end, size, shape in zip(ends, sizes, shapes, strict=True)
    ]


def over_blocks(
    key: Array,
    plan: Plan,
    layer: Layer,
    visit: Callable[[Array, Array | None], Any],
    keep: bool = False,
    draws: Float[Array, "blocks rows b"] | None = None,
) -> tuple[Any, Float[Array, "blocks rows b"] | None]:
    """Sum visit(draws [rows, b], real [b]) over a layer's blocks; keep their draws if asked.

    `real` tells the neurons of the layer from those that only fill the last block; it is None
    where no block has any of these.
    """
    padded = layer.chunk * layer.block * layer.blocks > layer.m

    def at(index: Array | int, kept: Array | None) -> tuple[Any, Array]:
        first = jnp.asarray(index, jnp.int64) * layer.block
        block = _draw(key, plan, layer, first) if kept is None else kept
        neurons = first * layer.chunk + jnp.arange(block.shape[1])
        return visit(block, neurons < layer.m if padded else None), block

    def step(total: Any, item: tuple[Array, Array | None]) -> tuple[Any, Array | None]:
        value, block = at(*item)
        return jax.tree.map(jnp.add, total, value), block if keep else None

    if layer.blocks == 1:
        total, block = at(0, None if draws is None else draws[0])
        return total, block[None] if keep else None
    shapes = jax.eval_shape(lambda: at(0, None if draws is None else draws[0])[0])
    start = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    return jax.lax.scan(step, start, (jnp.arange(layer.blocks), draws))


def _draw(key: Array, plan: Plan, layer: Layer, first: Array) -> Float[Array, "rows b"]:
    """Draw the Gaussians of a block: those of `layer.block` chunks from number `first` on."""

    def one(chunk: Array) -> Array:
        shape = (layer.rows, layer.chunk)
        return jax.random.normal(jax.random.fold_in(key, chunk), shape, plan.dtype)

    chunks = jax.vmap(one)(first + jnp.arange(layer.block))
    return chunks.swapaxes(0, 1).reshape(layer.rows, -1)
