"""How the covariance turns with the angle, by an activation's closed forms."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ntk_eoc.activations import ClosedForm
from ntk_eoc.kernels.angles import safe_sqrt

_SMALL_ANGLE = 0.1  # below it 1 − ρ is integrated, not subtracted


def turn(of: ClosedForm, q1: Array, q2: Array, delta: Array, eta: Array) -> Array:
    """Return E[φφ'] at angle 0 less that at the angle: by Price's theorem if it is small."""
    zero = 0 * delta
    theta = 2 * jnp.arcsin(safe_sqrt(jnp.minimum(delta, eta) / 2))
    small = (delta < 1) & (theta < _SMALL_ANGLE)
    inside = jnp.where(small, theta, 0.0)
    total = zero
    for x, w in zip(*np.polynomial.legendre.leggauss(12), strict=True):
        tau = inside * float((x + 1) / 2)
        at = 2 * jnp.sin(tau / 2) ** 2
        total = total + float(w) * of.dual_prime(q1, q2, at) * jnp.sin(tau)
    integral = jnp.sqrt(q1 * q2) * total * inside / 2
    difference = of.dual(q1, q2, zero) - of.dual(q1, q2, delta)
    return jnp.where(small, integral, difference)
