"""Moments of the gap d = w u ∓ u'/w of a neuron's values at a pair of inputs.

w = (q₂'/q₁')^¼ with the variances behind the layer, so that d² = √(q₁'q₂') (û ∓ û')² with û of unit
scale; the sign is + where the inputs are closer to opposite. How 1 − |ρ'| moves is the mean of d².
At small angles of a kinked φ its law weighs d² by 1/θ and d⁴ by 1/θ³: there d must be subtracted
before the mean is taken.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ntk_eoc.activations import AbsLinear
from ntk_eoc.eoc import Init
from ntk_eoc.finite_width.limit_path import LimitPath
from ntk_eoc.finite_width.neurons import neuron_lattice, neuron_values, spread_normals
from ntk_eoc.finite_width.pair_moments import PairMoments

NEAR = 0.005  # of 1 − |ρ'|, an angle of 0.1: beyond it 10⁻¹² is lost in the differences
_NODES = 16  # of an arc: enough for polynomials of degree 4 in sine and cosine


class Gap(NamedTuple):
    """Which gap: d = w u − σ u'/w.

    Attributes:
        weight: w; 1/w is its transpose.
        sign: σ, −1 where the pair is closer to opposite behind the layer.
    """

    weight: Float[np.ndarray, "n n"]
    sign: Float[np.ndarray, "n n"]


class GapMoments(NamedTuple):
    """Expectations over a neuron, for all pairs (row x, column x'); r repetitions.

    Attributes:
        d4: E d⁴.
        u2_d2: E u² d², u at the row's input.
        u_u_d2: E u u' d².
        v_v_d2: E v v' d².
    """

    d4: Float[np.ndarray, "r n n"]
    u2_d2: Float[np.ndarray, "r n n"]
    u_u_d2: Float[np.ndarray, "r n n"]
    v_v_d2: Float[np.ndarray, "r n n"]


class _Pairs(NamedTuple):
    """Some of the pairs."""

    rows: Int[Array, "p"]
    columns: Int[Array, "p"]
    weight: Float[Array, "p"]
    sign: Float[Array, "p"]


def gap_behind(path: LimitPath, j: int) -> Gap:
    """Return the gap that tells how the angle behind hidden layer of index j moves."""
    fourth = path.q[j + 1] ** 0.25
    return Gap(fourth[None, :] / fourth[:, None], np.where(path.delta[j + 1] <= 1, 1.0, -1.0))


def mean_square_gap(
    gap: Gap, squares: Float[np.ndarray, "*r n"], mixed: Float[np.ndarray, "*r n n"]
) -> Float[np.ndarray, "*r n n"]:
    """Return E d² from E u² and E u u'."""
    own = gap.weight**2 * squares[..., :, None]
    return np.asarray(own + own.swapaxes(-1, -2) - 2 * gap.sign * mixed)


def gap_moments(
    init: Init, path: LimitPath, j: int, moments: PairMoments, count: int, seed: int
) -> GapMoments:
    """Return the moments at hidden layer of index j, from those without d where that is exact."""
    gap = gap_behind(path, j)
    w2, sign = gap.weight[None] ** 2, gap.sign[None]
    u2_d2 = w2 * moments.u4[:, :, None] + moments.u2_u2 / w2 - 2 * sign * moments.u3_u
    u_u_d2 = _both(w2 * moments.u3_u) - 2 * sign * moments.u2_u2
    v_v_d2 = _both(w2 * moments.u2v_v) - 2 * sign * moments.uv_uv
    d4 = _both(w2**2 * moments.u4[:, :, None] - 4 * sign * w2 * moments.u3_u)
    found = GapMoments(d4 + 6 * moments.u2_u2, u2_d2, u_u_d2, v_v_d2)
    least = np.minimum(path.delta[j + 1], 2 - path.delta[j + 1])
    rows, columns = np.nonzero(np.triu((least > 0) & (least < NEAR), 1))
    if rows.size == 0 or not init.activation.kinks:
        return found
    near = _near(init, path, j, (rows, columns), count, seed)
    for whole, part in zip(found, (near[0], near[1], near[3], near[4]), strict=True):
        whole[:, rows, columns] = whole[:, columns, rows] = part
    found.u2_d2[:, columns, rows] = near[2]
    return found


def _both(a: np.ndarray) -> np.ndarray:
    return np.asarray(a + a.swapaxes(1, 2))


def _near(
    init: Init,
    path: LimitPath,
    j: int,
    pairs: tuple[np.ndarray, np.ndarray],
    count: int,
    seed: int,
) -> tuple[np.ndarray, ...]:
    """E of d⁴, u²d², u'²d², u u'd² and v v'd² of some pairs, [r, p] each."""
    gap, (rows, columns) = gap_behind(path, j), pairs
    if isinstance(init.activation, AbsLinear):
        q, delta = path.q[j], path.delta[j][rows, columns]
        found = _by_arcs(init, q[rows], q[columns], delta, gap.weight[pairs], gap.sign[pairs])
        return tuple(part[None] for part in found)
    points, shifts = neuron_lattice(count, len(path.q[j]), seed, j)
    # Padded to a power of two with a pair that does not matter: few shapes are compiled.
    padded = np.zeros((4, 1 << (rows.size - 1).bit_length()))
    padded[:, : rows.size] = rows, columns, gap.weight[pairs], gap.sign[pairs]
    some = _Pairs(*(jnp.asarray(a, int) for a in padded[:2]), *(jnp.asarray(a) for a in padded[2:]))
    sampled = _sampled(init, jnp.asarray(path.covariance[j]), points, shifts, some)
    return tuple(np.asarray(part)[:, : rows.size] for part in sampled)


def _products(u1: Any, u2: Any, v1: Any, v2: Any, d: Any) -> tuple[Any, ...]:
    square = d * d
    return square**2, u1**2 * square, u2**2 * square, u1 * u2 * square, v1 * v2 * square


@partial(jax.jit, static_argnums=0)
def _sampled(
    init: Init,
    covariance: Float[Array, "n n"],
    points: Float[Array, "N n"],
    shifts: Float[Array, "r n"],
    pairs: _Pairs,
) -> tuple[Array, ...]:
    weight, sign = pairs.weight[None], pairs.sign[None]

    def one(shift: Array) -> tuple[Array, ...]:
        u, v = neuron_values(init, covariance, spread_normals(points, shift))
        (u1, v1), (u2, v2) = ((a[:, at] for a in (u, v)) for at in (pairs.rows, pairs.columns))
        found = _products(u1, u2, v1, v2, weight * u1 - sign * u2 / weight)
        return tuple(jnp.mean(part, axis=0) for part in found)

    return jax.lax.map(one, shifts)


def _by_arcs(
    init: Init,
    q1: Float[np.ndarray, "p"],
    q2: Float[np.ndarray, "p"],
    delta: Float[np.ndarray, "p"],
    weight: Float[np.ndarray, "p"],
    sign: Float[np.ndarray, "p"],
) -> tuple[np.ndarray, ...]:
    """For φ(s) = a s + b|s|, in polar coordinates z = √q₁ r cos t, z' = √q₂ r cos(t − θ).

    Between the zeros of the cosines the products are polynomials of degree 4 in sine and cosine,
    which Gauss and Legendre integrate to rounding; E r⁴ = 8 and E r² = 2.
    """
    theta = (2 * np.arcsin(np.sqrt(delta / 2)))[:, None]
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    totals = [np.zeros(len(q1)) for _ in range(5)]
    for half in (0.0, np.pi):
        # From the zero of one cosine to that of the other, and back.
        for middle, length in ((theta / 2, np.pi - theta), (theta / 2 + np.pi / 2, theta)):
            t = half + middle + length / 2 * nodes
            one, two = np.cos(t), np.cos(t - theta)
            v1, v2 = (init.sigma_w * np.asarray(init.activation.prime(z)) for z in (one, two))
            u1, u2 = np.sqrt(q1)[:, None] * v1 * one, np.sqrt(q2)[:, None] * v2 * two
            d = weight[:, None] * u1 - (sign / weight)[:, None] * u2
            share = length[:, 0] / (4 * np.pi)
            for total, part in zip(totals, _products(u1, u2, v1, v2, d), strict=True):
                total += share * (part @ weights)
    return tuple(total * moment for total, moment in zip(totals, (8, 8, 8, 8, 2), strict=True))
