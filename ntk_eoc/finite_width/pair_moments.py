"""Moments of second and fourth order of one neuron at a pair of inputs.

With u = φ̂(z), v = φ̂'(z) at x and u', v' at x': all that variances and means to order 1/m need,
together with those of the gap d = w u ∓ u'/w (`gaps`). For φ(s) = a s + b|s| they are orthant
moments in closed form, otherwise means over neurons.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc.activations import AbsLinear
from ntk_eoc.eoc import Init
from ntk_eoc.finite_width.neurons import neuron_values, spread_normals

Either = Array | np.ndarray  # traced or not


class PairMoments(NamedTuple):
    """Expectations over a neuron, for all pairs (row x, column x'); r repetitions.

    Attributes:
        u2: E u², at the row's input.
        u4: E u⁴, at the row's input.
        u_u: E u u'.
        v_v: E v v'.
        u2_u2: E u² u'².
        u3_u: E u³ u'.
        u2v_v: E u² v v'.
        uv_uv: E u v u' v'.
        v2_v2: E v² v'².
    """

    u2: Float[Either, "r n"]
    u4: Float[Either, "r n"]
    u_u: Float[Either, "r n n"]
    v_v: Float[Either, "r n n"]
    u2_u2: Float[Either, "r n n"]
    u3_u: Float[Either, "r n n"]
    u2v_v: Float[Either, "r n n"]
    uv_uv: Float[Either, "r n n"]
    v2_v2: Float[Either, "r n n"]


def orthant_moments(
    act: AbsLinear, scale: float, q: Float[np.ndarray, "#n"], delta: Float[np.ndarray, "#n #n"]
) -> PairMoments:
    """Return the moments of `scale` times φ(s) = a s + b|s| exactly, as one repetition.

    Of all pairs of n inputs, or of any pairs of inputs of one norm: a column of δ, and one q.

    u = s(a + bσ) and v = a + bσ with σ = sgn s, and (a + bσ)^k = α_k + β_k σ. For unit Gaussians
    of correlation ρ, with A = (2/π) arcsin ρ and S = (2/π)√(1 − ρ²), Stein's lemma gives

        E σσ' = A,  E ss'σσ' = S + ρA,  E s²σσ' = A + ρS,
        E s³s'σσ' = 2S + 3ρA + ρ²S,  E s²s'²σσ' = (1 + 2ρ²)A + 3ρS.
    """
    high, low = scale * (act.a + act.b), scale * (act.a - act.b)
    rho = 1 - delta
    sine = np.sqrt(delta * (2 - delta))
    a = (2 / np.pi) * np.arctan2(rho, sine)
    s = (2 / np.pi) * sine
    square = q[:, None] * q[None, :]
    sizes = np.sqrt(square)

    def mixed(
        k: int, size: np.ndarray, plain: np.ndarray, signed: np.ndarray, order: int = 4
    ) -> np.ndarray:
        """Of (a + bσ)^k (a + bσ')^(order − k) times a monomial, without and with σσ'."""
        even = [(high**j + low**j) / 2 for j in (k, order - k)]
        odd = [(high**j - low**j) / 2 for j in (k, order - k)]
        return (size * (even[0] * even[1] * plain + odd[0] * odd[1] * signed))[None]

    one = np.ones_like(rho)
    return PairMoments(
        u2=(q * (high**2 + low**2) / 2)[None],
        u4=(3 * q**2 * (high**4 + low**4) / 2)[None],
        u_u=mixed(1, sizes, rho, s + rho * a, order=2),
        v_v=mixed(1, one, one, a, order=2),
        u2_u2=mixed(2, square, 1 + 2 * rho**2, (1 + 2 * rho**2) * a + 3 * rho * s),
        u3_u=mixed(3, q[:, None] * sizes, 3 * rho, 2 * s + 3 * rho * a + rho**2 * s),
        u2v_v=mixed(3, q[:, None] * one, one, a + rho * s),
        uv_uv=mixed(2, sizes, rho, s + rho * a),
        v2_v2=mixed(2, one, one, a),
    )


@partial(jax.jit, static_argnums=0)
def sampled_moments(
    init: Init,
    covariance: Float[Array, "n n"],
    points: Float[Array, "N n"],
    shifts: Float[Array, "r n"],
) -> PairMoments:
    """Return the moments over randomly shifted lattices of neurons, one repetition a shift."""

    def one(shift: Array) -> PairMoments:
        u, v = neuron_values(init, covariance, spread_normals(points, shift))

        def gram(a: Array, b: Array) -> Array:
            return jnp.matmul(a.T, b, precision=jax.lax.Precision.HIGHEST) / len(points)

        u2, v2, uv = u * u, v * v, u * v
        return PairMoments(
            u2=jnp.mean(u2, axis=0),
            u4=jnp.mean(u2 * u2, axis=0),
            u_u=gram(u, u),
            v_v=gram(v, v),
            u2_u2=gram(u2, u2),
            u3_u=gram(u2 * u, u),
            u2v_v=gram(u2 * v, v),
            uv_uv=gram(uv, uv),
            v2_v2=gram(v2, v2),
        )

    return jax.lax.map(one, shifts)
