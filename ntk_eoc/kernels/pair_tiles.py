"""A function of every pair's angle, tile by tile: one matrix product, stable differences where due.

1 − |cos θ| from a product of unit vectors has an absolute error of a few ε. That is enough except
for near and near-opposite pairs, which go through `angles.pair_angles`, however many they are.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Shaped

from ntk_eoc.kernels.angles import Angles, Row, pair_angles, safe_sqrt, scaled

TILE = 512
CHUNK = 128  # inputs summed at a time: keeps the rounding of a product at 2 ε for any d
PER_ROW = 2  # close pairs of a row refined at a time

PairFunction = Callable[[Any, Angles], Array]


class Points(NamedTuple):
    """Inputs prepared for products.

    Attributes:
        rows: The inputs over powers of two near their norms.
        unit: x/‖x‖ (0 for x = 0), padded with zeros to whole chunks.
    """

    rows: Row
    unit: Float[Array, "n p"]


def prepare(x: Float[Array, "n d"]) -> Points:
    """Scale, normalise and pad the inputs."""
    rows = jax.vmap(scaled)(x)
    norm = safe_sqrt(rows.square)
    unit = rows.x / jnp.where(norm > 0, norm, jnp.ones_like(norm))[:, None]
    d = x.shape[1]
    padding = 0 if d <= CHUNK else -d % CHUNK
    return Points(rows, jnp.pad(unit, ((0, 0), (0, padding))))


def close(dtype: Any) -> float:
    """1 − |cos θ| below which a pair is refined: 2 ε/(2δ) is then 4e-6 in float32, 1e-13 in 64."""
    return 0.03 if dtype == jnp.float32 else 0.002


def _cosines(p: Points, q: Points) -> Float[Array, "a b"]:
    """⟨x, x'⟩/(‖x‖‖x'‖), summed over chunks of the inputs."""
    product = partial(jnp.matmul, precision=lax.Precision.HIGHEST)
    chunks = p.unit.shape[1] // CHUNK
    if chunks < 2:
        return product(p.unit, q.unit.T)

    def part(i: Array | int) -> Array:
        u = lax.dynamic_slice_in_dim(p.unit, i * CHUNK, CHUNK, 1)
        v = lax.dynamic_slice_in_dim(q.unit, i * CHUNK, CHUNK, 1)
        return product(u, v.T)

    return lax.fori_loop(1, chunks, lambda i, total: total + part(i), part(0))


def _refine(
    p: Points, q: Points, least: Float[Array, "a b"], todo: Bool[Array, "a b"]
) -> Float[Array, "a b"]:
    """Replace 1 − |cos θ| of the pairs `todo` by stable differences, a few a row at a time."""
    per_row = min(PER_ROW, q.unit.shape[0])
    rows = jnp.arange(p.unit.shape[0])[:, None] + jnp.zeros((1, per_row), int)

    def some(state: tuple[Array, Array]) -> tuple[Array, Array]:
        least, todo = state
        wanted, columns = lax.top_k(todo.astype(least.dtype), per_row)
        those = Row(*(a[columns] for a in q.rows))
        pairs = jax.vmap(jax.vmap(pair_angles, (None, 0)))(p.rows, those)
        stable = jnp.minimum(pairs.delta, pairs.eta)
        stable = jnp.where(wanted > 0, stable, least[rows, columns])
        return least.at[rows, columns].set(stable), todo.at[rows, columns].set(False)

    return lax.while_loop(lambda state: jnp.any(state[1]), some, (least, todo))[0]


def tile_angles(p: Points, q: Points, same: Bool[Array, "a b"]) -> Angles:
    """Return the angles of a tile of pairs; those marked `same` are one point and at angle 0."""
    size = safe_sqrt(p.rows.square[:, None] * q.rows.square[None, :])
    cosine = jnp.clip(_cosines(p, q), -1, 1)
    parallel = same | (size == 0)
    least = jnp.where(parallel, jnp.zeros_like(cosine), 1 - jnp.abs(cosine))
    least = _refine(p, q, least, ~parallel & (least < close(least.dtype)))
    acute = parallel | (cosine >= 0)
    return Angles(
        delta=jnp.where(acute, least, 2 - least),
        eta=jnp.where(acute, 2 - least, least),
        size=size / p.rows.x.shape[1] * p.rows.scale[:, None] * q.rows.scale[None, :],
    )


def _block(points: Points, start: Array, size: int) -> Points:
    return jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, start, size), points)


def _grid(n1: int, n2: int, same: bool) -> tuple[int, int, list[tuple[int, int]]]:
    """Tile sizes and the start of every tile, the lower triangle for one set of points.

    The last tile of a side starts early enough to be whole. It overlaps the one before it, so the
    order matters for one set of points: what a tile and its mirror image both cover is written
    once more, by the tile on the diagonal that comes last.
    """
    b1, b2 = min(TILE, n1), min(TILE, n2)
    starts1 = [min(i, n1 - b1) for i in range(0, n1, b1)]
    starts2 = [min(j, n2 - b2) for j in range(0, n2, b2)]
    return b1, b2, [(i, j) for i in starts1 for j in starts2 if not same or j <= i]


def mirror(values: Float[Array, "b b"]) -> Float[Array, "b b"]:
    """Copy the lower triangle over the upper one."""
    return jnp.tril(values) + jnp.tril(values, -1).T


def _tiled(f: PairFunction, same: bool, params: Any, x1: Array, x2: Array) -> Array:
    n1, n2 = x1.shape[0], x2.shape[0]
    b1, b2, starts = _grid(n1, n2, same)
    p = prepare(x1)
    q = p if same else prepare(x2)
    where = jnp.asarray(starts)

    def tile(k: Array | int, out: Array) -> Array:
        i, j = where[k, 0], where[k, 1]
        a, b = jnp.arange(b1)[:, None], jnp.arange(b2)[None, :]
        one = (i + a == j + b) & same
        values = f(params, tile_angles(_block(p, i, b1), _block(q, j, b2), one))
        if same:
            # A conditional, so that XLA does not compute every tile in both orders of its indices.
            values = lax.cond(i == j, mirror, lambda values: values, values)
            out = lax.dynamic_update_slice(out, values.T, (j, i))
        return lax.dynamic_update_slice(out, values, (i, j))

    return lax.fori_loop(0, len(starts), tile, jnp.zeros((n1, n2), x1.dtype))


def _by_rows(f: PairFunction, params: Any, x1: Array, x2: Array) -> Array:
    """The same with stable differences for every pair: slow, but it can be differentiated."""
    columns = jax.vmap(scaled)(x2)

    @jax.checkpoint
    def row(x: Array) -> Array:
        p = scaled(x)
        return f(params, jax.vmap(lambda q: pair_angles(p, q))(columns))

    return lax.map(row, x1)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _map_pairs(f: PairFunction, same: bool, params: Any, x1: Array, x2: Array) -> Array:
    return _tiled(f, same, params, x1, x2)


@_map_pairs.defjvp
def _map_pairs_jvp(f: PairFunction, same: bool, primals: Any, tangents: Any) -> tuple[Array, Array]:
    return _tiled(f, same, *primals), jax.jvp(partial(_by_rows, f), primals, tangents)[1]


@partial(jax.jit, static_argnums=(0, 1))
def map_pairs(
    f: PairFunction,
    same: bool,
    params: Any,
    x1: Float[Array, "n1 d"],
    x2: Float[Array, "n2 d"],
) -> Shaped[Array, "n1 n2"]:
    """Return f(params, angles) of all pairs, by tiles: memory O(TILE² + n d) beside the result.

    Args:
        f: Elementwise in the angles; the same object for the same work, which is compiled once.
        same: Whether x2 is x1: then half of the work, and symmetric to the last bit.
        params: What else f takes.
        x1: Inputs.
        x2: Inputs.

    Source: `docs/spectrum.md`. Derivatives go through `angles.pair_angles` row by row.
    """
    return _map_pairs(f, same, params, x1, x2)
