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
from ntk_eoc.gaussian.rules import ROUNDING, nodes
from ntk_eoc.precision import geometric_mean, on_all_cores

BLOCK = 16  # terms of one step of the sum over k
TERMS = (128, 512, 2048)  # tried in turn
_PHASE = 10.0  # √K times the length of a panel
_MOMENTS = 26  # Legendre coefficients that carry h_k on it to rounding
_FINE, _COARSE = 24, 20  # nodes a piece of a panel
_ROWS = 8  # variances expanded at once
_BREAKS = 8  # their number is a multiple of it


class Expansion(NamedTuple):
    """φ at n variances; of an even or odd φ, every second coefficient.

    Attributes:
        values: a_k = √(q/k) b_{k−1} = E[φ(√q z) h_k(z)], k >= 1; BLOCK j + 1 of them.
        mean: a_0.
        square: E[φ(√q z)²].
        slope: E[φ'(√q z)²].
        rest: `square` less the squares of all these.
        tail: T.
        error: √Σ of the squared differences of two rules for b_k.
    """

    values: Float[Array, "k *n"]
    mean: Float[Array, "*n"]
    square: Float[Array, "*n"]
    slope: Float[Array, "*n"]
    rest: Float[Array, "*n"]
    tail: Float[Array, "*n"]
    error: Float[Array, "*n"]


@cache
def _hermite(terms: int, span: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges of equal panels on |z| <= span, 0 among them, and the Legendre coefficients
    [terms, panels, MOMENTS] of h_0 … h_{terms−1} on them.
    """
    count = 2 * math.ceil(span * math.sqrt(terms) / _PHASE)
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
    return edges, found


def _moments(
    act: Activation, breaks: Float[Array, "b"], edges: np.ndarray, q: Float[Array, "r"]
) -> tuple[Array, Array, Array]:
    """Legendre moments [panels · MOMENTS, r] of φ'(√q z) against the weight, by how much a coarser
    rule differs, and [3, r]: of φ the mean, and the mean squares of φ and of φ'.
    """
    root = jnp.sqrt(q)[None, None]
    cuts = breaks[:, None] / root[0]
    ends = jnp.broadcast_to(edges[:, None], (len(edges), q.size))
    ends = jnp.sort(jnp.concatenate([ends, jnp.clip(cuts, edges[0], edges[-1])]), 0)
    (fine, weight), (coarse, other) = (nodes(ends, n) for n in (_FINE, _COARSE))
    z = jnp.concatenate([fine, coarse], 1)
    slope = act.prime(root * z)
    weighted, weighted_other = weight * slope[:, :_FINE], other * slope[:, _FINE:]
    length = edges[1] - edges[0]
    middle = (ends[1:] + ends[:-1]) / 2
    where = jnp.clip(jnp.floor((middle - edges[0]) / length), 0, len(edges) - 2).astype(int)
    x = 2 * (z - edges[0] - where[:, None] * length) / length - 1

    def degree(carry: tuple[Array, Array], m: Array) -> tuple[tuple[Array, Array], Array]:
        before, now = carry
        of_fine = jnp.sum(weighted * now[:, :_FINE], 1)
        sums = jnp.stack([of_fine, of_fine - jnp.sum(weighted_other * now[:, _FINE:], 1)])
        return (now, ((2 * m + 1) * x * now - m * before) / (m + 1)), sums

    start = (jnp.zeros_like(x), jnp.ones_like(x))
    sums = lax.scan(degree, start, jnp.arange(_MOMENTS, dtype=x.dtype))[1]
    rows = jnp.arange(q.size)
    shape = (len(edges) - 1, q.size, _MOMENTS, 2)
    total = jnp.zeros(shape).at[where, rows].add(sums.transpose(2, 3, 0, 1))
    found = total.transpose(3, 0, 2, 1).reshape(2, -1, q.size)
    value = act(root * fine)
    means = (weight * value, weight * value * value, weighted * slope[:, :_FINE])
    return found[0], found[1], jnp.stack([jnp.sum(y, (0, 1)) for y in means])


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _expand(
    act: Activation, parity: int, span: float, terms: int,
    breaks: Float[Array, "b"], q: Float[Array, "r"],
) -> Expansion:  # fmt: skip
    edges, hermite = _hermite(terms, span)
    if parity:  # every integrand is even
        edges, hermite = edges[len(edges) // 2 :], 2 * hermite[:, len(edges) // 2 :]
    first, stride = orders_of(parity)
    count = 1 + BLOCK * ((terms // stride - 1) // BLOCK)
    kept = slice(first - 1, first - 1 + stride * count, stride)
    basis = jnp.asarray(hermite[kept].reshape(count, -1))
    order = jnp.asarray(np.arange(1.0, terms + 1)[kept, None])
    fine, difference, means = _moments(act, breaks, edges, q)
    mean, square, slope = means * (2 if parity else 1)
    mean = mean * (parity != -1)
    values, off = (
        jnp.matmul(basis, y, precision=lax.Precision.HIGHEST) for y in (fine, difference)
    )
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
    return Expansion(values, mean, square, slope, rest, tail, jnp.sqrt(jnp.sum(off**2, 0)))


def expand(act: Activation, panels: Panels, terms: int, q: Float[Array, "n"]) -> Expansion:
    """Return the coefficients of φ up to order `terms` at concrete variances q."""
    blocks = -(-q.size // _ROWS)
    padded = jnp.pad(q, (0, blocks * _ROWS - q.size), mode="edge").reshape(blocks, _ROWS)
    # As data, so that one program serves the variances of many layers.
    breaks = np.array([b for b in panels.breaks if b > 0 or not panels.parity])
    breaks = np.pad(breaks, (0, -breaks.size % _BREAKS), constant_values=np.inf)
    job = partial(_expand, act, panels.parity, panels.span, terms, jnp.asarray(breaks))
    found = on_all_cores(job, list(padded))
    return Expansion(*(jnp.concatenate(x, -1)[..., : q.size] for x in zip(*found, strict=True)))


def orders_of(parity: int) -> tuple[int, int]:
    """Return the first k >= 1 with a coefficient of φ, and the distance of the next."""
    return {0: (1, 1), 1: (2, 2), -1: (1, 2)}[parity]


class Sums(NamedTuple):
    """What a pair's series add up to; the coefficients a_k of either φ times its weight.

    Attributes:
        apart: Σ_k (a_k − a_k')².
        turn: Σ_k a_k a_k' (1 − ρ^k).
        slope: Σ_k k a_k a_k' ρ^{k−1}.
    """

    apart: Float[Array, "*p"]
    turn: Float[Array, "*p"]
    slope: Float[Array, "*p"]


def _sums(
    orders: tuple[int, int], one: Array, two: Array, delta: Array, eta: Array, blocks: Array
) -> Sums:
    """Add up the first 1 + BLOCK · `blocks` terms, from the last to the first.

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
            product = a[j] * b[j]
            total = total + product
            nested = nested * x + total
            slope = slope * x + k * product
            apart = apart + (a[j] - b[j]) ** 2
        return total, nested, slope, apart

    total, nested, slope, apart = lax.fori_loop(0, blocks, block, (zero,) * 4)
    product = one[0] * two[0]
    to_first = delta if first == 1 else delta * eta
    to_stride = delta if stride == 1 else delta * eta
    return Sums(
        apart + (one[0] - two[0]) ** 2,
        to_first * (total + product) + rho**first * to_stride * nested,
        rho ** (first - 1) * (slope * x + first * product),
    )


def _beyond(count: Array, y: Array) -> Array:
    """Which terms of [K, …] follow the first 1 + count."""
    return (jnp.arange(y.shape[0]) > count).reshape(-1, *(1,) * (y.ndim - 1))


class Rows(NamedTuple):
    """One side of the pairs; shapes broadcast with them.

    Attributes:
        q: Variances.
        weight: What φ is multiplied by in the gap.
        expansion: Of φ' at q.
    """

    q: Float[Array, "*n"]
    weight: Float[Array, "*n"]
    expansion: Expansion


@partial(jax.jit, static_argnums=0)
def by_series(
    parity: int, one: Rows, two: Rows, delta: Float[Array, "*p"], eta: Float[Array, "*p"]
) -> tuple[Float[Array, "2 *p"], Float[Array, "2 *p"]]:
    """Return ½E[(w₁ φ − w₂ φ)²] and E[φ'φ'] of all pairs, with error estimates.

    The first is accurate relative to itself, of a φ with a parity at acute angles only. Equal
    variances at angle 0 are exact.
    """
    orders = orders_of(parity)
    e1, e2 = one.expansion, two.expansion
    same = (delta == 0) & (one.q == two.q)
    rho = jnp.abs(jnp.where(delta < 1, 1 - delta, eta - 1))
    slope_at_0 = geometric_mean(e1.slope, e2.slope)
    count = (e1.values.shape[0] - 1) // BLOCK
    # Terms beyond 37/|log ρ| are below rounding.
    most = jnp.max(jnp.where(same, 0.0, rho))
    needed = 37 / -jnp.log(jnp.minimum(most, 1 - 1e-16)) / (orders[1] * BLOCK)
    blocks = jnp.minimum(jnp.ceil(needed), count).astype(int)
    a, b = e1.values * one.weight[None], e2.values * two.weight[None]
    sums = _sums(orders, a, b, delta, eta, blocks)
    means = (e1.mean * one.weight - e2.mean * two.weight) ** 2
    # Of the terms left out as of those that are not there, the squares remain.
    rest1, rest2 = (
        e.rest * w**2 + jnp.sum(jnp.where(_beyond(blocks * BLOCK, y), y * y, 0), 0)
        for e, w, y in ((e1, one.weight, a), (e2, two.weight, b))
    )
    gap = (sums.apart + means + rest1 + rest2) / 2 + sums.turn
    size = one.weight * two.weight * geometric_mean(one.q, two.q)
    slope = sums.slope / size
    last = rho ** (orders[0] + orders[1] * (count * BLOCK + 1) - 1)
    wrong = jnp.sqrt(e1.slope) * e2.error + e1.error * jnp.sqrt(e2.slope)
    slope_error = last * geometric_mean(e1.tail, e2.tail) + wrong
    gap_error = last * geometric_mean(rest1, rest2) + size * delta * wrong
    gap_error = gap_error + jnp.sqrt(sums.apart * size) * (e1.error + e2.error)
    values = jnp.stack([jnp.where(same, 0.0, gap), jnp.where(same, slope_at_0, slope)])
    errors = jnp.stack([gap_error + ROUNDING * gap, slope_error])
    rounding = jnp.stack([jnp.zeros_like(gap), ROUNDING * slope_at_0])
    return values, jnp.where(same, 0.0, errors) + rounding
