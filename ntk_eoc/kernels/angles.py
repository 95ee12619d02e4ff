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


def dot(x: Float[Array, "d"], y: Float[Array, "d"]) -> Float[Array, ""]:
    """⟨x, y⟩ by a pairwise sum: as accurate in float32 as the inputs are."""
    return jnp.sum(x * y)


def safe_sqrt(s: Float[Array, "..."]) -> Float[Array, "..."]:
    """√s with derivative 0, not ∞, at s = 0."""
    positive = s > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, s, jnp.ones_like(s))), 0 * s)


def _sine(h: Array, x: Array, xx: Array, yy: Array) -> Array:
    """|sin θ|: the part of h = x ∓ y orthogonal to x, over ‖y‖."""
    safe = jnp.where(xx > 0, xx, jnp.ones_like(xx))
    t = h - x * (dot(x, h) / safe)
    tt = dot(t, t)
    noise = (PARALLEL_UNITS * jnp.finfo(h.dtype).eps) ** 2 * dot(h, h)
    sine = safe_sqrt(jnp.where(tt > noise, tt, 0 * tt))
    return sine / safe_sqrt(jnp.where(yy > 0, yy, jnp.ones_like(yy)))


def pair_angles(x: Float[Array, "d"], y: Float[Array, "d"]) -> Angles:
    """Return the angle of one pair; symmetric in x and y to the last bit.

    With h = x − y (x + y beyond a right angle) and t = h − x⟨x, h⟩/‖x‖², sin θ = ‖t‖/‖y‖ and
    1 − |cos θ| = sin²θ/(1 + |cos θ|). Parallel, antiparallel and zero inputs are exact, and there
    the derivative of the angle, which does not exist, is 0. A zero input is at angle 0 to all.
    """
    xx, yy, xy = dot(x, x), dot(y, y), dot(x, y)
    size = safe_sqrt(xx * yy)
    nonzero = size > 0
    cosine = jnp.clip(xy / jnp.where(nonzero, size, jnp.ones_like(size)), -1, 1)
    near = cosine >= 0
    h = jnp.where(near, x - y, x + y)
    # The mean of both projections: neither x nor y is preferred.
    sine = (_sine(h, x, xx, yy) + _sine(h, y, yy, xx)) / 2
    least = jnp.where(nonzero, sine * sine / (1 + jnp.abs(cosine)), 0 * size)
    return Angles(
        delta=jnp.where(near, least, 2 - least),
        eta=jnp.where(near, 2 - least, least),
        size=size / x.shape[0],
    )


def all_angles(x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"]) -> Angles:
    """Return the angles of all pairs, [n1, n2] each, one row at a time: memory O(n1 n2 + n2 d)."""
    return lax.map(lambda x: jax.vmap(lambda y: pair_angles(x, y))(x2), x1)
