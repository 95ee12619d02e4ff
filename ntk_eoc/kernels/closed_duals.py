"""One layer of the limit by an activation's closed forms."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from ntk_eoc.activations import AbsLinear, Activation
from ntk_eoc.eoc import Init
from ntk_eoc.kernels.angles import safe_sqrt

_SMALL_ANGLE = 0.1  # below it 1 − ρ is integrated, not subtracted


def has_closed_form(act: Activation) -> bool:
    """Whether neither φ nor φ' needs quadrature."""
    return act.dual is not None and act.dual_prime is not None


def turn(act: Activation, q1: Array, q2: Array, delta: Array, eta: Array) -> Array:
    """Return E[φφ'] at angle 0 less that at the angle: by Price's theorem if it is small."""
    assert act.dual is not None
    assert act.dual_prime is not None
    zero = 0 * delta
    theta = 2 * jnp.arcsin(safe_sqrt(jnp.minimum(delta, eta) / 2))
    small = (delta < 1) & (theta < _SMALL_ANGLE)
    inside = jnp.where(small, theta, 0.0)
    total = zero
    for x, w in zip(*np.polynomial.legendre.leggauss(12), strict=True):
        tau = inside * float((x + 1) / 2)
        at = 2 * jnp.sin(tau / 2) ** 2
        total = total + float(w) * act.dual_prime(q1, q2, at) * jnp.sin(tau)
    integral = jnp.sqrt(q1 * q2) * total * inside / 2
    difference = act.dual(q1, q2, zero) - act.dual(q1, q2, delta)
    return jnp.where(small, integral, difference)


def parallel(init: Init, q1: Array, q2: Array) -> Array:
    """Return √(Σ Σ') (1 − ρ') at angle 0: σ_w² ½E[(φ − φ')²] − ½(√Σ − √Σ')².

    Of a s + b|s| it is written without subtraction; 0 without biases.
    """
    act, b2 = init.activation, init.sigma_b**2
    if isinstance(act, AbsLinear):
        w2 = init.sigma_w**2 * act.second_moment
        root1, root2 = jnp.sqrt(q1), jnp.sqrt(q2)
        next1, next2 = w2 * q1 + b2, w2 * q2 + b2
        product = jnp.sqrt(next1 * next2)
        more = b2 + b2 * (w2 * (q1 + q2) + b2) / (product + w2 * root1 * root2)
        return w2 * (root1 - root2) ** 2 * more / (next1 + next2 + 2 * product)
    assert act.dual is not None
    w2, zero = init.sigma_w**2, 0 * (q1 + q2)
    square1, square2 = act.dual(q1, q1, 0 * q1), act.dual(q2, q2, 0 * q2)
    next1, next2 = w2 * square1 + b2, w2 * square2 + b2
    gap = (square1 + square2) / 2 - act.dual(q1 + zero, q2 + zero, zero)
    return w2 * gap - ((next1 - next2) / (jnp.sqrt(next1) + jnp.sqrt(next2))) ** 2 / 2
