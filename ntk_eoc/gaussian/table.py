"""The dual at one variance as a function of the angle, tabulated for many pairs at once.

E[φ'(√q u) φ'(√q v)] is analytic in θ = arccos ρ inside (0, π), with features that crowd at the
ends only: Chebyshev interpolation on panels that shrink towards both ends resolves it. The gap
½E[(φ(√q u) − φ(√q v))²] is its integral over δ (Price's theorem), hence relatively accurate.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc import chebyshev
from ntk_eoc.activations import Activation
from ntk_eoc.gaussian.panels import Panels
from ntk_eoc.gaussian.rules import COARSE, COARSE_1D, FINE, FINE_1D, Scalar
from ntk_eoc.gaussian.triples import REFINEMENTS, Triples, integrate

NODES = 20
_TAIL = 2  # coefficients whose size tells the error of an interpolant
LEVELS = 11  # panels end at (π/2) 2^{−j}, j = 0 … LEVELS, and at the mirror images
X, COEFFICIENTS = chebyshev.nodes(NODES), chebyshev.to_coefficients(NODES)


def _integral_to_nodes() -> np.ndarray:
    """Matrix [i, j] of ∫_{−1}^{x_i} of the interpolant; a last row for the whole panel."""
    t, w = np.polynomial.legendre.leggauss(NODES)
    ends = np.append(X, 1.0)
    s = -1 + np.outer(ends + 1, (t + 1) / 2)
    basis = np.cos(np.arccos(np.clip(s, -1, 1))[..., None] * np.arange(NODES)) @ COEFFICIENTS
    return np.einsum("k,ikj->ij", w, basis) * ((ends + 1) / 2)[:, None]


def _first_moment_to_nodes() -> np.ndarray:
    """Matrix [i, j] of ∫_0^1 t h(τ_i t) dt on the panel [0, 1], for relative accuracy at 0."""
    t, w = np.polynomial.legendre.leggauss(NODES)
    t, w = (t + 1) / 2, w / 2
    s = np.outer(np.append((X + 1) / 2, 1.0), t) * 2 - 1
    basis = np.cos(np.arccos(np.clip(s, -1, 1))[..., None] * np.arange(NODES)) @ COEFFICIENTS
    return np.einsum("k,ikj->ij", w * t, basis)


_INTEGRAL, _FIRST = _integral_to_nodes(), _first_moment_to_nodes()


class DualTable(NamedTuple):
    """Chebyshev coefficients at one variance, [panels, NODES].

    Attributes:
        slope: Of E[φ'(√q u) φ'(√q v)].
        ratio: Of ½E[(φ(√q u) − φ(√q v))²]/δ.
        q: The variance.
        error: Estimate of the error of E[φ'φ'].
    """

    slope: Float[Array, "p c"]
    ratio: Float[Array, "p c"]
    q: Float[Array, ""]
    error: Float[Array, ""]


def _edges(folded: bool) -> np.ndarray:
    near = np.concatenate([[0.0], (math.pi / 2) * 2.0 ** np.arange(-LEVELS, 1)])
    return near if folded else np.concatenate([near, math.pi - near[-2::-1]])


@partial(jax.jit, static_argnums=(0, 1, 3))
def _build(
    act: Activation, panels: Panels, q: Scalar, rules: tuple[int, int]
) -> tuple[DualTable, Array]:
    """Tabulate, and return the error allowed too."""
    edges = _edges(panels.parity != 0)
    half = np.diff(edges)[:, None] / 2
    theta = (edges[1:, None] + edges[:-1, None]) / 2 + half * X
    # Beyond a right angle the nodes are given by their distance from π.
    mirrored = (math.pi - edges[1:, None] + math.pi - edges[:-1, None]) / 2 - half * X
    delta, eta = 2 * np.sin(theta / 2) ** 2, 2 * np.sin(mirrored / 2) ** 2
    flat1, flat2 = (jnp.asarray(x.ravel(), q.dtype) for x in (delta, eta))
    one = jnp.ones_like(flat1)
    triples = Triples(q * one, q * one, flat1, flat2, one, one)
    found = integrate(act, "slope", panels, triples, rules)
    slope = found.value.reshape(delta.shape)
    rate = slope * jnp.asarray(np.sin(theta), q.dtype)
    inner = rate @ jnp.asarray(_INTEGRAL.T, q.dtype) * jnp.asarray(half, q.dtype)
    end = edges[1]
    h = slope[:1] * jnp.asarray(np.sin(theta[:1]) / theta[:1], q.dtype)
    scale = np.append(theta[0], end)[None] ** 2
    first = (h @ jnp.asarray(_FIRST.T, q.dtype)) * jnp.asarray(scale, q.dtype)
    inner = jnp.concatenate([first, inner[1:]])
    before = jnp.cumsum(inner[:, -1]) - inner[:, -1]
    ratio = q * (before[:, None] + inner[:, :-1]) / jnp.asarray(delta, q.dtype)
    to = jnp.asarray(COEFFICIENTS.T, q.dtype)
    coefficients = slope @ to
    tail = jnp.max(jnp.sum(jnp.abs(coefficients[:, -_TAIL:]), 1))
    error = 2 * jnp.max(found.error) + tail
    return DualTable(coefficients, ratio @ to, q, error), jnp.max(found.allowed)


def build(act: Activation, panels: Panels, q: float, times: int = 1) -> DualTable:
    """Tabulate the dual of φ' and the gap of φ at variance q, until two rules agree.

    Args:
        act: φ.
        panels: Its panels.
        q: The variance.
        times: How often the table is used in turn: its errors add up.
    """
    # More nodes a panel cost half of what halving the panels does, and do more for a smooth φ.
    rules = (FINE, COARSE)
    for _ in range(REFINEMENTS):
        table, allowed = _build(act, panels, jnp.asarray(q, jnp.float64), rules)
        if bool(table.error <= max(4 / times, 0.05) * allowed):
            break
        if rules[0] == FINE_1D:
            panels = panels.refined()
        rules = (FINE_1D, COARSE_1D)
    return table


def look_up(
    table: DualTable, folded: bool, delta: Float[Array, "*s"], eta: Float[Array, "*s"]
) -> tuple[Float[Array, "*s"], Float[Array, "*s"]]:
    """Return ½E[(φ − φ)²] and E[φ'φ'] at angles.

    Args:
        table: The table.
        folded: Whether it ends at a right angle.
        delta: 1 − ρ.
        eta: 1 + ρ.
    """
    edges = _edges(folded)
    least = jnp.minimum(delta, eta)
    positive = least > 0
    arc = 2 * jnp.arcsin(jnp.sqrt(jnp.where(positive, least, 1.0) / 2))
    e = jnp.where(positive, arc, 0.0)
    # Panels are dyadic: level 0 holds angles from π/4 to π/2, and so on to the panel at 0.
    level = jnp.floor(jnp.log2((math.pi / 2) / jnp.maximum(e, 1e-300)))
    near = LEVELS - jnp.clip(level, 0, LEVELS).astype(jnp.int32)
    far = (delta > eta) & (not folded)
    panel = jnp.where(far, len(edges) - 2 - near, near)
    ends = jnp.asarray(_edges(True), delta.dtype)
    x = (2 * e - ends[near + 1] - ends[near]) / (ends[near + 1] - ends[near])
    x = jnp.where(far, -x, x)
    # One coefficient of all pairs at a time: all of them would be NODES times the result.
    ratio, slope = (
        chebyshev.clenshaw([c[panel] for c in known.T], x) for known in (table.ratio, table.slope)
    )
    return ratio * delta, slope
