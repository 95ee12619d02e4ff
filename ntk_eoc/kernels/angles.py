"""The angle between two inputs, without the cancellation of 1 − cos θ near 0 and π."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

# A projection is resolved to rounding of the vector it came from; below this many units the two
# inputs are parallel as far as their arithmetic can tell.
PARALLEL_UNITS = 8


class Angles(NamedTuple):
    """Angle and size of every pair, [n1, n2] each.

    Attributes:
        delta: 1 − cos θ in [0, 2], relatively accurate down to θ = 0.
        eta: 1 + cos θ in [0, 2], relatively accurate down to θ = π.
        size: ‖x‖‖x'‖/d, the norm factor of a scale-invariant kernel.
    """

    delta: Float[Array, "..."]
    eta: Float[Array, "..."]
    size: Float[Array, "..."]


class Row(NamedTuple):
    """One input over a power of two near its norm, so that no square leaves the range of floats.

    Attributes:
        x: The input over `scale`, without rounding.
        square: The squared norm of that, between 1/2 and 2; 0 for the input 0.
        scale: The power of two.
    """

    x: Float[Array, "*n d"]
    square: Float[Array, "*n"]
    scale: Float[Array, "*n"]


def dot(x: Float[Array, "d"], y: Float[Array, "d"]) -> Float[Array, ""]:
    """⟨x, y⟩ by a pairwise sum: as accurate in float32 as the inputs are."""
    return jnp.sum(x * y)


def safe_sqrt(s: Float[Array, "..."]) -> Float[Array, "..."]:
    """√s with derivative 0, not ∞, at s = 0."""
    positive = s > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, s, jnp.ones_like(s))), 0 * s)


def _rounded(s: Array, bits: int) -> Array:
    """S to that many bits after its first, a constant to derivatives."""
    exponent = jnp.finfo(s.dtype).nexp
    return lax.stop_gradient(lax.reduce_precision(lax.stop_gradient(s), exponent, bits))


def _power_of_two(s: Array) -> Array:
    """A power of two near s > 0, for division; 1 for s = 0."""
    power = _rounded(s, 0)
    return jnp.where((power > 0) & jnp.isfinite(power), power, jnp.ones_like(power))


def scaled(x: Float[Array, "d"]) -> Row:
    """Return x over a power of two near its norm."""
    largest = _power_of_two(jnp.max(jnp.abs(x)))
    x = x / largest
    norm = _power_of_two(jnp.sqrt(lax.stop_gradient(dot(x, x))))
    x = x / norm
    return Row(x, dot(x, x), largest * norm)


def norms(x: Float[Array, "n d"]) -> Float[Array, "n"]:
    """Return ‖x‖ of every input, whatever its size."""
    rows = jax.vmap(scaled)(x)
    return safe_sqrt(rows.square) * rows.scale


def _sine(p: Row, q: Row, xy: Array, hh: Array) -> Array:
    """|sin θ|: the part of q orthogonal to p, over the norm of q.

    A multiple of p near that part's rest is taken off first, exactly: c and both halves of p have
    so few bits that their products are not rounded. What is left is small where θ is, and the
    projection then keeps its digits; it does not depend on c.
    """
    x, xx = p.x, jnp.where(p.square > 0, p.square, jnp.ones_like(p.square))
    bits = (jnp.finfo(x.dtype).nmant - 1) // 2
    c, high = _rounded(xy / xx, bits), _rounded(x, bits)
    h = (q.x - c * high) - c * (x - high)
    t = h - x * (dot(x, h) / xx)
    tt = dot(t, t)
    noise = (PARALLEL_UNITS * jnp.finfo(x.dtype).eps) ** 2 * hh
    sine = safe_sqrt(jnp.where(tt > noise, tt, 0 * tt))
    return sine / safe_sqrt(jnp.where(q.square > 0, q.square, jnp.ones_like(q.square)))


def pair_angles(p: Row, q: Row) -> Angles:
    """Return the angle of one pair; symmetric in both up to rounding.

    With t the part of y orthogonal to x, sin θ = ‖t‖/‖y‖ and 1 − |cos θ| = sin²θ/(1 + |cos θ|), at
    any ratio of the norms. Parallel, antiparallel and zero inputs are exact, and there the
    derivative of the angle, which does not exist, is 0. A zero input is at angle 0 to all.
    """
    xy, size = dot(p.x, q.x), safe_sqrt(p.square * q.square)
    nonzero = size > 0
    cosine = jnp.clip(xy / jnp.where(nonzero, size, jnp.ones_like(size)), -1, 1)
    near = cosine >= 0
    h = lax.stop_gradient(jnp.where(near, p.x - q.x, p.x + q.x))
    # The mean of both projections: neither input is preferred.
    sine = (_sine(p, q, xy, dot(h, h)) + _sine(q, p, xy, dot(h, h))) / 2
    least = jnp.where(nonzero, sine * sine / (1 + jnp.abs(cosine)), 0 * size)
    return Angles(
        delta=jnp.where(near, least, 2 - least),
        eta=jnp.where(near, 2 - least, least),
        size=size / p.x.shape[0] * p.scale * q.scale,
    )


def all_angles(x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"]) -> Angles:
    """Return the angles of all pairs, [n1, n2] each, one row at a time: memory O(n1 n2 + n2 d)."""
    rows, columns = jax.vmap(scaled)(x1), jax.vmap(scaled)(x2)
    return lax.map(lambda p: jax.vmap(lambda q: pair_angles(p, q))(columns), rows)
