"""The dual at one variance as a function of the angle, tabulated for many pairs at once.

E[φ'(√q u) φ'(√q v)] is analytic in θ = arccos ρ inside (0, π), with features that crowd at the
ends only: Chebyshev interpolation on panels that shrink towards both ends resolves it. The gap
½E[(φ(√q u) − φ(√q v))²] is its integral over δ (Price's theorem), hence relatively accurate.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc import chebyshev
from ntk_eoc.activations import Activation
from ntk_eoc.gaussian.panels import Panels
from ntk_eoc.gaussian.triples import Triples, integrate_all

NODES = 20
_TAIL = 2  # coefficients whose size tells the error of an interpolant
LEVELS = 11  # panels end at (π/2) 2^{−j}, j = 0 … LEVELS, and at the mirror images
MORE = 60  # the same where E[φ'φ'] still varies at smaller angles, as at large variances
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


def _edges(folded: bool, levels: int = LEVELS) -> np.ndarray:
    near = np.concatenate([[0.0], (math.pi / 2) * 2.0 ** np.arange(-levels, 1)])
    return near if folded else np.concatenate([near, math.pi - near[-2::-1]])


def _levels(panels: int, folded: bool) -> int:
    return panels - 1 if folded else panels // 2 - 1


def _theta(edges: np.ndarray) -> np.ndarray:
    """The nodes of panels of these edges, [panels, NODES]."""
    return (edges[1:, None] + edges[:-1, None]) / 2 + np.diff(edges)[:, None] / 2 * X


class _Slopes(NamedTuple):
    """E[φ'φ'] at angles, the largest error, and the error allowed."""

    value: np.ndarray
    error: float
    allowed: float


def _slopes(act: Activation, q: float, least: np.ndarray, far: Any, agree: float) -> _Slopes:
    """Integrate at angles `least`, measured from π where `far`."""
    near, rest = 2 * np.sin(least / 2) ** 2, 2 * np.cos(least / 2) ** 2
    delta, eta = (np.where(far, *x).ravel() for x in ((rest, near), (near, rest)))
    one = np.ones_like(delta)
    found = integrate_all(act, "slope", Triples(q * one, q * one, delta, eta, one, one), agree)
    worst = float(np.max(found.error)), float(np.max(found.allowed))
    return _Slopes(np.asarray(found.value).reshape(least.shape), *worst)


def _side(act: Activation, q: float, far: bool, agree: float) -> _Slopes:
    """E[φ'φ'] at the nodes of the panels on one side of a right angle, as many as it takes.

    From there towards the end, panel by panel, until one panel resolves all that is left.
    """
    values, found = [], []
    for level in range(MORE + 1):
        end = (math.pi / 2) * 2.0**-level
        nodes = np.append(_theta(np.array([0.0, end]))[0], 0.0)
        found.append(_slopes(act, q, nodes, far, agree))
        off, tail = _missed(found[-1].value)
        if max(off, 2 * tail) <= agree * found[-1].allowed or level == MORE:
            values.append(found[-1].value[:-1])
            found[-1] = found[-1]._replace(error=found[-1].error + tail + off)
            break
        found.append(_slopes(act, q, _theta(np.array([end / 2, end])), far, agree))
        values.append(found[-1].value[0])
    worst = max(f.error for f in found), max(f.allowed for f in found)
    return _Slopes(np.stack(values[::-1]), *worst)


def _missed(value: np.ndarray) -> tuple[float, float]:
    """By how much the interpolant of a panel [0, e] is off at 0, the last value, and its tail."""
    coefficients = COEFFICIENTS @ value[:-1]
    off = coefficients @ (-1.0) ** np.arange(NODES) - value[-1]
    return float(abs(off)), float(np.abs(coefficients[-_TAIL:]).sum())


def _split(values: np.ndarray, levels: int) -> np.ndarray:
    """The panel at 0 cut into panels, until there are `levels` and one."""
    more = levels + 1 - len(values)
    edges = np.concatenate([[0.0], 2.0 ** np.arange(-more, 1.0)])
    rest = np.polynomial.chebyshev.chebval(2 * _theta(edges) - 1, COEFFICIENTS @ values[0])
    return np.concatenate([rest, values[1:]]) if more else values


def _at_nodes(act: Activation, panels: Panels, q: float, agree: float) -> _Slopes:
    """E[φ'φ'] at the nodes of the whole table, in order of the angle."""
    count = 1 if panels.parity else 2
    if not panels.kinks:
        # Of a smooth φ all at once, and at 0, where large variances may have more to say.
        least = np.append(_theta(_edges(True)).ravel(), 0.0)
        far = np.arange(count).reshape(-1, 1) == 1
        both = _slopes(act, q, np.broadcast_to(least, (count, least.size)), far, agree)
        missed = [max(_missed(np.append(v[:NODES], v[-1]))) for v in both.value]
        if max(missed) <= 10 * agree * both.allowed:
            value = both.value[:, :-1].reshape(count, -1, NODES)
            return _Slopes(_in_order(value), both.error + max(missed), both.allowed)
    sides = [_side(act, q, far, agree) for far in (False, True)[:count]]
    levels = max(LEVELS, *(len(side.value) - 1 for side in sides))
    value = np.stack([_split(side.value, levels) for side in sides])
    return _Slopes(_in_order(value), max(s.error for s in sides), max(s.allowed for s in sides))


def _in_order(value: np.ndarray) -> np.ndarray:
    """Of both sides, [sides, panels, NODES], in order of the angle."""
    return np.concatenate([value[0], *(v[::-1, ::-1] for v in value[1:])])


def build(act: Activation, panels: Panels, q: float, times: int = 1) -> DualTable:
    """Tabulate the dual of φ' and the gap of φ at variance q.

    Args:
        act: φ.
        panels: Its panels.
        q: The variance.
        times: How often the table is used in turn: its errors add up.
    """
    slope, error, _ = _at_nodes(act, panels, q, min(1.0, max(2 / times, 0.025)))
    edges = _edges(panels.parity != 0, _levels(slope.shape[0], panels.parity != 0))
    half, theta = np.diff(edges)[:, None] / 2, _theta(edges)
    inner = (slope * np.sin(theta)) @ _INTEGRAL.T * half
    # Near 0 the integral of sin θ times the slope, over θ²: relatively accurate.
    scale = np.append(theta[0], edges[1]) ** 2
    inner[0] = ((slope[0] * np.sin(theta[0]) / theta[0]) @ _FIRST.T) * scale
    before = np.cumsum(inner[:, -1]) - inner[:, -1]
    delta = 2 * np.sin(theta / 2) ** 2
    ratio = q * (before[:, None] + inner[:, :-1]) / delta
    coefficients = slope @ COEFFICIENTS.T
    tail = np.max(np.sum(np.abs(coefficients[:, -_TAIL:]), 1))
    known = (coefficients, ratio @ COEFFICIENTS.T, q, 2 * error + tail)
    return DualTable(*(jnp.asarray(x, jnp.float64) for x in known))


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
    levels = _levels(table.slope.shape[0], folded)
    least = jnp.minimum(delta, eta)
    positive = least > 0
    arc = 2 * jnp.arcsin(jnp.sqrt(jnp.where(positive, least, 1.0) / 2))
    e = jnp.where(positive, arc, 0.0)
    # Panels are dyadic: level 0 holds angles from π/4 to π/2, and so on to the panel at 0.
    level = jnp.floor(jnp.log2((math.pi / 2) / jnp.maximum(e, 1e-300)))
    near = levels - jnp.clip(level, 0, levels).astype(jnp.int32)
    far = (delta > eta) & (not folded)
    panel = jnp.where(far, table.slope.shape[0] - 1 - near, near)
    ends = jnp.asarray(_edges(True, levels), delta.dtype)
    x = (2 * e - ends[near + 1] - ends[near]) / (ends[near + 1] - ends[near])
    x = jnp.where(far, -x, x)
    # One coefficient of all pairs at a time: all of them would be NODES times the result.
    ratio, slope = (
        chebyshev.clenshaw([c[panel] for c in known.T], x) for known in (table.ratio, table.slope)
    )
    return ratio * delta, slope
