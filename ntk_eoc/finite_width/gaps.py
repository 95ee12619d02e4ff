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

from ntk_eoc.eoc import Init
from ntk_eoc.finite_width.limit_path import LimitPath
from ntk_eoc.finite_width.neurons import neuron_values, spread_normals
from ntk_eoc.finite_width.pair_moments import Either, PairMoments

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


class Pairs(NamedTuple):
    """Some of the pairs, and their gaps.

    Attributes:
        rows: Which inputs x.
        columns: Which inputs x'.
        weight: w of d.
        sign: σ of d.
    """

    rows: Int[Either, "p"]
    columns: Int[Either, "p"]
    weight: Float[Either, "p"]
    sign: Float[Either, "p"]


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


def gap_moments(gap: Gap, moments: PairMoments) -> GapMoments:
    """Return the moments of gaps from those without d, of which those of near pairs lose digits."""
    w2, sign = gap.weight[None] ** 2, gap.sign[None]
    u2_d2 = w2 * moments.u4[:, :, None] + moments.u2_u2 / w2 - 2 * sign * moments.u3_u
    u_u_d2 = _both(w2 * moments.u3_u) - 2 * sign * moments.u2_u2
    v_v_d2 = _both(w2 * moments.u2v_v) - 2 * sign * moments.uv_uv
    d4 = _both(w2**2 * moments.u4[:, :, None] - 4 * sign * w2 * moments.u3_u)
    return GapMoments(d4 + 6 * moments.u2_u2, u2_d2, u_u_d2, v_v_d2)


def _both(a: np.ndarray) -> np.ndarray:
    return np.asarray(a + a.swapaxes(1, 2))


def _products(u1: Any, u2: Any, v1: Any, v2: Any, d: Any) -> tuple[Any, ...]:
    square = d * d
    return square**2, u1**2 * square, u2**2 * square, u1 * u2 * square, v1 * v2 * square


@partial(jax.jit, static_argnums=0)
def sampled_gaps(
    init: Init,
    covariance: Float[Array, "n n"],
    points: Float[Array, "N n"],
    shifts: Float[Array, "r n"],
    pairs: Pairs,
) -> tuple[Array, ...]:
    """Return E of d⁴, u²d², u'²d², u u'd² and v v'd² over lattices of neurons, [r, p] each."""
    weight, sign = pairs.weight[None], pairs.sign[None]

    def one(shift: Array) -> tuple[Array, ...]:
        u, v = neuron_values(init, covariance, spread_normals(points, shift))
        (u1, v1), (u2, v2) = ((a[:, at] for a in (u, v)) for at in (pairs.rows, pairs.columns))
        found = _products(u1, u2, v1, v2, weight * u1 - sign * u2 / weight)
        return tuple(jnp.mean(part, axis=0) for part in found)

    return jax.lax.map(one, shifts)


def arc_gaps(
    init: Init, q: Float[np.ndarray, "n"], delta: Float[np.ndarray, "n n"], pairs: Pairs
) -> tuple[np.ndarray, ...]:
    """Return the same of φ(s) = a s + b|s|, one repetition, exactly.

    In polar coordinates z = √q₁ r cos t, z' = √q₂ r cos(t − θ).
    Between the zeros of the cosines the products are polynomials of degree 4 in sine and cosine,
    which Gauss and Legendre integrate to rounding; E r⁴ = 8 and E r² = 2.
    """
    rows, columns, weight, sign = pairs
    q1, q2 = q[rows], q[columns]
    theta = (2 * np.arcsin(np.sqrt(delta[rows, columns] / 2)))[:, None]
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
    return tuple((t * of_r)[None] for t, of_r in zip(totals, (8, 8, 8, 8, 2), strict=True))
