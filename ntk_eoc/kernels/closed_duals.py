"""How the covariance and the dual of φ' turn with the angle, by an activation's closed forms."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from ntk_eoc.activations import ClosedForm
from ntk_eoc.kernels.angles import safe_sqrt
from ntk_eoc.precision import geometric_mean

_SMALL_ANGLE = 0.1  # below it 1 − ρ is integrated, not subtracted
_NODES = 16
_SHARPEST = 1e-3  # part of an angle below which E[φ'φ'] may vary as it likes


def turn(form: ClosedForm, q1: Array, q2: Array, delta: Array, eta: Array) -> Array:
    """Return E[φφ'] at angle 0 less that at the angle, by Price's theorem if that is small."""
    zero = 0 * delta
    theta = 2 * jnp.arcsin(safe_sqrt(jnp.minimum(delta, eta) / 2))
    small = (delta < 1) & (theta < _SMALL_ANGLE)
    near = (q1, q2, jnp.where(small, delta, 0.0))
    if form.turn is not None:
        integral = form.turn(*near)
    else:
        integral = _integrated(form, *near[:2], jnp.where(small, theta, 0.0))
    difference = form.dual(q1, q2, zero) - form.dual(q1, q2, delta)
    return jnp.where(small, integral, difference)


def slope(form: ClosedForm, q1: Array, q2: Array, delta: Array, eta: Array) -> tuple[Array, Array]:
    """Return E[φ'φ'], and by how much the angle it was asked at is off near π.

    There 1 − ρ alone does not hold the angle: its last digit is an angle of √ε.
    """
    if form.line is None:
        at = lax.stop_gradient(jnp.where(delta > 1, 2 - delta, eta))
        off = jnp.sqrt(2 * jnp.maximum(at, 0.0)) - jnp.sqrt(2 * lax.stop_gradient(eta))
        return form.dual_prime(q1, q2, delta), jnp.abs(off)
    obtuse = delta > eta
    near = form.dual_prime(q1, q2, jnp.where(obtuse, eta, delta))
    return jnp.where(obtuse, 2 * form.line**2 - near, near), 0 * lax.stop_gradient(eta)


def _integrated(form: ClosedForm, q1: Array, q2: Array, theta: Array) -> Array:
    """√(q₁q₂) ∫_0^θ E[φ'φ'] sin τ dτ.

    E[φ'φ'] varies on the scale s = √(1/q₁ + 1/q₂) near 0 where q is large: with τ = s sinh t it is
    smooth in t.
    """
    positive = theta > 0
    least = _SHARPEST * jnp.where(positive, theta, 1.0)
    scale = jnp.maximum(jnp.sqrt(1 / q1 + 1 / q2), least)
    length = jnp.arcsinh(jnp.where(positive, theta, 0.0) / scale)

    def node(total: Array, of: Array) -> tuple[Array, None]:
        x, w = of
        t = length * x
        tau, stretch = scale * jnp.sinh(t), length * jnp.cosh(t) * scale
        at = 2 * jnp.sin(tau / 2) ** 2
        return total + w * stretch * form.dual_prime(q1, q2, at) * jnp.sin(tau), None

    # By a loop, which compiles one node.
    x, w = np.polynomial.legendre.leggauss(_NODES)
    rule = jnp.asarray(np.stack([(x + 1) / 2, w / 2], 1), theta.dtype)
    return geometric_mean(q1, q2) * lax.scan(node, 0 * theta, rule)[0]
