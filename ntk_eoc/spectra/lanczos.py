"""Lanczos quadrature: the eigenvalue distribution of a symmetric matrix known by its products.

The recurrence is matfree's, fully reorthogonalised, in JAX's default float; the products may be
float32. With 64-bit mode on, its coefficients carry the error of the products alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matfree import decomp

from ntk_eoc.checks import require_count

# A Krylov space is exhausted where an off-diagonal entry is so many roundings of the products
# beside the diagonal. What the recurrence finds afterwards is noise.
EXHAUSTED = 64
PARALLEL = 1e-3  # a basis vector that overlaps so much with an earlier one is such noise


class Quadrature(NamedTuple):
    """One Gauss rule a random probe.

    Attributes:
        nodes: Ritz values, [probes, steps].
        weights: Their weights, of sum 1 for each probe.
    """

    nodes: Float[np.ndarray, "s k"]
    weights: Float[np.ndarray, "s k"]


class Bars(NamedTuple):
    """A function of t with its error over the probes.

    Attributes:
        mean: Mean over the probes.
        error: Its standard error.
        probes: How many there were.
    """

    mean: Float[np.ndarray, "t"]
    error: Float[np.ndarray, "t"]
    probes: int


class Extremes(NamedTuple):
    """The least and the largest Ritz value, and how far the nearest eigenvalue may be from each.

    Ritz values lie between the extreme eigenvalues: `largest` comes from below, `least` from above.

    Attributes:
        least: The least Ritz value.
        largest: The largest Ritz value.
        least_error: ‖A u − λ u‖ of its Ritz vector u: some eigenvalue is as near as that.
        largest_error: The same of the largest.
        steps: Lanczos steps taken.
    """

    least: float
    largest: float
    least_error: float
    largest_error: float
    steps: int


@partial(jax.jit, static_argnums=(0, 1, 2))
def _lanczos(
    product: Callable[..., Array],
    steps: int,
    dtype: Any,
    starts: Float[Array, "b n"],
    *operands: Any,
) -> tuple[Float[Array, "b k"], Float[Array, "b j"], Float[Array, "b k n"], Float[Array, "b"]]:
    """Return the diagonal and off-diagonal of Lanczos' matrix, the basis, and the rest after it."""

    def cast(v: Array, *operands: Any) -> Array:
        return product(v.astype(dtype), *operands).astype(v.dtype)

    def space(start: Array) -> tuple[Array, Array, Array, Array]:
        found = decomp.tridiag_sym(steps, reortho="full", materialize=False)(cast, start, *operands)
        diagonal, off = found.J_small
        return diagonal, off, found.Q_tall, jnp.linalg.norm(found.residual)

    return jax.vmap(space)(starts)


def _usable(diagonal: np.ndarray, off: np.ndarray, basis: np.ndarray, dtype: Any) -> int:
    """How many steps were taken before the space was exhausted."""
    gram = basis @ basis.T
    overlap = np.max(np.abs(np.triu(gram, 1)[:, 1:]), axis=0)
    rounding = float(np.finfo(dtype).eps) * np.max(np.abs(diagonal[:1]))
    usable = (off > EXHAUSTED * rounding) & (overlap < PARALLEL)
    return 1 + int(np.argmin([*usable, False]))


def _tridiagonal(diagonal: np.ndarray, off: np.ndarray) -> np.ndarray:
    beside = off[: len(diagonal) - 1]
    return np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)


class Ritz(NamedTuple):
    """Approximate eigenvalues and eigenvectors.

    Attributes:
        values: Ritz values, ascending.
        vectors: Ritz vectors, one a column.
        errors: ‖A u − λ u‖ of each: some eigenvalue is as near to λ as that.
    """

    values: Float[np.ndarray, "k"]
    vectors: Float[np.ndarray, "n k"]
    errors: Float[np.ndarray, "k"]


@dataclass(frozen=True)
class Krylov:
    """The Krylov space of a vector, span of v, A v, A² v, …, and what it holds of a symmetric A.

    Attributes:
        diagonal: Of Lanczos' tridiagonal matrix T, [k].
        off: Beside its diagonal; the last entry is how far A leads out of the space.
        basis: Orthonormal, one vector a row, v/‖v‖ first.
    """

    diagonal: Float[np.ndarray, "k"]
    off: Float[np.ndarray, "k"]
    basis: Float[np.ndarray, "k n"]

    def ritz(self, size: int | None = None) -> Ritz:
        """Return Ritz values and vectors of the space, or of its first `size` dimensions."""
        size = len(self.diagonal) if size is None else size
        values, vectors = np.linalg.eigh(_tridiagonal(self.diagonal[:size], self.off))
        return Ritz(values, self.basis[:size].T @ vectors, np.abs(self.off[size - 1] * vectors[-1]))


def _spaces(
    product: Callable[..., Array],
    starts: Float[np.ndarray, "b n"],
    operands: tuple[Any, ...],
    steps: int,
    dtype: Any,
) -> list[Krylov]:
    """Return the Krylov space of each row of `starts`, every step one product with all of them."""
    steps = min(require_count("steps", steps, 2), starts.shape[1])
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    found = _lanczos(product, steps, dtype, jnp.asarray(starts), *operands)
    spaces = []
    for diagonal, off, basis, rest in zip(*(np.asarray(x, np.float64) for x in found), strict=True):
        size = _usable(diagonal, off, basis, dtype)
        spaces.append(Krylov(diagonal[:size], np.append(off, rest)[:size], basis[:size]))
    return spaces


def krylov(
    product: Callable[..., Array],
    start: Float[np.ndarray, "n"],
    *operands: Any,
    steps: int,
    dtype: Any = np.float64,
) -> Krylov:
    """Return the Krylov space of a vector that is not 0.

    Args:
        product: (v, *operands) ↦ A v, v of shape [n].
        start: The vector.
        operands: What the product needs beside v.
        steps: Dimension of the space, if it is not exhausted before.
        dtype: Of the vectors handed to `product`.
    """
    return _spaces(product, start[None], operands, steps, dtype)[0]


def quadrature(
    product: Callable[..., Array],
    n: int,
    *operands: Any,
    steps: int,
    probes: int,
    seed: int,
    dtype: Any = np.float32,
    batch: int = 1,
) -> Quadrature:
    """Return Gauss rules of the eigenvalue distribution, one a Rademacher probe.

    Args:
        product: (v, *operands) ↦ A v, v of shape [n]; `two_layer.product` is one.
        n: Size of A.
        operands: What the product needs beside v, handed over rather than closed over, so that
            large arrays do not become constants of the compiled program.
        steps: Lanczos steps; the rule is exact for polynomials of degree 2 · steps − 1.
        probes: Random starts.
        seed: Of the probes.
        dtype: Of the vectors handed to `product`.
        batch: Probes at once, in one product a step. Worth its memory, batch · steps vectors, where
            A costs more than its product with a vector, as a kernel's tiles do.

    Raises:
        ValueError: If there are fewer than 2 steps, or less than 1 probe or 1 at once.
    """
    require_count("steps", steps, 2)
    require_count("probes", probes)
    require_count("batch", batch)
    steps = min(steps, require_count("n", n))
    rng = np.random.default_rng(seed)
    starts = np.stack([rng.choice([-1.0, 1.0], n) for _ in range(probes)])
    rules = []
    parts = (starts[at : at + batch] for at in range(0, probes, batch))
    for found in chain.from_iterable(
        _spaces(product, part, operands, steps, dtype) for part in parts
    ):
        values, vectors = np.linalg.eigh(_tridiagonal(found.diagonal, found.off))
        rule = np.zeros((2, steps))  # a space exhausted early leaves nodes of weight 0
        rule[0] = values[-1]
        rule[:, : len(values)] = values, vectors[0] ** 2
        rules.append(rule)
    nodes, weights = np.swapaxes(rules, 0, 1)
    return Quadrature(nodes, weights)


def extremes(
    product: Callable[..., Array],
    n: int,
    *operands: Any,
    steps: int,
    seed: int,
    dtype: Any = np.float32,
) -> Extremes:
    """Return the extreme Ritz values of a random start, with bounds of their errors.

    The largest eigenvalue of a kernel is found in a few steps. The least, in the midst of many
    small ones, is not before the space is exhausted: its error says so.

    Arguments as in `quadrature`.
    """
    start = np.random.default_rng(seed).choice([-1.0, 1.0], require_count("n", n))
    found = krylov(product, start, *operands, steps=steps, dtype=dtype).ritz()
    ends = (float(found.values[0]), float(found.values[-1]))
    return Extremes(*ends, float(found.errors[0]), float(found.errors[-1]), len(found.values))


def cdf(rule: Quadrature, t: Float[np.ndarray, "t"]) -> Bars:
    """Return the share of eigenvalues below t, with its error over the probes.

    Each probe's distribution function is taken linear between its nodes, where it is half-way up
    its step: the steps of a Gauss rule bracket the true function at the nodes.
    """
    shares = np.stack(
        [
            np.interp(t, x[w > 0], (np.cumsum(w) - w / 2)[w > 0], left=0.0, right=1.0)
            for x, w in zip(*rule, strict=True)
        ]
    )
    return _bars(shares)


def bin_masses(rule: Quadrature, edges: Float[np.ndarray, "t"]) -> Bars:
    """Return the share of eigenvalues in each bin (see `cdf`), with its error over the probes."""
    shares = np.stack(
        [cdf(Quadrature(x[None], w[None]), edges).mean for x, w in zip(*rule, strict=True)]
    )
    return _bars(np.diff(shares, axis=1))


def _bars(rows: Float[np.ndarray, "s t"]) -> Bars:
    probes = len(rows)
    spread = rows.std(axis=0, ddof=1) if probes > 1 else np.full(rows.shape[1], np.nan)
    return Bars(rows.mean(axis=0), spread / np.sqrt(probes), probes)
