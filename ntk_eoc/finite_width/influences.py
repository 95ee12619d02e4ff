"""The influence of one neuron on the kernel, and its second moments.

Neuron i of hidden layer j moves K(x, x') by its influence over m_j,

    c(x, x') = G_1 φ̂² + G_2 φ̂'² + G_12 φ̂ φ̂' + K_j(x, x') φ̂_s φ̂_s' b b',

with φ̂ and φ̂' its values at x and x', φ̂_s and φ̂_s' its slopes, z ~ N(0, Σ_j), and the
back-propagated signal b ~ N(0, B_{j+1}), one for each output (`docs/finite_width.md`).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc.activations import AbsLinear
from ntk_eoc.eoc import Init
from ntk_eoc.finite_width.limit_path import LimitPath
from ntk_eoc.finite_width.neurons import neuron_lattice, neuron_values, spread_normals
from ntk_eoc.finite_width.pair_moments import (
    Either,
    PairMoments,
    orthant_moments,
    sampled_moments,
)


class Layer(NamedTuple):
    """What the influence of a neuron of hidden layer j is made of.

    Attributes:
        covariance: Σ_j, of z.
        signal: B_{j+1}, of b.
        kernel: K_j.
        own: G_1, the weight of φ̂(z(x))²; G_2 is its transpose.
        cross: G_12.
        center: E[c].
    """

    covariance: Float[Either, "n n"]
    signal: Float[Either, "n n"]
    kernel: Float[Either, "n n"]
    own: Float[Either, "n n"]
    cross: Float[Either, "n n"]
    center: Float[Either, "n n"]


def neuron_moments(init: Init, path: LimitPath, j: int, count: int, seed: int) -> PairMoments:
    """Return the pair moments of hidden layer of index j, exact or one row a shift."""
    if isinstance(init.activation, AbsLinear):
        return orthant_moments(init, path.q[j], path.delta[j])
    points, shifts = neuron_lattice(count, len(path.q[j]), seed, j)
    found = sampled_moments(init, jnp.asarray(path.covariance[j]), points, shifts)
    return PairMoments(*(np.asarray(a) for a in found))


def influence_layer(path: LimitPath, gradient: Float[np.ndarray, "n n 4"], j: int) -> Layer:
    """Return what hidden layer of index j acts with, given ∇V_{j+1}."""
    own, cross, signal = gradient[..., 0], gradient[..., 2] + gradient[..., 3], gradient[..., 3]
    squares = path.dual.value[j].diagonal()
    center = own * squares[:, None] + own.T * squares[None, :] + cross * path.dual.value[j]
    center = center + path.kernel[j] * signal * path.slope.value[j]
    return Layer(path.covariance[j], signal, path.kernel[j], own, cross, center)


def share(part: Layer, moments: PairMoments, k: int) -> Float[np.ndarray, "r"]:
    """v_j: the sum of m_j Var over the entries of the papers' matrix."""
    n, signal = len(part.signal), part.signal
    over_signal = np.outer(signal.diagonal(), signal.diagonal())
    spread = k * mean_square(part, moments)
    squares = part.kernel**2 * (k * k * over_signal + k * signal**2)
    return np.asarray((spread + squares[None] * moments.v2_v2).sum(axis=(1, 2))) / n**2


def mean_square(part: Layer, moments: PairMoments) -> Float[np.ndarray, "r n n"]:
    """E over z of (c − E c)², c averaged over the signal b."""
    g1, g2, g12 = part.own[None], part.own.T[None], part.cross[None]
    slope, center = (part.kernel * part.signal)[None], part.center[None]
    u2, u4, u3_u, u2v_v = moments.u2, moments.u4, moments.u3_u, moments.u2v_v
    mean = g1 * u2[:, :, None] + g2 * u2[:, None, :] + g12 * moments.u_u + slope * moments.v_v
    squares = g1**2 * u4[:, :, None] + g2**2 * u4[:, None, :]
    squares = squares + (g12**2 + 2 * g1 * g2) * moments.u2_u2 + slope**2 * moments.v2_v2
    products = g12 * (g1 * u3_u + g2 * u3_u.swapaxes(1, 2)) + g12 * slope * moments.uv_uv
    products = products + slope * (g1 * u2v_v + g2 * u2v_v.swapaxes(1, 2))
    # Centred with the mean of the same neurons, whose error cancels in part.
    return np.asarray(squares + 2 * products - 2 * center * mean + center**2)


def smooth_influence(part: Layer, u: Float[Array, "N n"]) -> Float[Array, "N n n"]:
    """Return G_1 φ̂² + G_2 φ̂'² + G_12 φ̂ φ̂' of neurons, from their values."""
    own, other, cross = (jnp.asarray(a)[None] for a in (part.own, part.own.T, part.cross))
    squares = own * (u * u)[:, :, None] + other * (u * u)[:, None, :]
    return squares + cross * (u[:, :, None] * u[:, None, :])


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
