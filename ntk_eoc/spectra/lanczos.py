"""Lanczos quadrature: the eigenvalue distribution of a symmetric matrix known by its products.

The products may be float32; the recurrence and its orthogonalisation are host float64, because a
float32 basis loses its orthogonality and with it the weights. (The library never turns x64 on.)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ntk_eoc.checks import require_count
from ntk_eoc.spectra.laws import SpectralLaw, from_atoms
from ntk_eoc.spectra.piecewise import weighted


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


def tridiagonal(
    product: Callable[[Any], Any], start: Float[np.ndarray, "n"], steps: int, dtype: Any
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "j"]]:
    """Return the diagonal and off-diagonal of Lanczos' matrix, the basis orthogonalised twice.

    It stops early where the Krylov space is exhausted to 1e-6 (of float32 products).
    """
    basis = np.zeros((steps, start.size))
    basis[0] = start / np.linalg.norm(start)
    diagonal, off = np.zeros(steps), np.zeros(steps)
    for k in range(steps):
        w = np.asarray(product(basis[k].astype(dtype)), np.float64)
        diagonal[k] = basis[k] @ w
        for _ in range(2):
            w = w - np.einsum("kn,k->n", basis[: k + 1], weighted(basis[: k + 1], w))
        off[k] = np.linalg.norm(w)
        if k + 1 == steps or off[k] < 1e-6 * np.max(np.abs(diagonal[: k + 1])):
            return diagonal[: k + 1], off[:k]
        basis[k + 1] = w / off[k]
    raise AssertionError("unreachable")


def quadrature(
    product: Callable[[Any], Any],
    n: int,
    *,
    steps: int,
    probes: int,
    seed: int,
    dtype: Any = np.float32,
) -> Quadrature:
    """Return Gauss rules of the eigenvalue distribution, one a Rademacher probe.

    Args:
        product: v ↦ A v, v of shape [n]; `two_layer.operator` makes one.
        n: Size of A.
        steps: Lanczos steps; the rule is exact for polynomials of degree 2 · steps − 1.
        probes: Random starts.
        seed: Of the probes.
        dtype: Of the vectors handed to `product`.
    """
    require_count("steps", steps, 2)
    require_count("probes", probes)
    steps = min(steps, require_count("n", n))
    rng = np.random.default_rng(seed)
    nodes, weights = np.zeros((probes, steps)), np.zeros((probes, steps))
    for i in range(probes):
        start = rng.choice([-1.0, 1.0], n)
        diagonal, off = tridiagonal(product, start, steps, dtype)
        small = np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1)
        values, vectors = np.linalg.eigh(small)
        # A space exhausted early leaves nodes of weight 0.
        nodes[i, : len(values)], nodes[i, len(values) :] = values, values[-1]
        weights[i, : len(values)] = vectors[0] ** 2
    return Quadrature(nodes, weights)


def empirical_law(rule: Quadrature) -> SpectralLaw:
    """Return the mean of the probes' rules as a law of atoms."""
    keep = rule.weights > 0
    return from_atoms(rule.nodes[keep], rule.weights[keep] / len(rule.nodes))


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
