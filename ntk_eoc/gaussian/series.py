"""The dual of φ' as a power series in ρ: Σ_k b_k(q₁) b_k(q₂) ρ^k, and what it leaves out.

b_k(q) = E[φ'(√q z) h_k(z)], h_k the orthonormal Hermite polynomials (Mehler's formula). n rows
need n series, not n² integrals: a pair costs a few operations a term. What K terms leave out is at
most |ρ|^K √(T₁ T₂), T = E[φ'(√q z)²] − Σ_{k<K} b_k(q)²: so the series serves every pair of a smooth
φ, and a kinked one but for angles near 0 and π.
"""

import math
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ntk_eoc.activations import Activation
from ntk_eoc.gaussian.panels import Panels
from ntk_eoc.gaussian.rules import nodes
from ntk_eoc.gaussian.triples import ROUNDING

BLOCK = 16  # terms of one step of the sum over k
TERMS = (128, 512, 2048)  # tried in turn; multiples of 2 BLOCK
_PHASE = 10.0  # √K times the length of a panel
_MOMENTS = 26  # Legendre coefficients that carry h_k on it to rounding
_FINE, _COARSE = 24, 20  # nodes a piece of a panel
_ROWS = 32  # variances expanded at once


class Expansion(NamedTuple):
    """φ at n variances; of an even or odd φ, every second coefficient.

    Attributes:
        values: a_k = √(q/k) b_{k−1} = E[φ(√q z) h_k(z)], k >= 1, as many as there are `terms`.
        mean: a_0.
        slope: E[φ'(√q z)²].
        rest: E[φ(√q z)²] less the squares of all these.
        tail: T.
        error: √Σ of the squared differences of two rules for b_k.
    """

    values: Float[Array, "k n"]
    mean: Float[Array, "n"]
    slope: Float[Array, "n"]
    rest: Float[Array, "n"]
    tail: Float[Array, "n"]
    error: Float[Array, "n"]


@cache
def _hermite(terms: int, span: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges of equal panels on |z| <= span, and the Legendre coefficients [terms, panels · MOMENTS]
    of h_0 … h_{terms−1} on them.
    """
    count = math.ceil(2 * span * math.sqrt(terms) / _PHASE)
    edges = np.linspace(-span, span, count + 1)
    x, w = np.polynomial.legendre.leggauss(2 * _MOMENTS)
    degrees = np.arange(_MOMENTS)
    to = np.polynomial.legendre.legvander(x, _MOMENTS - 1) * w[:, None] * (degrees + 0.5)
    z = edges[:-1, None] + np.diff(edges)[:, None] * (x + 1) / 2
    found = np.empty((terms, count, _MOMENTS))
    before, now = np.zeros_like(z), np.ones_like(z)
    for k in range(terms):
        found[k] = now @ to
        before, now = now, (z * now - math.sqrt(k) * before) / math.sqrt(k + 1)
    return edges, found.reshape(terms, -1)


def _moments(
    act: Activation, panels: Panels, edges: np.ndarray, n: int, q: Float[Array, "r"]
) -> tuple[Array, Array]:
    """Legendre moments [panels · MOMENTS, r] of φ'(√q z) against the weight, and [3, r]: of φ the
    mean, and the mean squares of φ and of φ'.
    """
    root = jnp.sqrt(q)[None, None]
    cuts = jnp.asarray(np.array(panels.breaks).reshape(-1, 1)) / root[0]
    ends = jnp.broadcast_to(edges[:, None], (len(edges), q.size))
    ends = jnp.sort(jnp.concatenate([ends, jnp.clip(cuts, edges[0], edges[-1])]), 0)
    z, weight = nodes(ends, n)
    value, slope = act(root * z), act.prime(root * z)
    weighted = weight * slope
    length = edges[1] - edges[0]
    middle = (ends[1:] + ends[:-1]) / 2
    where = jnp.clip(jnp.floor((middle - edges[0]) / length), 0, len(edges) - 2).astype(int)
    x = 2 * (z - edges[0] - where[:, None] * length) / length - 1
    before, now, sums = jnp.zeros_like(x), jnp.ones_like(x), []
    for m in range(_MOMENTS):
        sums.append(jnp.sum(weighted * now, 1))
        before, now = now, ((2 * m + 1) * x * now - m * before) / (m + 1)
    rows = jnp.arange(q.size)
    total = jnp.zeros((len(edges) - 1, q.size, _MOMENTS)).at[where, rows].add(jnp.stack(sums, -1))
    means = (weight * value, weight * value * value, weighted * slope)
    return (
        total.transpose(0, 2, 1).reshape(-1, q.size),
        jnp.stack([jnp.sum(y, (0, 1)) for y in means]),
    )


@partial(jax.jit, static_argnums=(0, 1, 2))
def expand(act: Activation, panels: Panels, terms: int, q: Float[Array, "n"]) -> Expansion:
    """Return the first `terms` coefficients of φ' at variances q."""
    edges, hermite = _hermite(terms, panels.span)
    basis = jnp.asarray(hermite)

    first, stride = _orders(panels)
    kept = slice(first - 1, None, stride)

    def some(q: Array) -> tuple[Array, ...]:
        (fine, means), (coarse, _) = (_moments(act, panels, edges, n, q) for n in (_FINE, _COARSE))
        product = partial(jnp.matmul, basis[kept], precision=lax.Precision.HIGHEST)
        values, off = product(fine), product(fine - coarse)
        mean, square, slope = means
        order = jnp.arange(1.0, terms + 1)[kept, None]
        # Of coefficients that fall off, the last ones hold more than all that follow.
        ends = jnp.sum(values[-len(values) // 12 :] ** 2, 0)
        tail = jnp.maximum(slope - jnp.sum(values**2, 0), ends)
        rest = square - mean**2 - q * jnp.sum(values**2 / order, 0)
        # Coefficients down at rounding tell a tail far below that of a difference.
        last = jnp.max(jnp.abs(values[-len(values) // 4 :]), 0)
        done = last <= 1e-13 * jnp.sqrt(slope)
        tail = jnp.where(done, terms * last**2, jnp.maximum(tail, ROUNDING * slope))
        rest = jnp.where(done, 0.0, jnp.maximum(rest, 0.0))
        values = values * jnp.sqrt(q[None] / order)
        return values, mean, slope, rest, tail, jnp.sqrt(jnp.sum(off**2, 0))

    blocks = -(-q.size // _ROWS)
    padded = jnp.pad(q, (0, blocks * _ROWS - q.size), mode="edge").reshape(blocks, _ROWS)
    values, *others = lax.map(some, padded)
    values = values.transpose(1, 0, 2).reshape(values.shape[1], -1)
    return Expansion(values[:, : q.size], *(x.ravel()[: q.size] for x in others))


def _orders(panels: Panels) -> tuple[int, int]:
    """The first k with a coefficient of φ, and the distance of the next."""
    return {0: (1, 1), 1: (2, 2), -1: (1, 2)}[panels.parity]


class Sums(NamedTuple):
    """What a pair's series add up to; the coefficients a_k of either φ times its weight.

    Attributes:
        apart: Σ_k (a_k − a_k')².
        turn: Σ_k a_k a_k' (1 − ρ^k).
        slope: Σ_k k a_k a_k' ρ^{k−1}.
    """

    apart: Float[Array, "a b"]
    turn: Float[Array, "a b"]
    slope: Float[Array, "a b"]


def _sums(
    orders: tuple[int, int], one: Array, two: Array, delta: Array, eta: Array, blocks: Array
) -> Sums:
    """Add up the first 1 + BLOCK · `blocks` terms of [K, a] and [K, b], from the last to the first.

    Sums of positive terms for ρ > 0, hence relatively accurate: 1 − ρ^k = (1 − ρ^f) +
    ρ^f (1 − ρ^s) Σ_{i<j} ρ^{si} for k = f + s j.
    """
    first, stride = orders
    rho = jnp.where(delta < 1, 1 - delta, eta - 1)
    x = rho if stride == 1 else rho * rho
    zero = jnp.zeros_like(rho)

    def block(i: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        start = 1 + (blocks - 1 - i) * BLOCK
        a, b = (lax.dynamic_slice_in_dim(y, start, BLOCK) for y in (one, two))
        total, nested, slope, apart = carry
        for j in reversed(range(BLOCK)):
            k = (first + stride * (start + j)).astype(x.dtype)
            product = a[j][:, None] * b[j][None, :]
            total = total + product
            nested = nested * x + total
            slope = slope * x + k * product
            apart = apart + (a[j][:, None] - b[j][None, :]) ** 2
        return total, nested, slope, apart

    total, nested, slope, apart = lax.fori_loop(0, blocks, block, (zero,) * 4)
    product = one[0][:, None] * two[0][None, :]
    to_first = delta if first == 1 else delta * eta
    to_stride = delta if stride == 1 else delta * eta
    return Sums(
        apart + (one[0][:, None] - two[0][None, :]) ** 2,
        to_first * (total + product) + rho**first * to_stride * nested,
        rho ** (first - 1) * (slope * x + first * product),
    )


class Rows(NamedTuple):
    """One side of a tile of pairs.

    Attributes:
        q: Variances.
        weight: What φ is multiplied by in the gap.
        expansion: Of φ' at q.
    """

    q: Float[Array, "n"]
    weight: Float[Array, "n"]
    expansion: Expansion


@partial(jax.jit, static_argnums=0)
def by_series(
    panels: Panels, one: Rows, two: Rows, delta: Float[Array, "a b"], eta: Float[Array, "a b"]
) -> tuple[Float[Array, "2 a b"], Float[Array, "2 a b"]]:
    """Return ½E[(w₁ φ − w₂ φ)²] and E[φ'φ'] of all pairs, with error estimates.

    Of a φ with a parity, for acute angles only. Equal variances at angle 0 are exact.
    """
    orders = _orders(panels)
    e1, e2 = one.expansion, two.expansion
    same = (delta == 0) & (one.q[:, None] == two.q[None, :])
    rho = jnp.abs(jnp.where(delta < 1, 1 - delta, eta - 1))
    slope_at_0 = jnp.sqrt(e1.slope[:, None] * e2.slope[None, :])
    count = (e1.values.shape[0] - 1) // BLOCK
    # Terms beyond 37/|log ρ| are below rounding.
    most = jnp.max(jnp.where(same, 0.0, rho))
    needed = 37 / -jnp.log(jnp.minimum(most, 1 - 1e-16)) / (orders[1] * BLOCK)
    blocks = jnp.minimum(jnp.ceil(needed), count).astype(int)
    a, b = e1.values * one.weight[None], e2.values * two.weight[None]
    sums = _sums(orders, a, b, delta, eta, blocks)
    means = ((e1.mean * one.weight)[:, None] - (e2.mean * two.weight)[None, :]) ** 2
    # Of the terms left out as of those that are not there, the squares remain.
    rest1, rest2 = (
        e.rest * w**2
        + jnp.sum(jnp.where(jnp.arange(y.shape[0])[:, None] > blocks * BLOCK, y * y, 0), 0)
        for e, w, y in ((e1, one.weight, a), (e2, two.weight, b))
    )
    gap = (sums.apart + means + rest1[:, None] + rest2[None, :]) / 2 + sums.turn
    size = one.weight[:, None] * two.weight[None, :] * jnp.sqrt(one.q[:, None] * two.q[None, :])
    slope = sums.slope / size
    last = rho ** (orders[0] + orders[1] * (count * BLOCK + 1) - 1)
    wrong = jnp.sqrt(e1.slope)[:, None] * e2.error[None, :]
    wrong = wrong + e1.error[:, None] * jnp.sqrt(e2.slope)[None, :]
    slope_error = last * jnp.sqrt(e1.tail[:, None] * e2.tail[None, :]) + wrong
    gap_error = last * jnp.sqrt(rest1[:, None] * rest2[None, :]) + size * delta * wrong
    gap_error = gap_error + jnp.sqrt(sums.apart * size) * (e1.error[:, None] + e2.error[None, :])
    values = jnp.stack([jnp.where(same, 0.0, gap), jnp.where(same, slope_at_0, slope)])
    errors = jnp.stack([gap_error + ROUNDING * gap, slope_error])
    rounding = jnp.stack([jnp.zeros_like(gap), ROUNDING * slope_at_0])
    return values, jnp.where(same, 0.0, errors) + rounding
