"""Closed forms of E[φ(√q₁ u) φ(√q₂ v)] and of E[φ'(√q₁ u) φ'(√q₂ v)], correlation 1 − δ.

All are elementwise in q₁, q₂ and δ, and each is tested against quadrature. Here c is the
covariance √(q₁q₂)(1 − δ). Differences that vanish at ρ = 1 are written in δ, so that they keep
their digits there.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

Dual = Callable[[Array, Array, Array], Array]


class ClosedForm(NamedTuple):
    """Both duals of an activation as formulas, of (q₁, q₂, δ).

    Attributes:
        dual: E[φ(√q₁ u) φ(√q₂ v)].
        dual_prime: E[φ'(√q₁ u) φ'(√q₂ v)].
    """

    dual: Dual
    dual_prime: Dual


def parallel(dual: Dual, w2: float, b2: float, q1: Array, q2: Array) -> Array:
    """w2 ½E[(φ − φ')²] − ½(√Σ − √Σ')² at angle 0, Σ = w2 E[φ²] + b2."""
    zero = 0 * (q1 + q2)
    square1, square2 = dual(q1, q1, 0 * q1), dual(q2, q2, 0 * q2)
    next1, next2 = w2 * square1 + b2, w2 * square2 + b2
    gap = (square1 + square2) / 2 - dual(q1 + zero, q2 + zero, zero)
    return w2 * gap - ((next1 - next2) / (jnp.sqrt(next1) + jnp.sqrt(next2))) ** 2 / 2


def abs_linear_parallel(w2: float, b2: float, q1: Array, q2: Array) -> Array:
    """The same of a s + b|s|, w2 times a² + b²: without subtraction, 0 without biases."""
    root1, root2 = jnp.sqrt(q1), jnp.sqrt(q2)
    next1, next2 = w2 * q1 + b2, w2 * q2 + b2
    product = jnp.sqrt(next1 * next2)
    more = b2 + b2 * (w2 * (q1 + q2) + b2) / (product + w2 * root1 * root2)
    return w2 * (root1 - root2) ** 2 * more / (next1 + next2 + 2 * product)


def _angle(delta: Array) -> tuple[Array, Array]:
    """θ = arccos(1 − δ) and sin θ, with all digits near 0 and π; gradients are finite there."""
    square = delta * (2 - delta)
    inside = square > 0
    sine = jnp.where(inside, jnp.sqrt(jnp.where(inside, square, 1.0)), 0.0)
    return jnp.where(
        inside,
        jnp.arctan2(jnp.where(inside, sine, 1.0), 1 - delta),
        jnp.where(delta < 1, 0.0, math.pi),
    ), sine


def _ratio_angle(numerator: Array, square: Array) -> Array:
    """Arcsin of numerator/√square, with all digits near ±1; square > numerator²."""
    return jnp.arctan2(numerator, jnp.sqrt(square))


def _cross(q1: Array, q2: Array, delta: Array) -> tuple[Array, Array]:
    """C = √(q₁q₂)(1 − δ) and q₁q₂ − c² = q₁q₂ δ(2 − δ)."""
    return jnp.sqrt(q1 * q2) * (1 - delta), q1 * q2 * delta * (2 - delta)


def abs_linear(a: float, b: float, q1: Array, q2: Array, delta: Array) -> Array:
    """√(q₁q₂)(a²ρ + b²(ρ + (2/π)(sin θ − θ cos θ)))."""
    theta, sine = _angle(delta)
    bracket = sine - theta * (1 - delta)
    return jnp.sqrt(q1 * q2) * ((a * a + b * b) * (1 - delta) + b * b * (2 / math.pi) * bracket)


def abs_linear_prime(a: float, b: float, q1: Array, q2: Array, delta: Array) -> Array:
    """a² + b²(1 − 2θ/π), at every variance."""
    return a * a + b * b * (1 - (2 / math.pi) * _angle(delta)[0]) + 0 * (q1 + q2)


def erf(q1: Array, q2: Array, delta: Array) -> Array:
    """(2/π) arcsin(2c/√((1 + 2q₁)(1 + 2q₂))) (Williams, 1997)."""
    c, rest = _cross(q1, q2, delta)
    return (2 / math.pi) * _ratio_angle(2 * c, 1 + 2 * q1 + 2 * q2 + 4 * rest)


def erf_prime(q1: Array, q2: Array, delta: Array) -> Array:
    """(4/π)/√((1 + 2q₁)(1 + 2q₂) − 4c²)."""
    _, rest = _cross(q1, q2, delta)
    return (4 / math.pi) / jnp.sqrt(1 + 2 * q1 + 2 * q2 + 4 * rest)


def sin(q1: Array, q2: Array, delta: Array) -> Array:
    """exp(−(q₁ + q₂)/2) sinh c, written so that it does not overflow."""
    c, _ = _cross(q1, q2, delta)
    mean = (q1 + q2) / 2
    return -jnp.exp(jnp.abs(c) - mean) * jnp.expm1(-2 * jnp.abs(c)) * jnp.sign(c) / 2


def cos(q1: Array, q2: Array, delta: Array) -> Array:
    """exp(−(q₁ + q₂)/2) cosh c, written so that it does not overflow."""
    c, _ = _cross(q1, q2, delta)
    mean = (q1 + q2) / 2
    return (jnp.exp(c - mean) + jnp.exp(-c - mean)) / 2


def exp(q1: Array, q2: Array, delta: Array) -> Array:
    """The exponential of (q₁ + q₂)/2 + c, the dual of exp and of its derivative."""
    return jnp.exp((q1 + q2) / 2 + _cross(q1, q2, delta)[0])


def quadratic(q1: Array, q2: Array, delta: Array) -> Array:
    """q₁q₂ + 2c², of φ(s) = s²."""
    return q1 * q2 + 2 * _cross(q1, q2, delta)[0] ** 2


def quadratic_prime(q1: Array, q2: Array, delta: Array) -> Array:
    """4c, of φ'(s) = 2s."""
    return 4 * _cross(q1, q2, delta)[0]


def _gelu_parts(q1: Array, q2: Array, delta: Array) -> tuple[Array, Array, Array, Array]:
    """c, det(I + Σ), E[γ(y₁) γ(y₂)] and E[Φ(y₁) Φ(y₂)] of a Gaussian pair of covariance Σ."""
    c, rest = _cross(q1, q2, delta)
    det = 1 + q1 + q2 + rest
    densities = 1 / (2 * math.pi * jnp.sqrt(det))
    return c, det, densities, 0.25 + _ratio_angle(c, det) / (2 * math.pi)


def gelu(q1: Array, q2: Array, delta: Array) -> Array:
    """The dual of φ(s) = s Φ(s), by Stein's lemma (Tsuchida et al., 2021)."""
    c, _, densities, both = _gelu_parts(q1, q2, delta)
    outer = (1 + q1) * (1 + q2)
    return densities * (q1 * q2 + c**2 * (1 - q1 * q2) / outer) + c * both


def gelu_prime(q1: Array, q2: Array, delta: Array) -> Array:
    """The dual of φ'(s) = Φ(s) + s γ(s), γ the normal density."""
    c, det, densities, both = _gelu_parts(q1, q2, delta)
    return both + densities * c * (1 / (1 + q1) + 1 / (1 + q2) + 1 / det)
