"""Composite Gauss–Legendre rules for Gaussian integrals in one and two variables.

E[h(√q₁ u, √q₂ v)], u and v standard normal with correlation ρ = 1 − δ, is computed in the
variables (u, w), v = ρu + s w, s = sin θ: an outer rule in u, an inner one in w. The inner
panels are cut where √q₂ v is a kink; the outer ones where √q₁ u is a kink, and around
ρ u = kink/√q₂ on the scale s, on which the inner integral varies there. Cuts at kinks move with
(q, δ) and are differentiated, so that derivatives are right across jumps too.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import stop_gradient
from jaxtyping import Array, Float

from ntk_eoc.gaussian.evaluate import TAIL
from ntk_eoc.gaussian.panels import Panels

Scalar = Float[Array, ""]
Integrand = Callable[[Array, Array], tuple[Array, ...]]

ROUNDING = 4e-15  # of the sums, relative to the scale of an integral
FINE, COARSE = 13, 12  # nodes a panel; their difference is the error estimate
FINE_1D, COARSE_1D = 20, 16  # the same of integrals in one variable, which cost nothing
_legendre = cache(np.polynomial.legendre.leggauss)
_TRANSITION = np.array([-7.5, -2.5, 2.5, 7.5])  # cuts around a smoothed kink, in its width


def _weight(z: Any) -> Any:
    exp = np.exp if isinstance(z, np.ndarray) else jnp.exp  # a constant needs no program
    return exp(-0.5 * z * z) / np.sqrt(2 * np.pi)


def nodes(edges: Array, n: int) -> tuple[Array, Array]:
    """Return nodes and weights [p, n, *s] of the Gaussian measure on panels of edges [p + 1, *s].

    The node axes come first: XLA on a CPU vectorises a sum over leading axes only.
    """
    edges = jax.lax.optimization_barrier(edges)
    return nodes_between(edges[:-1], edges[1:], *_legendre(n))


def nodes_between(start: Any, end: Any, x: np.ndarray, w: np.ndarray) -> tuple[Any, Any]:
    """Return the same of panels of ends [p, *s], by a rule x, w [n] on (−1, 1); NumPy of NumPy."""
    half, middle = (end - start)[:, None] / 2, (end + start)[:, None] / 2
    shape = (1, x.size) + (1,) * (half.ndim - 2)
    z = middle + half * x.reshape(shape).astype(half.dtype)
    return z, half * w.reshape(shape).astype(half.dtype) * _weight(z)


def _merge(a: Float[Array, "a u"], b: Float[Array, "b u"]) -> Float[Array, "a+b u"]:
    """Merge two ascending columns, elementwise.

    The j-th smallest of both is min over i of max(a_i, b_{j−i}): no sort of thousands of short
    columns, which XLA does badly.
    """
    count, infinity = a.shape[0] + b.shape[0], np.full(a.shape, np.inf, a.dtype)
    # padded[k] is the k-th smallest of b; there are zero at −∞, and none beyond.
    padded = jnp.concatenate([-infinity, b, infinity])
    merged = padded[a.shape[0] :][:count]  # i = 0, all from b
    for i in range(1, a.shape[0] + 1):
        rest = padded[a.shape[0] - i :][:count]
        earlier = np.arange(1, count + 1)[:, None] < i  # fewer in all than from a alone
        merged = jnp.minimum(merged, jnp.where(earlier, jnp.inf, jnp.maximum(a[i - 1 : i], rest)))
    return merged


def mass_range(
    size: Callable[[Array], Array], root: Scalar, other: Scalar | None = None
) -> tuple[Scalar, Scalar]:
    """Return the range of z that holds all but 1e-15 of size(√q z)² and of the weight.

    And of size(√q z) size(±√q' z), with `other` = √q': what a product of fully dependent factors
    holds, which a growing φ has further out than the square of its tamer factor.
    """
    z, step = np.linspace(-TAIL, TAIL, 305, retstep=True)
    points, weight = jnp.asarray(z, root.dtype), _weight(z).astype(root.dtype)
    y = size(root * points)
    mass = jnp.where(jnp.isfinite(y), (weight * y) * y, 0.0)  # y² alone may overflow
    # A narrow φ may have no mass at any of the points.
    share = mass / jnp.maximum(jnp.sum(mass), 1e-300) + float(step) * weight
    if other is not None:
        across = jnp.maximum(jnp.abs(size(other * points)), jnp.abs(size(-other * points)))
        mass = jnp.where(jnp.isfinite(y * across), (weight * jnp.abs(y)) * across, 0.0)
        share = share + mass / jnp.maximum(jnp.sum(mass), 1e-300)
    kept = share > 1e-15
    low, high = jnp.where(kept, points, TAIL), jnp.where(kept, points, -TAIL)
    return stop_gradient(jnp.min(low) - float(step)), stop_gradient(jnp.max(high) + float(step))


def _edges(
    gauss: float, low: Scalar, high: Scalar, cuts: Float[Array, "cuts"]
) -> Float[Array, "edges"]:
    """Return equal panels of [low, high] that resolve the weight, cut once more at `cuts`."""
    equal = jnp.asarray(np.linspace(0, 1, math.ceil(gauss) + 1), low.dtype)
    return jnp.sort(jnp.concatenate([low + (high - low) * equal, jnp.clip(cuts, low, high)]))


def _moving(panels: Panels, root: Scalar, parts: slice = slice(None)) -> Float[Array, "cuts"]:
    """Return the breaks over √q; only those at kinks are differentiated."""
    breaks = np.array(panels.breaks)[parts]
    cuts = jnp.asarray(breaks, root.dtype) / root
    return jnp.where(np.isin(breaks, panels.kinks), cuts, stop_gradient(cuts))


def mean(f: Callable[[Array], Array], panels: Panels, n: int, q: Scalar) -> Scalar:
    """Return E[f(√q z)]."""
    root = jnp.sqrt(q)
    edges = _edges(panels.gauss, *mass_range(f, root), _moving(panels, root))
    z, weight = nodes(edges, n)
    return jnp.sum(weight * f(root * z))


def moments(
    f: Callable[[Array], Array], prime: Callable[[Array], Array], panels: Panels, n: int, q: Scalar
) -> tuple[Scalar, Scalar, Scalar]:
    """Return E[f(√q z)²], E[f'(√q z)²] and the derivative of the first by q, E[f f' z]/√q."""
    root = jnp.sqrt(q)
    edges = _edges(panels.gauss, *mass_range(f, root), _moving(panels, root))
    z, weight = nodes(edges, n)
    value, slope = f(root * z), prime(root * z)
    return (
        jnp.sum((weight * value) * value),
        jnp.sum((weight * slope) * slope),
        jnp.sum((weight * value) * slope * z) / root,
    )


def _outer_edges(
    size: Callable[[Array], Array],
    panels: Panels,
    root1: Scalar,
    root2: Scalar,
    rho: Scalar,
    s: Scalar,
) -> tuple[Float[Array, "edges"], float]:
    """Return the cuts of the outer variable, and the part of the integral that they hold.

    Products and squares of differences of an odd or even φ are even in (u, w): there u > 0 is
    half of the integral.
    """
    steady = jnp.where(jnp.abs(rho) > 1e-3, rho, jnp.where(rho < 0, -1e-3, 1e-3))
    smoothed = [(c, t, extent) for c, extent in panels.sharp for t in _TRANSITION]
    low, high = mass_range(size, root1, root2)
    side, part = slice(None), 1.0
    if panels.parity:
        # The cuts are symmetric, so those on the right are there for −ρ too.
        steady, low, part = jnp.abs(steady), jnp.zeros_like(low), 0.5
        side = slice(int(np.searchsorted(panels.breaks, 0.0, "right")), None)
        smoothed = [(c, t, e) for c, t, e in smoothed if c > 0 or (c == 0 and t > 0)]
    centre, width, own = (jnp.asarray(x, root1.dtype) for x in np.reshape(smoothed, (-1, 3)).T)
    # What is smooth on a scale of its own spreads by both scales; a kink's cuts move with s alone.
    own = own / _TRANSITION[-1] / root2
    spread = jnp.where(own > 0, stop_gradient(jnp.hypot(own, s)), s)
    cuts = [
        _moving(panels, root1, side),
        stop_gradient(_moving(panels, root2, side) / steady),
        (centre / root2 + width * spread) / steady,
    ]
    return _edges(part * panels.gauss, low, high, jnp.concatenate(cuts)), part


def _inner_edges(
    panels: Panels, reach: tuple[Scalar, Scalar], root: Scalar, centre: Float[Array, "u"], s: Scalar
) -> Float[Array, "edges u"]:
    """Return the cuts in w of φ(√q (centre + s w)), for every centre."""
    low, high = reach
    share = jnp.asarray(np.linspace(0, 1, panels.gauss + 1)[:, None], centre.dtype)
    edges = jnp.broadcast_to(low + (high - low) * share, (panels.gauss + 1, centre.size))
    if not panels.breaks:
        return edges
    cuts = _moving(panels, root)[:, None]
    inner = jnp.clip((cuts - centre[None]) / jnp.maximum(s, 1e-30), low, high)
    moving = np.isin(panels.breaks, panels.kinks)[:, None]
    return _merge(jnp.where(moving, inner, stop_gradient(inner)), edges)


def bivariate(
    h: Integrand,
    size: Callable[[Array], Array],
    panels: Panels,
    n: int,
    q1: Scalar,
    q2: Scalar,
    delta: Scalar,
    eta: Scalar,
) -> tuple[Scalar, ...]:
    """Return the means of h(√q₁ u, √q₂ v), a tuple of integrands evaluated at the same nodes.

    Args:
        h: (y₁, y₂) -> integrands; the arguments broadcast, y₁ [1, 1, U] and y₂ [1, n, U]. Even
            in (y₁, y₂) together if φ has a parity.
        size: An envelope of what is integrated, for the range.
        panels: The cuts of everything in h.
        n: Nodes a panel, FINE or COARSE.
        q1: Variance of the first argument.
        q2: Variance of the second.
        delta: 1 − ρ.
        eta: 1 + ρ, which need not be computed from delta where that would lose digits.
    """
    root1, root2 = jnp.sqrt(q1), jnp.sqrt(q2)
    rho, s = cosine_and_sine(delta, eta)
    edges, part = _outer_edges(size, panels, root1, root2, rho, s)
    u, outer = (x.ravel() for x in nodes(edges, n))
    inner = _inner_edges(panels, mass_range(size, root2), root2, rho * u, s)

    def panel(
        totals: tuple[Array, ...], ends: tuple[Array, Array]
    ) -> tuple[tuple[Array, ...], None]:
        # One panel of all inner integrals at a time: XLA would compute whole arrays of nodes anew
        # for each of their uses.
        w, weight = nodes(jnp.stack(ends), n)
        values = h(root1 * u[None, None], root2 * ((rho * u)[None, None] + s * w))
        sums = (jnp.sum(weight * value, (0, 1)) for value in values)
        return tuple(t + x for t, x in zip(totals, sums, strict=True)), None

    count = len(jax.eval_shape(h, u[None, None], u[None, None]))
    zeros = (jnp.zeros_like(u),) * count
    means = jax.lax.scan(panel, zeros, (inner[:-1], inner[1:]))[0]
    return tuple(jnp.sum((outer / part) * x) for x in means)


def cosine_and_sine(delta: Scalar, eta: Scalar) -> tuple[Scalar, Scalar]:
    """Return ρ and √(1 − ρ²) of 1 − ρ and 1 + ρ, differentiable at ρ = ±1 too."""
    rho = jnp.where(delta < 1, 1 - delta, eta - 1)
    square = delta * eta
    return rho, jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def over_triples(
    f: Callable[..., tuple[Array, ...]], batch: int, *arguments: Float[Array, "t"]
) -> tuple[Array, ...]:
    """Map f over triples, `batch` at a time: bounded memory, whatever their number."""
    return jax.lax.map(lambda xs: f(*xs), arguments, batch_size=batch)
