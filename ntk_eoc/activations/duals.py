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

from ntk_eoc.precision import geometric_mean

Dual = Callable[[Array, Array, Array], Array]

# sin θ − θ cos θ = Σ_{j>=1} (−1)^{j+1} 2j/(2j+1)! θ^{2j+1}, the last coefficient first; enough
# terms for θ < 0.6 in float64.
SMALL = 0.6
SERIES = [(-1) ** (j + 1) * 2 * j / math.factorial(2 * j + 1) for j in range(9, 0, -1)]


class ClosedForm(NamedTuple):
    """Both duals of an activation as formulas, of (q₁, q₂, δ).

    Attributes:
        dual: E[φ(√q₁ u) φ(√q₂ v)].
        dual_prime: E[φ'(√q₁ u) φ'(√q₂ v)].
        turn: The dual at δ = 0 less that at an angle below 0.1, with all its digits, or None: it is
            integrated.
        line: a where φ(s) − a s is even, or None: φ'(s) + φ'(−s) = 2a, so that the dual of φ' is
            known beyond the right angle from that at the supplement, with all digits of 1 + ρ.
    """

    dual: Dual
    dual_prime: Dual
    turn: Dual | None
    line: float | None = None


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
    product = geometric_mean(next1, next2)
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


def _cross(q1: Array, q2: Array, delta: Array) -> Array:
    """The covariance c = √(q₁q₂)(1 − δ)."""
    return geometric_mean(q1, q2) * (1 - delta)


class _Shrunk(NamedTuple):
    """A Gaussian pair of variances q₁, q₂ with unit noise added; nothing overflows.

    Attributes:
        p1: 1/(1 + q₁).
        p2: 1/(1 + q₂).
        root: √(p₁p₂).
        cosine: C = c √(p₁p₂), the correlation.
        sine: √(1 − C²), with all its digits.
    """

    p1: Array
    p2: Array
    root: Array
    cosine: Array
    sine: Array


def _shrink(q1: Array, q2: Array, delta: Array) -> _Shrunk:
    p1, p2 = 1 / (1 + q1), 1 / (1 + q2)
    a1, a2 = q1 * p1, q2 * p2
    square = p2 + a2 * p1 + a1 * a2 * delta * (2 - delta)
    cosine = jnp.sqrt(a1) * jnp.sqrt(a2) * (1 - delta)
    return _Shrunk(p1, p2, jnp.sqrt(p1) * jnp.sqrt(p2), cosine, jnp.sqrt(square))


def abs_linear(a: float, b: float, q1: Array, q2: Array, delta: Array) -> Array:
    """√(q₁q₂)(a²ρ + b²(ρ + (2/π)(sin θ − θ cos θ)))."""
    theta, sine = _angle(delta)
    bracket = sine - theta * (1 - delta)
    whole = (a * a + b * b) * (1 - delta) + b * b * (2 / math.pi) * bracket
    return geometric_mean(q1, q2) * whole


def abs_linear_prime(a: float, b: float, q1: Array, q2: Array, delta: Array) -> Array:
    """a² + b²(1 − 2θ/π), at every variance."""
    return a * a + b * b * (1 - (2 / math.pi) * _angle(delta)[0]) + 0 * (q1 + q2)


def abs_linear_turn(a: float, b: float, q1: Array, q2: Array, delta: Array) -> Array:
    """√(q₁q₂)(a²δ + b²(δ − (2/π)(sin θ − θ cos θ)))."""
    theta, sine = _angle(delta)
    small = theta < SMALL
    near = jnp.where(small, theta, 0.0)
    series = 0 * near
    for coefficient in SERIES:
        series = series * near**2 + coefficient
    bracket = jnp.where(small, series * near**3, sine - theta * (1 - delta))
    whole = (a * a + b * b) * delta - b * b * (2 / math.pi) * bracket
    return geometric_mean(q1, q2) * whole


def erf(q1: Array, q2: Array, delta: Array) -> Array:
    """(2/π) arcsin(2c/√((1 + 2q₁)(1 + 2q₂))) (Williams, 1997)."""
    of = _shrink(2 * q1, 2 * q2, delta)
    return (2 / math.pi) * jnp.arctan2(of.cosine, of.sine)


def erf_prime(q1: Array, q2: Array, delta: Array) -> Array:
    """(4/π)/√((1 + 2q₁)(1 + 2q₂) − 4c²)."""
    of = _shrink(2 * q1, 2 * q2, delta)
    return (4 / math.pi) * of.root / of.sine


def _apart(q1: Array, q2: Array, delta: Array) -> Array:
    """½E[(√q₁ u − √q₂ v)²] = (√q₁ − √q₂)²/2 + √(q₁q₂) δ, without cancellation."""
    return (jnp.sqrt(q1) - jnp.sqrt(q2)) ** 2 / 2 + geometric_mean(q1, q2) * delta


def sin(q1: Array, q2: Array, delta: Array) -> Array:
    """exp(−(q₁ + q₂)/2) sinh c, written so that it neither overflows nor cancels."""
    c = _cross(q1, q2, delta)
    apart = _apart(q1, q2, jnp.minimum(delta, 2 - delta))
    return -jnp.exp(-apart) * jnp.expm1(-2 * jnp.abs(c)) * jnp.sign(c) / 2


def cos(q1: Array, q2: Array, delta: Array) -> Array:
    """exp(−(q₁ + q₂)/2) cosh c, written so that it neither overflows nor cancels."""
    return (jnp.exp(-_apart(q1, q2, delta)) + jnp.exp(-_apart(q1, q2, 2 - delta))) / 2


def exp(q1: Array, q2: Array, delta: Array) -> Array:
    """The exponential of (q₁ + q₂)/2 + c, the dual of exp and of its derivative."""
    return jnp.exp((q1 + q2) / 2 + _cross(q1, q2, delta))


def quadratic(q1: Array, q2: Array, delta: Array) -> Array:
    """q₁q₂ + 2c², of φ(s) = s²."""
    return q1 * q2 + 2 * _cross(q1, q2, delta) ** 2


def quadratic_prime(q1: Array, q2: Array, delta: Array) -> Array:
    """4c, of φ'(s) = 2s."""
    return 4 * _cross(q1, q2, delta)


def _both_positive(of: _Shrunk) -> Array:
    """E[Φ(y₁) Φ(y₂)]."""
    return 0.25 + jnp.arctan2(of.cosine, of.sine) / (2 * math.pi)


def gelu(q1: Array, q2: Array, delta: Array) -> Array:
    """The dual of φ(s) = s Φ(s), by Stein's lemma (Tsuchida et al., 2021).

    c E[ΦΦ] + (q₁q₂ + c²(1 − q₁q₂) p₁p₂) E[γγ], p = 1/(1 + q) and γ the normal density.
    """
    of = _shrink(q1, q2, delta)
    rest = delta * (2 - delta) + (1 - delta) ** 2 * (of.p1 + of.p2)
    densities = q1 * jnp.sqrt(of.p1) * (q2 * jnp.sqrt(of.p2)) * rest / of.sine
    return densities / (2 * math.pi) + _cross(q1, q2, delta) * _both_positive(of)


def gelu_prime(q1: Array, q2: Array, delta: Array) -> Array:
    """The dual of φ'(s) = Φ(s) + s γ(s), γ the normal density."""
    of = _shrink(q1, q2, delta)
    inverse = of.p1 + of.p2 + (of.root / of.sine) ** 2
    return _both_positive(of) + of.cosine / of.sine * inverse / (2 * math.pi)


def _erf_turn(q1: Array, q2: Array, delta: Array) -> Array:
    """A difference of two arctangents, as one."""
    start, end = _shrink(2 * q1, 2 * q2, 0 * delta), _shrink(2 * q1, 2 * q2, delta)
    across = start.cosine * end.sine + start.sine * end.cosine
    apart = start.cosine**2 * delta * (2 - delta) / across
    return (2 / math.pi) * jnp.arctan2(apart, start.sine * end.sine + start.cosine * end.cosine)


def _turning(q1: Array, q2: Array, delta: Array) -> tuple[Array, Array]:
    """What sin and cos share: e^{−a} (e^{−p δ} − 1)/2, a apart at angle 0, and p (δ − 2)."""
    product = geometric_mean(q1, q2)
    apart = _apart(q1, q2, 0 * delta)
    return jnp.exp(-apart) * jnp.expm1(-product * delta) / 2, product * (delta - 2)


def _sin_turn(q1: Array, q2: Array, delta: Array) -> Array:
    shared, other = _turning(q1, q2, delta)
    return -shared * (1 + jnp.exp(other))


def _cos_turn(q1: Array, q2: Array, delta: Array) -> Array:
    shared, other = _turning(q1, q2, delta)
    return shared * jnp.expm1(other)


def _exp_turn(q1: Array, q2: Array, delta: Array) -> Array:
    product = geometric_mean(q1, q2)
    return -jnp.exp((q1 + q2) / 2 + product) * jnp.expm1(-product * delta)


def _quadratic_turn(q1: Array, q2: Array, delta: Array) -> Array:
    return 2 * geometric_mean(q1, q2) ** 2 * delta * (2 - delta)


def _gelu_turn(q1: Array, q2: Array, delta: Array) -> Array:
    """With C, S the correlation and sine of `_shrink`, C₀, S₀ those at δ = 0, e = δ(2 − δ) and
    sin ψ = C₀S − S₀C: √(q₁q₂)/2π times 2π δ E[ΦΦ]₀ + (1 − δ)(ψ − sin ψ) +
    C₀ (δ((1 − δ)S₀ − C₀²e/(S + S₀)) + p₁p₂ (e/S)(1 + C₀²/(S₀(S + S₀)))). The first part outweighs
    the negative one.
    """
    start, end = _shrink(q1, q2, 0 * delta), _shrink(q1, q2, delta)
    both, square, e = end.sine + start.sine, start.cosine**2, delta * (2 - delta)
    turned = start.cosine * (square * e / both + start.sine * delta)  # sin ψ
    rest = delta * ((1 - delta) * start.sine - square * e / both)
    noise = start.p1 * start.p2 * (e / end.sine) * (1 + square / (start.sine * both))
    whole = 2 * math.pi * delta * _both_positive(start) + start.cosine * (rest + noise)
    return geometric_mean(q1, q2) / (2 * math.pi) * (whole + (1 - delta) * _arc_less_sine(turned))


def _arc_less_sine(s: Array) -> Array:
    """Return arcsin s − s by its series, to 1e-16 s² for |s| <= 0.1."""
    total, square = 0 * s, s * s
    for k in range(7, 0, -1):
        total = total * square + math.comb(2 * k, k) / (4**k * (2 * k + 1))
    return total * square * s


# `ClosedForm.turn` of the duals where it is known.
TURNS: dict[Callable[..., Array], Dual] = {
    erf: _erf_turn,
    sin: _sin_turn,
    cos: _cos_turn,
    exp: _exp_turn,
    quadratic: _quadratic_turn,
    gelu: _gelu_turn,
}
# And `ClosedForm.line`, but of what is even or odd itself.
LINES: dict[Callable[..., Array], float] = {gelu: 0.5}
