"""One layer of the infinite-width limit of all pairs, with what its errors do to the next.

With q_k = E[z_k²], the covariance and the NTK of layer k + 1 are

    Σ_{k+1} = σ_w² E[φ(z_k) φ(z_k')] + σ_b²,      K_{k+1} = σ_w² E[φ'(z_k) φ'(z_k')] K_k + Σ_{k+1}.

The angle is carried as 1 − ρ and 1 + ρ, by a sum of squares (`docs/theory.md` §2, §5): with
r = √q_{k+1}, 1 − ρ_{k+1} = ½E[(σ_w φ/r − σ_w φ'/r')²] + ½ (σ_b/r − σ_b/r')².
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ntk_eoc.activations import Activation
from ntk_eoc.gaussian import ActivationError
from ntk_eoc.kernels.angles import safe_sqrt
from ntk_eoc.precision import geometric_mean

_EPSILON = 4e-16
_LARGEST = 1e305  # a variance that does not overflow
_ROUGH_ANGLES = (1.0, 0.3, 0.1, 0.03)


class Spread(NamedTuple):
    """The standard deviations of a layer, σ_w and σ_b, as arrays: no program is compiled anew.

    Attributes:
        w2: σ_w².
        b2: σ_b².
    """

    w2: Float[Array, ""]
    b2: Float[Array, ""]


class Side(NamedTuple):
    """The rows, or the columns, of a tile of pairs; shapes broadcast with it.

    Attributes:
        q: q_k.
        image: q_{k+1}.
        slope: E[φ'(z_k)²].
        error: Relative error of q_k.
        image_error: Relative error of q_{k+1}.
    """

    q: Float[Any, "..."]
    image: Float[Any, "..."]
    slope: Float[Any, "..."]
    error: Float[Any, "..."]
    image_error: Float[Any, "..."]


class Pairs(NamedTuple):
    """All pairs after k layers, [n1, n2] each.

    Attributes:
        delta: 1 − ρ_k.
        eta: 1 + ρ_k.
        spread: Estimate of the error of the smaller of the two.
        kernel: K_k.
        error: Estimate of its error.
    """

    delta: Float[Any, "a b"]
    eta: Float[Any, "a b"]
    spread: Float[Any, "a b"]
    kernel: Float[Any, "a b"]
    error: Float[Any, "a b"]


class Limit(NamedTuple):
    """All pairs after the last layer.

    Attributes:
        q1: Variances of the first inputs, [n1].
        q2: Variances of the second, [n2].
        error1: Their relative errors, [n1].
        error2: And theirs, [n2].
        pairs: Angles, kernel and errors, [n1, n2] each.
    """

    q1: Float[Array, "n1"]
    q2: Float[Array, "n2"]
    error1: Float[Array, "n1"]
    error2: Float[Array, "n2"]
    pairs: Pairs


class Duals(NamedTuple):
    """What a layer's integrals give of a tile of pairs; of an even or odd φ, at acute angles.

    Attributes:
        near: 1 − ρ_{k+1}.
        near_error: Estimate of its error.
        slope: E[φ'(z_k) φ'(z_k')].
        slope_error: Estimate of its error.
    """

    near: Float[Array, "a b"]
    near_error: Float[Array, "a b"]
    slope: Float[Array, "a b"]
    slope_error: Float[Array, "a b"]


def smallest(dtype: Any) -> float:
    """Return the variance of a layer below which the terms of its integrals underflow."""
    return float(jnp.finfo(dtype).tiny / jnp.finfo(dtype).eps)


def require_range(act: Activation, q: np.ndarray, least: float) -> None:
    """Refuse variances that float64 does not hold."""
    wrong = q[~((q >= least) & (q <= _LARGEST))]
    if wrong.size:
        raise ActivationError(
            f"the variances of every layer of {act.name!r} must lie in [{least:.2g}, "
            f"{_LARGEST:g}] to be integrated, got {wrong[0]:.3g}: scale the inputs, `sigma_w` or "
            f"`sigma_b`."
        )


def acute(parity: int, pairs: Pairs) -> tuple[Array, Array, Array]:
    """Return where an even or odd φ is asked at the supplement, and 1 − ρ and 1 + ρ there."""
    beyond = (pairs.delta > pairs.eta) & (parity != 0)
    delta = jnp.where(beyond, pairs.eta, pairs.delta)
    return beyond, delta, jnp.where(beyond, pairs.delta, pairs.eta)


def bias_gap(of: Spread, one: Side, two: Side) -> Array:
    """Return ½ (σ_b/r − σ_b/r')²."""
    return of.b2 * (lax.rsqrt(one.image) - lax.rsqrt(two.image)) ** 2 / 2


def _angle_error(least: Array, spread: Array) -> Array:
    """The error of θ from that of 1 − |cos θ|."""
    both = jnp.sqrt(2 * (least + spread)) + jnp.sqrt(2 * least)
    return 2 * spread / jnp.where(both > 0, both, 1.0)


def advance(
    of: Spread, parity: int, rough: Array, one: Side, two: Side, duals: Duals, pairs: Pairs
) -> Pairs:
    """Return the pairs after one more layer.

    Args:
        of: σ_w² and σ_b².
        parity: Of φ.
        rough: Of φ' at these variances, see `roughness`.
        one: The rows.
        two: The columns.
        duals: The layer's integrals.
        pairs: Before.
    """
    beyond, angle, _ = acute(parity, pairs)
    mirrored = beyond & (parity == -1)
    root = geometric_mean(one.image, two.image)
    scale = geometric_mean(one.slope, two.slope)
    drift, drifted = one.error + two.error, one.image_error + two.image_error
    slope = jnp.where(beyond & (parity == 1), -duals.slope, duals.slope)
    least = jnp.minimum(pairs.delta, pairs.eta)
    # Of a power series in ρ with positive coefficients the slope is at most f(1)/(e |ρ log ρ|).
    relative = pairs.spread / jnp.where(least > 0, least, 1.0)
    relative = jnp.where((least > 0) | (pairs.spread == 0), relative, 1.0)
    moved = scale * jnp.minimum(rough * _angle_error(least, pairs.spread), relative)
    slope_error = duals.slope_error + moved + (1 + rough) * scale * drift
    # Of equal inputs a constant: the rounding of its derivative would count √q times.
    equal = (angle == 0) & (jnp.abs(one.q / two.q - 1) <= 4 * jnp.finfo(angle.dtype).eps)
    near = jnp.where(equal, 0.0, jnp.clip(duals.near, 0.0, 2.0))
    price = of.w2 * geometric_mean(one.q, two.q) / root * (jnp.abs(slope) + moved)
    # Errors of q move unit vectors of which near is half the squared distance.
    apart = near + jnp.minimum(safe_sqrt(2 * near), jnp.abs(jnp.log(one.q / two.q)))
    spread = duals.near_error + price * pairs.spread
    spread = spread + near * (drifted + _EPSILON) + apart * drift + drift**2 + drifted**2
    opposite = jnp.minimum(near + 2 * of.b2 / root, 2.0)
    delta = jnp.where(mirrored, 2 - opposite, near)
    eta = jnp.where(mirrored, opposite, 2 - near)
    sigma = root * jnp.where(delta <= eta, 1 - delta, eta - 1)
    grown = of.w2 * slope * pairs.kernel
    error = of.w2 * (jnp.abs(slope) * pairs.error)
    error = error + of.w2 * slope_error * (jnp.abs(pairs.kernel) + pairs.error)
    error = error + root * (spread + drifted) + _EPSILON * (jnp.abs(grown) + root)
    return Pairs(delta, eta, lax.stop_gradient(spread), grown + sigma, lax.stop_gradient(error))


@partial(jax.jit, static_argnums=0)
def roughness(act: Activation, q: Float[Array, "n"]) -> Float[Array, ""]:
    """Return the largest ½E[(φ'(√q u) − φ'(√q v))²]/(θ E[φ'²]) over angles θ and q_min … q_max.

    By how much E[φ'φ'] moves at most with the angle; the crude rule is good to some percent.
    """
    least, most = (jnp.log(jnp.maximum(f(q), 1e-30)) for f in (jnp.min, jnp.max))
    root = jnp.exp((least + (most - least) * jnp.linspace(0.0, 1.0, 4, dtype=q.dtype)) / 2)
    u = np.linspace(-8, 8, 257)
    w, weight = np.polynomial.hermite_e.hermegauss(8)
    measure = jnp.asarray(np.exp(-(u**2) / 2)[None, :, None] * weight, q.dtype)
    slope = act.prime(root[:, None] * jnp.asarray(u[None], q.dtype))
    square = jnp.sum(measure * slope[:, :, None] ** 2, (1, 2))
    worst = jnp.zeros((), q.dtype)
    for theta in _ROUGH_ANGLES:
        v = np.cos(theta) * u[:, None] + np.sin(theta) * w
        other = act.prime(root[:, None, None] * jnp.asarray(v[None], q.dtype))
        gap = jnp.sum(measure * (slope[:, :, None] - other) ** 2, (1, 2)) / 2
        worst = jnp.maximum(worst, jnp.max(gap / jnp.maximum(square, 1e-300)) / theta)
    return lax.stop_gradient(worst)
