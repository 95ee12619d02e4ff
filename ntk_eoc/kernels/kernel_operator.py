"""K∞ as a linear operator: its products with vectors, tile by tile, without the matrix."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, ArrayLike, Float, Int, Num
from scipy.sparse.linalg import LinearOperator

from ntk_eoc.checks import require, require_count
from ntk_eoc.eoc import at_edge
from ntk_eoc.kernels.angle_table import kernel_by_table
from ntk_eoc.kernels.angles import norms
from ntk_eoc.kernels.infinite import Edge
from ntk_eoc.kernels.matrix import paired
from ntk_eoc.kernels.pair_tiles import Points, mirror, prepare
from ntk_eoc.kernels.tile_kernels import ByAngles, TileFunction, kernel_of_tiles, one_norm

TILE = 512
# The tiles are cut into so many shares, whose sums are added in one order, so that the result does
# not depend on how many devices compute them.
SHARES = 16


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("points", "params"),
    meta_fields=("tile", "n", "size", "devices"),
)
@dataclass(frozen=True)
class KernelOperator:
    """The matrix K∞(X, X) by its products; a pytree, to be handed to compiled functions.

    Attributes:
        points: X, padded to whole tiles.
        params: What the kernel of a pair takes beside the pair.
        tile: The kernel of a tile of pairs.
        n: Number of points.
        size: Rows and columns of a tile.
        devices: Where the tiles are computed.
    """

    points: Points
    params: Any
    tile: TileFunction
    n: int
    size: int
    devices: tuple[Any, ...]

    def __repr__(self) -> str:
        """Its size, dtype and devices."""
        where = f", on {len(self.devices)} devices" if self.devices else ""
        return f"<KernelOperator: n = {self.n}, {self.dtype}{where}>"

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return self.n, self.n

    @property
    def dtype(self) -> Any:
        """Of the entries of K∞, that of X."""
        return self.points.unit.dtype

    def matvec(self, v: Num[ArrayLike, "n"]) -> Float[Array, "n"]:
        """Return K∞ v, in the wider dtype of both."""
        return self.matmat(jnp.asarray(v)[:, None])[:, 0]

    def matmat(self, v: Num[ArrayLike, "n c"]) -> Float[Array, "n c"]:
        """Return K∞ V; each tile is computed once, whatever the number of columns."""
        v = jnp.asarray(v)
        require(v.ndim == 2 and v.shape[0] == self.n, "v", f"[{self.n}, c]", v.shape)
        return product(v, self)

    def __matmul__(self, v: Num[ArrayLike, "n *c"]) -> Float[Array, "n *c"]:
        """Return K∞ v of a vector, or of several."""
        return self.matvec(v) if jnp.ndim(v) == 1 else self.matmat(v)

    def diagonal(self) -> Float[Array, "n"]:
        """Return the diagonal of K∞."""
        return _diagonal(self)

    def columns(self, indices: Int[ArrayLike, "c"]) -> Float[Array, "n c"]:
        """Return some columns of K∞."""
        return _columns(self, jnp.asarray(indices))

    def rectangle(
        self, x: Num[ArrayLike, "q d"], v: Num[ArrayLike, "n *c"]
    ) -> Float[Array, "q *c"]:
        """Return K∞(x, X) v: with v = K∞⁻¹ y, the prediction at other points x.

        Raises:
            ValueError: If x or v does not fit X, or K∞ comes from a table for the one norm of X and
                x has others.
        """
        v, d = jnp.asarray(v), self.points.rows.x.shape[1]
        x = jnp.asarray(x, self.dtype)
        require(x.ndim == 2 and x.shape[1] == d and x.size > 0, "x", f"[q, {d}]", x.shape)
        require(v.ndim in (1, 2) and v.shape[0] == self.n, "v", f"[{self.n}, *c]", v.shape)
        if self.tile == ByAngles(kernel_by_table):
            own = self.points.rows.x[:1] * self.points.rows.scale[:1, None]
            both = np.asarray(norms(jnp.concatenate([x, own])))
            require(
                one_norm(both, self.dtype),
                "x",
                "of the norm of the operator's inputs",
                "other norms",
            )
        found = _rectangle(self, x, v.reshape(self.n, -1))
        return found.reshape(x.shape[0], *v.shape[1:])

    def aslinearoperator(self) -> LinearOperator:
        """Return the operator for SciPy: `cg`, `eigsh` and the others take it."""

        def host(v: np.ndarray) -> np.ndarray:
            return np.asarray(self @ v)

        return LinearOperator(self.shape, host, host, host, self.dtype, host)  # symmetric


def kernel_operator(
    init: Edge,
    x: Num[ArrayLike, "n d"],
    depth: int,
    *,
    devices: Sequence[Any] | None = None,
) -> KernelOperator:
    """Return K∞(X, X) as a linear operator, for as many points as the inputs alone may have.

    A product K∞ V computes every tile of the lower triangle once, uses it and its transpose, and
    forgets it: time O(n² d), memory O(n (d + c)) on every device. Several devices share the tiles;
    the result does not depend on their number.

    It is what linear algebra asks for: `A @ v`, `A.matvec`, `A.shape`, `A.dtype`; matfree takes
    `A.matvec`, lineax `FunctionLinearOperator(A.matvec, …)`, SciPy `A.aslinearoperator()`.
    Compiled functions take it as an argument, so that X does not become a constant in them.

    Args:
        init: Initialisation, or an activation or its name for its edge of chaos.
        x: Inputs. Of an activation without closed forms they have to be of one norm, up to
            rounding: see `normalise`.
        depth: Number l of weight layers.
        devices: Where to compute; JAX's default device unless given.

    Raises:
        ValueError: If depth < 1, `x` is not [n, d], holds NaN, or has several norms where φ has no
            closed forms.
        ActivationError: If φ cannot be integrated well enough.
    """
    init, depth, (x, _) = at_edge(init), require_count("depth", depth), paired(x, x)
    require(not bool(jnp.isnan(x).any()), "x", "without NaN", "NaN")
    tile, params = kernel_of_tiles(init, x, depth)
    n = x.shape[0]
    size = min(TILE, n)
    points = prepare(jnp.pad(x, ((0, -n % size), (0, 0)), mode="edge"))
    where = tuple(devices) if devices is not None else ()
    require(devices is None or len(where) > 0, "devices", "one or more", devices)
    operator = KernelOperator(points, params, tile, n, size, where)
    if not where:
        return operator
    return replace(operator, **_copied(where, points=points, params=params))


def _copied(devices: tuple[Any, ...], **arrays: Any) -> Any:
    """Arrays on every device."""
    return jax.device_put(arrays, NamedSharding(Mesh(np.array(devices), "share"), PartitionSpec()))


def _block(points: Points, start: Array | int, size: int) -> Points:
    return jax.tree.map(lambda a: lax.dynamic_slice_in_dim(a, start, size), points)


def _beyond(rows: Array, columns: Array, n1: int, n2: int) -> Array:
    """Pairs of what only fills a tile: they count as one point, hence are not refined."""
    return (rows >= n1)[:, None] | (columns >= n2)[None, :]


def _times(values: Array, v: Array) -> Array:
    dtype = jnp.promote_types(values.dtype, v.dtype)
    return jnp.matmul(values.astype(dtype), v.astype(dtype), precision=lax.Precision.HIGHEST)


def _one_tile(operator: KernelOperator, i: Array, j: Array) -> Array:
    """The tile of first row i and first column j; on the diagonal symmetric to the last bit."""
    a, b = (start + jnp.arange(operator.size) for start in (i, j))
    same = _beyond(a, b, operator.n, operator.n) | (a[:, None] == b[None, :])
    p, q = (_block(operator.points, start, operator.size) for start in (i, j))
    values = operator.tile(operator.params, p, q, same)
    return lax.cond(i == j, mirror, lambda values: values, values)


def _share(operator: KernelOperator, v: Array, starts: Array, count: Array) -> Array:
    """The sum over a share of the tiles and their transposes, [padded n, c]."""

    def add(out: Array, i: Array, rows: Array) -> Array:
        old = lax.dynamic_slice_in_dim(out, i, operator.size)
        return lax.dynamic_update_slice_in_dim(out, old + rows, i, 0)

    def step(t: Array, out: Array) -> Array:
        i, j = starts[t, 0], starts[t, 1]
        values = _one_tile(operator, i, j)
        out = add(out, i, _times(values, lax.dynamic_slice_in_dim(v, j, operator.size)))
        # The diagonal's tile counts once.
        other = _times(values.T, lax.dynamic_slice_in_dim(v, i, operator.size))
        return add(out, j, jnp.where(i == j, 0, other))

    return lax.fori_loop(jnp.zeros_like(count), count, step, jnp.zeros_like(v))


@jax.jit
def product(v: Num[Array, "n *c"], operator: KernelOperator) -> Float[Array, "n *c"]:
    """Return K∞ v, the operator as an argument, as `spectra.lanczos.quadrature` asks."""
    dtype = jnp.promote_types(operator.dtype, v.dtype)
    rows = v.reshape(operator.n, -1).astype(dtype)
    padded = jnp.pad(rows, ((0, -operator.n % operator.size), (0, 0)))
    starts, counts = _shares(operator)
    partial_sums = _over_devices(operator, padded, starts, counts)
    total = lax.fori_loop(
        1, len(partial_sums), lambda s, sum_: sum_ + partial_sums[s], partial_sums[0]
    )
    return total[: operator.n].reshape(v.shape)


def _shares(operator: KernelOperator) -> tuple[Array, Array]:
    """The first row and column of every tile, [shares, most, 2], and how many there are in each."""
    edges = range(0, operator.n, operator.size)
    tiles = np.array([(i, j) for i in edges for j in edges if j <= i])
    parts = np.array_split(tiles, min(SHARES, len(tiles)))
    if operator.devices:  # as many shares for each device
        parts += [tiles[:0]] * (-len(parts) % len(operator.devices))
    most = max(map(len, parts))
    padded = [np.pad(part, ((0, most - len(part)), (0, 0))) for part in parts]
    return jnp.asarray(np.stack(padded)), jnp.asarray([len(part) for part in parts])


def _over_devices(operator: KernelOperator, v: Array, starts: Array, counts: Array) -> Array:
    """The sums of all shares, [shares, padded n, c], on every device."""

    def some(operator: KernelOperator, v: Array, starts: Array, counts: Array) -> Array:
        return lax.map(lambda share: _share(operator, v, *share), (starts, counts))

    if len(operator.devices) < 2:
        return some(operator, v, starts, counts)
    mesh = Mesh(np.array(operator.devices), "share")
    all_, mine = PartitionSpec(), PartitionSpec("share")
    run = jax.shard_map(
        some, mesh=mesh, in_specs=(all_, all_, mine, mine), out_specs=mine, check_vma=False
    )
    return lax.with_sharding_constraint(run(operator, v, starts, counts), NamedSharding(mesh, all_))


@jax.jit
def _diagonal(operator: KernelOperator) -> Array:
    starts = jnp.arange(0, operator.n, operator.size)
    return lax.map(lambda i: jnp.diagonal(_one_tile(operator, i, i)), starts).ravel()[: operator.n]


@jax.jit
def _columns(operator: KernelOperator, indices: Array) -> Array:
    those = jax.tree.map(lambda a: a[indices], operator.points)

    def rows(i: Array) -> Array:
        a = i + jnp.arange(operator.size)
        same = _beyond(a, indices, operator.n, operator.n) | (a[:, None] == indices[None, :])
        block = _block(operator.points, i, operator.size)
        return operator.tile(operator.params, block, those, same)

    starts = jnp.arange(0, operator.n, operator.size)
    return lax.map(rows, starts).reshape(-1, len(indices))[: operator.n]


@jax.jit
def _rectangle(operator: KernelOperator, x: Array, v: Array) -> Array:
    size, n = operator.size, operator.n
    v = jnp.pad(v, ((0, -n % size), (0, 0)))
    own = min(size, x.shape[0])
    rows = prepare(jnp.pad(x, ((0, -x.shape[0] % own), (0, 0)), mode="edge"))

    def block(i: Array) -> Array:
        p = _block(rows, i, own)

        def step(t: Array, out: Array) -> Array:
            q = _block(operator.points, t * size, size)
            filled = _beyond(i + jnp.arange(own), t * size + jnp.arange(size), x.shape[0], n)
            values = operator.tile(operator.params, p, q, filled)
            return out + _times(values, lax.dynamic_slice_in_dim(v, t * size, size))

        dtype = jnp.promote_types(operator.dtype, v.dtype)
        return lax.fori_loop(0, -(-n // size), step, jnp.zeros((own, v.shape[1]), dtype))

    found = lax.map(block, jnp.arange(0, x.shape[0], own))
    return found.reshape(-1, v.shape[1])[: x.shape[0]]
