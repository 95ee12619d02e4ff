"""T = E[φφ'] and D = E[φ_sφ_s'] of a pair, φ_s the slope, with their derivatives, as series in ρ.

With a_k(q) = E[φ(√q z) h_k(z)], h_k the orthonormal Hermite polynomials, and s = √(q₁q₂) ρ,

    T = Σ_k a_k(q₁) a_k(q₂) ρ^k,   ∂/∂q₁ at fixed s: a_k → √((k + 1)(k + 2)) a_{k+2}/(2q₁),

for q^{−k/2} a_k is E φ^{(k)}/√k!, and by the heat equation its derivative is half of that of φ''.
D is the same of φ_s, and ∂T/∂s = D. Nothing is differenced, and only the a_k are compiled.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ntk_eoc.activations import Activation
from ntk_eoc.gaussian import expansion, plan

Parts = tuple[np.ndarray, np.ndarray, np.ndarray]  # value, gradient and Hessian of pairs [t]

_SAME = 1e-13  # variances this close, relatively, are one
_PAIRS = 512  # summed at once, in the cache of a core
_SHARED = 64  # so many pairs of one (q₁, q₂) are summed by a product
_SMALL = 1e-10  # a coefficient whose square does not show in a second derivative
_LEFT_OUT = 1e-10  # of a second derivative, relative to D of equal inputs


class Coefficients(NamedTuple):
    """Hermite coefficients of φ and of its slope at r variances, orders 0 … K − 1.

    Attributes:
        q: The variances.
        value: a_k.
        slope: b_k, of the slope.
        square: E φ².
        last: Size of the b_k that are left out.
    """

    q: Float[np.ndarray, "r"]
    value: Float[np.ndarray, "r K"]
    slope: Float[np.ndarray, "r K"]
    square: Float[np.ndarray, "r"]
    last: Float[np.ndarray, "r"]


class PairSeries(NamedTuple):
    """Pairs as rows of the coefficients, and 1 − ρ.

    Attributes:
        known: Coefficients at all variances.
        one: Row of the first input.
        two: Row of the second.
        delta: 1 − ρ.
    """

    known: Coefficients
    one: Float[np.ndarray, "t"]
    two: Float[np.ndarray, "t"]
    delta: Float[np.ndarray, "t"]


@lru_cache(maxsize=8)
def _coefficients(act: Activation, variances: tuple[float, ...]) -> Coefficients:
    """As many as fall to nothing, or 2,048 of a φ with a kink."""
    q = np.array(variances)
    panels = plan(act, float(q.max()))
    for terms in expansion.TERMS:
        orders, found = expansion.expand(act, panels, terms, q)
        value, mean = np.vstack([found.linear[None], found.values]), np.asarray(found.mean)
        largest = np.abs(value).max(axis=1)
        if largest[-len(value) // 4 :].max() <= _SMALL * largest.max():
            break
    order = np.append(1, orders.of(len(value) - 1))
    of_value, of_slope = np.zeros((2, q.size, order[-1] + 1))
    of_value[:, 0], of_value[:, order] = mean, value.T
    of_slope[:, order - 1] = value.T * np.sqrt(order / q[:, None])
    count = order[np.flatnonzero(largest > _SMALL * largest.max()).max()] + 1
    last = np.abs(of_slope[:, min(count, 3 * order[-1] // 4) :]).max(axis=1)
    return Coefficients(q, of_value[:, :count], of_slope[:, :count], np.asarray(found.square), last)


def pair_series(
    act: Activation,
    q1: Float[np.ndarray, "t"],
    q2: Float[np.ndarray, "t"],
    delta: Float[np.ndarray, "t"],
) -> PairSeries:
    """Return the series of pairs; variances that differ by rounding share one.

    Raises:
        ActivationError: If φ cannot be integrated; the message says why and what to do.
    """
    keys = np.round(np.log(np.concatenate([q1, q2])) / _SAME)
    every, which = np.unique(keys, return_inverse=True)
    one, two = np.split(which.ravel(), 2)
    known = _coefficients(act, tuple(float(q) for q in np.exp(every * _SAME)))
    return PairSeries(known, one, two, delta)


def served(pairs: PairSeries) -> np.ndarray:
    """Return of which pairs the series holds the second derivatives, [t]."""
    slope, last = pairs.known.slope, pairs.known.last
    count = slope.shape[1]
    near = np.minimum(pairs.delta, 2 - pairs.delta)
    rest = np.exp(count * np.log1p(-np.minimum(near, 1 - 1e-9)))
    rest = rest * last[pairs.one] * last[pairs.two] * count**2 / np.maximum(near, 1 / count)
    size = np.sqrt((slope**2).sum(axis=1))
    return np.asarray(rest <= _LEFT_OUT * size[pairs.one] * size[pairs.two])


def mean_values(pairs: PairSeries) -> Float[np.ndarray, "t"]:
    """Return T."""
    value = pairs.known.value
    found = _summed(pairs, lambda one, two: (value[one] * value[two])[None])[0]
    equal = (pairs.delta == 0) & (pairs.one == pairs.two)
    return np.where(equal, pairs.known.square[pairs.one], found)


def expanded(pairs: PairSeries) -> tuple[Parts, Parts]:
    """Return T and D with their first and second derivatives by (q₁, q₂, s)."""
    value, slope = (_risen(c, pairs.known.q) for c in pairs.known[1:3])

    def products(one: np.ndarray, two: np.ndarray) -> np.ndarray:
        root = np.sqrt(pairs.known.q[one] * pairs.known.q[two])[:, None]
        a, b = ([(c[one], c[two]) for c in three] for three in (value, slope))
        d, d_1, d_2 = b[0][0] * b[0][1], b[1][0] * b[0][1], b[0][0] * b[1][1]
        by_s = _turned(d) / root
        curves = [(c[2][0] * c[0][1], c[0][0] * c[2][1], c[1][0] * c[1][1]) for c in (a, b)]
        t = (a[0][0] * a[0][1], a[1][0] * a[0][1], a[0][0] * a[1][1])
        turns = (by_s, _turned(by_s) / root, _turned(d_1) / root, _turned(d_2) / root)
        return np.stack([*t, *curves[0], d, d_1, d_2, *curves[1], *turns])

    sums = _summed(pairs, products)
    t, t_1, t_2, t_11, t_22, t_12, d, d_1, d_2, d_11, d_22, d_12, d_s, d_ss, d_1s, d_2s = sums
    dual = (t, np.stack([t_1, t_2, d], axis=-1), _hessian(t_11, t_22, d_s, t_12, d_1, d_2))
    slopes = np.stack([d_1, d_2, d_s], axis=-1)
    return dual, (d, slopes, _hessian(d_11, d_22, d_ss, d_12, d_1s, d_2s))


def _risen(c: np.ndarray, q: np.ndarray) -> list[np.ndarray]:
    """Coefficients, and those of the first and second derivative by q at fixed s."""
    k, found = np.arange(c.shape[1]), [c]
    for _ in range(2):
        shifted = np.pad(found[-1], ((0, 0), (0, 2)))[:, 2:]
        found.append(np.sqrt((k + 1) * (k + 2)) * shifted / (2 * q[:, None]))
    return found


def _turned(products: np.ndarray) -> np.ndarray:
    """From the coefficients of Σ c_k ρ^k to those of its derivative by ρ."""
    k = np.arange(products.shape[1])
    return np.pad(products * k, ((0, 0), (0, 1)))[:, 1:]


def _summed(
    pairs: PairSeries, products: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Float[np.ndarray, "sums t"]:
    """Σ_k p_k ρ^k of every pair, p = `products` of its rows, [sums, rows, K].

    Where few pairs of variances serve many angles, the sums of each are one matrix product.
    """
    kind = pairs.one * len(pairs.known.q) + pairs.two
    order = np.argsort(kind, kind="stable")
    starts = np.flatnonzero(np.diff(kind[order], prepend=-1))
    shared = _SHARED * len(starts) <= order.size
    groups = np.split(order, starts[1:]) if shared else [order]
    blocks = [b for g in groups for b in np.split(g, np.arange(_PAIRS, g.size, _PAIRS))]
    parts = []
    for block in blocks:
        rows = block[:1] if shared else block
        found = products(pairs.one[rows], pairs.two[rows])
        powers = np.repeat(1 - pairs.delta[block, None], found.shape[2], axis=1)
        powers[:, 0] = 1.0
        powers = np.cumprod(powers, axis=1)
        parts.append(found[:, 0] @ powers.T if shared else np.einsum("stk,tk->st", found, powers))
    sums = np.empty((len(parts[0]), order.size))
    sums[:, np.concatenate(blocks)] = np.concatenate(parts, axis=1)
    return sums


def _hessian(
    q11: np.ndarray,
    q22: np.ndarray,
    ss: np.ndarray,
    q12: np.ndarray,
    q1s: np.ndarray,
    q2s: np.ndarray,
) -> np.ndarray:
    """Hessians by (q₁, q₂, s), [t, 3, 3], from their entries."""
    rows = ((q11, q12, q1s), (q12, q22, q2s), (q1s, q2s, ss))
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
