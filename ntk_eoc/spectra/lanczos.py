"""Lanczos quadrature: the eigenvalue distribution of a symmetric matrix known by its products.

The recurrence is matfree's, fully reorthogonalised, in JAX's default float; the products may be
float32. With 64-bit mode on, its coefficients carry the error of the products alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float
from matfree import decomp

from ntk_eoc.checks import require_count

# A Krylov space is exhausted where an off-diagonal entry is this small beside the diagonal: float32
# products leave no less. What the recurrence finds afterwards is noise.
EXHAUSTED = 1e-6
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


@partial(jax.jit, static_argnums=(0, 1, 2))
def _lanczos(
    product: Callable[..., Array], steps: int, dtype: Any, start: Float[Array, "n"], *operands: Any
) -> tuple[Float[Array, "k"], Float[Array, "j"], Float[Array, "k k"]]:
    """Return the diagonal and off-diagonal of Lanczos' matrix, and the Gram matrix of the basis."""

    def cast(v: Array, *operands: Any) -> Array:
        return product(v.astype(dtype), *operands).astype(v.dtype)

    found = decomp.tridiag_sym(steps, reortho="full", materialize=False)(cast, start, *operands)
    basis = found.Q_tall
    return *found.J_small, jnp.matmul(basis, basis.T, precision=Precision.HIGHEST)


def _gauss_rule(
    diagonal: Float[np.ndarray, "k"], off: Float[np.ndarray, "j"], gram: Float[np.ndarray, "k k"]
) -> Float[np.ndarray, "2 k"]:
    """Return nodes and weights; a space exhausted early leaves nodes of weight 0."""
    overlap = np.max(np.abs(np.triu(gram, 1)[:, 1:]), axis=0)
    usable = (off > EXHAUSTED * np.max(np.abs(diagonal[:1]))) & (overlap < PARALLEL)
    size = 1 + int(np.argmin([*usable, False]))
    beside = off[: size - 1]
    small = np.diag(diagonal[:size]) + np.diag(beside, 1) + np.diag(beside, -1)
    values, vectors = np.linalg.eigh(small)
    rule = np.zeros((2, len(diagonal)))
    rule[0] = values[-1]
    rule[:, :size] = values, vectors[0] ** 2
    return rule


def quadrature(
    product: Callable[..., Array],
    n: int,
    *operands: Any,
    steps: int,
    probes: int,
    seed: int,
    dtype: Any = np.float32,
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

    Raises:
        ValueError: If there are fewer than 2 steps or 1 probe.
    """
    require_count("steps", steps, 2)
    require_count("probes", probes)
    steps = min(steps, require_count("n", n))
    rng = np.random.default_rng(seed)
    rules = []
    for _ in range(probes):
        start = jnp.asarray(rng.choice([-1.0, 1.0], n))
        found = _lanczos(product, steps, np.dtype(dtype), start, *operands)
        rules.append(_gauss_rule(*(np.asarray(x, np.float64) for x in found)))
    nodes, weights = np.swapaxes(rules, 0, 1)
    return Quadrature(nodes, weights)


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
