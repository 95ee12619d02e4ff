"""The influence of one neuron on the kernel, and its second moments.

Neuron i of hidden layer j moves K(x, x') by its influence over m_j,

    c(x, x') = A φ̂² + A' φ̂'² + P d² + B φ̂ φ̂' + K_j(x, x') φ̂_s φ̂_s' b b',

with φ̂ and φ̂' its values at x and x', φ̂_s and φ̂_s' its slopes, d the gap of the values (`gaps`),
z ~ N(0, Σ_j), and the back-propagated signal b ~ N(0, B), one for each output
(`docs/finite_width.md`).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc.eoc import Init
from ntk_eoc.finite_width.gaps import Gap, GapMoments, gap_behind, mean_square_gap
from ntk_eoc.finite_width.limit_path import LimitPath
from ntk_eoc.finite_width.neurons import neuron_values, spread_normals
from ntk_eoc.finite_width.pair_moments import Either, PairMoments


class Layer(NamedTuple):
    """What the influence of a neuron of hidden layer j is made of.

    Attributes:
        covariance: Σ_j, of z.
        signal: B_{j+1}, of b.
        kernel: K_j.
        own: A, the weight of φ̂(z(x))²; A' is its transpose.
        apart: P, the weight of d².
        weight: w of d = w φ̂ − σ φ̂'/w.
        sign: σ of d.
        center: E[c].
    """

    covariance: Float[Either, "n n"]
    signal: Float[Either, "n n"]
    kernel: Float[Either, "n n"]
    own: Float[Either, "n n"]
    apart: Float[Either, "n n"]
    weight: Float[Either, "n n"]
    sign: Float[Either, "n n"]
    center: Float[Either, "n n"]


def influence_layer(path: LimitPath, gradient: Float[np.ndarray, "n n 4"], j: int) -> Layer:
    """Return what hidden layer of index j acts with, given ∇V_{j+1}.

    With λ = 1 − |ρ'| behind the layer, δ = 1 − ρ' moves by σ(−½ λ (n/q₁' + n'/q₂') + ½ (d² −
    E d²)/√(q₁'q₂')), n = φ̂² − E φ̂²: what V_δ weighs is small where V_δ is large.
    """
    by_log, _, by_angle, signal = np.moveaxis(gradient, -1, 0)
    gap, after, delta = gap_behind(path, j), path.q[j + 1], path.delta[j + 1]
    least = np.minimum(delta, 2 - delta)
    own = (by_log - gap.sign * least * by_angle / 2) / after[:, None]
    apart = gap.sign * by_angle / 2 / np.sqrt(np.outer(after, after))
    squares, mixed = path.dual.value[j].diagonal(), path.dual.value[j]
    center = own * squares[:, None] + own.T * squares[None, :] + signal * mixed
    center = center + apart * mean_square_gap(gap, squares, mixed)
    center = center + path.kernel[j] * signal * path.slope.value[j]
    return Layer(path.covariance[j], signal, path.kernel[j], own, apart, *gap, center)


def share(part: Layer, moments: PairMoments, gaps: GapMoments, k: int) -> Float[np.ndarray, "r"]:
    """v_j: the sum of m_j Var over the entries of the papers' matrix."""
    n, signal = len(part.signal), part.signal
    over_signal = np.outer(signal.diagonal(), signal.diagonal())
    spread = k * mean_square(part, moments, gaps)
    squares = part.kernel**2 * (k * k * over_signal + k * signal**2)
    return np.asarray((spread + squares[None] * moments.v2_v2).sum(axis=(1, 2))) / n**2


def mean_square(part: Layer, moments: PairMoments, gaps: GapMoments) -> Float[np.ndarray, "r n n"]:
    """E over z of (c − E c)², c averaged over the signal b."""
    a1, a2, apart = part.own[None], part.own.T[None], part.apart[None]
    signal, slope, center = part.signal[None], (part.kernel * part.signal)[None], part.center[None]
    u2, u4, u2_u2, u_u, v_v = (getattr(moments, f) for f in ("u2", "u4", "u2_u2", "u_u", "v_v"))
    gap = mean_square_gap(Gap(np.asarray(part.weight), np.asarray(part.sign)), u2, u_u)
    mean = a1 * u2[:, :, None] + a2 * u2[:, None, :] + apart * gap + signal * u_u + slope * v_v
    squares = a1**2 * u4[:, :, None] + a2**2 * u4[:, None, :] + apart**2 * gaps.d4
    squares = squares + signal**2 * u2_u2 + slope**2 * moments.v2_v2
    products = a1 * a2 * u2_u2 + signal * slope * moments.uv_uv
    products = products + apart * (signal * gaps.u_u_d2 + slope * gaps.v_v_d2)
    rows = apart * gaps.u2_d2 + signal * moments.u3_u + slope * moments.u2v_v
    products = products + a1 * rows + (a1 * rows).swapaxes(1, 2)
    # Centred with the mean of the same neurons, whose error cancels in part.
    return np.asarray(squares + 2 * products - 2 * center * mean + center**2)


def smooth_influence(part: Layer, u: Float[Array, "N n"]) -> Float[Array, "N n n"]:
    """Return A φ̂² + A' φ̂'² + P d² + B φ̂ φ̂' of neurons, from their values."""
    own, other = jnp.asarray(part.own)[None], jnp.asarray(part.own.T)[None]
    apart, signal = jnp.asarray(part.apart)[None], jnp.asarray(part.signal)[None]
    one, two = u[:, :, None], u[:, None, :]
    gap = jnp.asarray(part.weight)[None] * one - jnp.asarray(part.sign / part.weight)[None] * two
    return own * one**2 + other * two**2 + apart * gap**2 + signal * (one * two)


@partial(jax.jit, static_argnums=0)
def covariance_terms(init: Init, part: Layer, points: Array, shifts: Array) -> tuple[Array, Array]:
    """Covariance of the influence averaged over b, and E over z of the products of K_j φ̂_s φ̂_s'."""
    n = len(part.signal)

    def gram(a: Array) -> Array:
        a = a.reshape(-1, n * n)
        return jnp.matmul(a.T, a, precision=jax.lax.Precision.HIGHEST) / len(points)

    def one(shift: Array) -> tuple[Array, Array]:
        normals = spread_normals(points, shift)
        u, v = neuron_values(init, part.covariance, normals)
        kernel, signal, center = (jnp.asarray(a)[None] for a in part[2:0:-1] + part[-1:])
        slopes = kernel * v[:, :, None] * v[:, None, :]
        influence = smooth_influence(part, u) + slopes * signal - center
        return gram(influence), gram(slopes)

    return jax.lax.map(one, shifts)
