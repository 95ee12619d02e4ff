"""The dual of φ' as a power series in ρ: Σ_k b_k(q₁) b_k(q₂) ρ^k, and what it leaves out.

b_k(q) = E[φ'(√q z) h_k(z)], h_k the orthonormal Hermite polynomials (Mehler's formula). n rows
need n series, not n² integrals: a pair costs a few operations a term. What K terms leave out is at
most |ρ|^K √(T₁ T₂), T = E[φ'(√q z)²] − Σ_{k<K} b_k(q)²: so the series serves every pair of a smooth
φ, and a kinked one but for angles near 0 and π.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ntk_eoc.gaussian.expansion import BLOCK, Expansion, Orders
from ntk_eoc.gaussian.rules import ROUNDING
from ntk_eoc.precision import geometric_mean


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
    orders: Orders, one: Expansion, two: Expansion, delta: Array, eta: Array, blocks: Array
) -> Sums:
    """Add up a_1 and the first BLOCK · `blocks` terms, from the last to the first.

    Sums of positive terms for ρ > 0, hence relatively accurate: 1 − ρ^k = (1 − ρ^b) +
    ρ^b (1 − ρ^s) Σ_{i<=j} ρ^{si} for k = b + s (j + 1).
    """
    base, stride = orders
    rho = jnp.where(delta < 1, 1 - delta, eta - 1)
    x = rho if stride == 1 else rho * rho
    zero = jnp.zeros_like(rho)

    def block(i: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
        start = (blocks - 1 - i) * BLOCK
        a, b = (lax.dynamic_slice_in_dim(e.values, start, BLOCK) for e in (one, two))
        total, nested, slope, apart = carry
        for j in reversed(range(BLOCK)):
            k = (base + stride * (start + j + 1)).astype(x.dtype)
            product = a[j] * b[j]
            total = total + product
            nested = nested * x + total
            slope = slope * x + k * product
            apart = apart + (a[j] - b[j]) ** 2
        return total, nested, slope, apart

    total, nested, slope, apart = lax.fori_loop(0, blocks, block, (zero,) * 4)
    linear = one.linear * two.linear
    nested = rho**base * (delta if stride == 1 else delta * eta) * nested
    return Sums(
        apart + (one.linear - two.linear) ** 2,
        delta * (linear + base * total) + nested,
        linear + rho ** (base + stride - 1) * slope,
    )


def _beyond(count: Array, y: Array) -> Array:
    """Which terms of [K, …] follow the first `count`."""
    return (jnp.arange(y.shape[0]) >= count).reshape(-1, *(1,) * (y.ndim - 1))


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


def _weighted(e: Expansion, weight: Array) -> Expansion:
    """The coefficients of φ times its weight in the gap; the squares as they are."""
    return e._replace(
        values=e.values * weight[None], linear=e.linear * weight, mean=e.mean * weight
    )


@partial(jax.jit, static_argnums=0)
def by_series(
    orders: Orders, one: Rows, two: Rows, delta: Float[Array, "*p"], eta: Float[Array, "*p"]
) -> tuple[Float[Array, "2 *p"], Float[Array, "2 *p"]]:
    """Return ½E[(w₁ φ − w₂ φ)²] and E[φ'φ'] of all pairs, with error estimates.

    The first is accurate relative to itself, of a φ with a parity at acute angles only. Equal
    variances at angle 0 are exact.
    """
    e1, e2 = (_weighted(x.expansion, x.weight) for x in (one, two))
    same = (delta == 0) & (one.q == two.q)
    rho = jnp.abs(jnp.where(delta < 1, 1 - delta, eta - 1))
    slope_at_0 = geometric_mean(e1.slope, e2.slope)
    count = e1.values.shape[0] // BLOCK
    # Terms beyond 37/|log ρ| are below rounding.
    most = jnp.max(jnp.where(same, 0.0, rho))
    needed = 37 / -jnp.log(jnp.minimum(most, 1 - 1e-16)) / (orders.stride * BLOCK)
    blocks = jnp.minimum(jnp.ceil(needed), count).astype(int)
    sums = _sums(orders, e1, e2, delta, eta, blocks)
    # Of the terms left out as of those that are not there, the squares remain.
    rest1, rest2 = (
        e.rest * w**2 + jnp.sum(jnp.where(_beyond(blocks * BLOCK, e.values), e.values**2, 0), 0)
        for e, w in ((e1, one.weight), (e2, two.weight))
    )
    gap = (sums.apart + (e1.mean - e2.mean) ** 2 + rest1 + rest2) / 2 + sums.turn
    size = one.weight * two.weight * geometric_mean(one.q, two.q)
    slope = sums.slope / size
    last = rho ** (orders.base + orders.stride * (count * BLOCK + 1) - 1)
    wrong = jnp.sqrt(e1.slope) * e2.error + e1.error * jnp.sqrt(e2.slope)
    slope_error = last * geometric_mean(e1.tail, e2.tail) + wrong
    gap_error = last * geometric_mean(rest1, rest2) + size * delta * wrong
    gap_error = gap_error + jnp.sqrt(sums.apart * size) * (e1.error + e2.error)
    values = jnp.stack([jnp.where(same, 0.0, gap), jnp.where(same, slope_at_0, slope)])
    errors = jnp.stack([gap_error + ROUNDING * gap, slope_error])
    rounding = jnp.stack([jnp.zeros_like(gap), ROUNDING * slope_at_0])
    return values, jnp.where(same, 0.0, errors) + rounding
