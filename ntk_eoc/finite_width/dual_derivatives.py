"""T = E[φ̂φ̂'] and D = E[φ̂'φ̂''] of a pair, with first and second derivatives by (q₁, q₂, s).

They are taken in (log q₁, log q₂, δ), δ = 1 − ρ, where nothing cancels, by automatic
differentiation of a closed form, by differences of the quadrature otherwise. By Price's theorem
∂T/∂s = D: what δ does to T is known from D.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc import gaussian
from ntk_eoc.activations import Activation
from ntk_eoc.eoc import Init

# 1 − ρ below this is an angle below 2⁻²⁰: parallel, as in `kernels.grams`.
PARALLEL = 2.0**-41
_STEP = 2e-3  # of the logarithms in a difference; the error of a derivative is about its square
_GROUPS = 64  # so many triples of one (q₁, q₂) are worth a table of their own


class Expansion(NamedTuple):
    """A function of (q₁, q₂, s) at every pair, to second order.

    Attributes:
        value: [...].
        gradient: [..., 3].
        hessian: [..., 3, 3].
    """

    value: Float[np.ndarray, "*pairs"]
    gradient: Float[np.ndarray, "*pairs 3"]
    hessian: Float[np.ndarray, "*pairs 3 3"]


Face = Callable[..., gaussian.Integral]


def dual_values(
    face: Face, act: Activation, q1: np.ndarray, q2: np.ndarray, delta: np.ndarray
) -> np.ndarray:
    """Return `gaussian.dual` or `gaussian.dual_prime` of arrays of one shape.

    Where few pairs of variances serve many angles, each is asked on its own: a table serves it.
    """
    flat = np.stack([a.ravel() for a in np.broadcast_arrays(q1, q2, delta)])
    closed = act.dual is not None and act.dual_prime is not None
    if closed:
        return np.asarray(face(act, *flat).value).reshape(delta.shape)
    keys = np.array([float(f"{q:.12e}") for q in flat[:2].ravel()]).reshape(2, -1)
    kinds, which = np.unique(keys, axis=1, return_inverse=True)
    if kinds.shape[1] * _GROUPS > flat.shape[1]:
        return np.asarray(face(act, *flat).value).reshape(delta.shape)
    values = np.empty(flat.shape[1])
    for kind, (a, b) in enumerate(kinds.T):
        here = which.ravel() == kind
        values[here] = np.asarray(face(act, a, b, flat[2, here]).value)
    return values.reshape(delta.shape)


class _Logarithmic(NamedTuple):
    """T by (log q₁, log q₂) and D by these and δ, of the bare φ: value, gradient, Hessian."""

    dual: tuple[np.ndarray, np.ndarray, np.ndarray]  # [t], [t, 2], [t, 2, 2]
    slope: tuple[np.ndarray, np.ndarray, np.ndarray]  # [t], [t, 3], [t, 3, 3]


@partial(jax.jit, static_argnums=0)
def _differentiated(
    act: Activation, points: Float[Array, "t 3"], smooth: Float[Array, "t 3"]
) -> tuple[tuple[Array, ...], ...]:
    """Values at the points, derivatives at the points moved to where φ has them."""

    def both(y: Array) -> Array:
        assert act.dual is not None
        assert act.dual_prime is not None
        q1, q2 = jnp.exp(y[0]), jnp.exp(y[1])
        return jnp.stack([act.dual(q1, q2, y[2]), act.dual_prime(q1, q2, y[2])])

    first = jax.jacfwd(both)
    value = jax.vmap(both)(points)
    gradient, hessian = (jax.vmap(f)(smooth) for f in (first, jax.jacfwd(first)))
    return (
        (value[:, 0], gradient[:, 0, :2], hessian[:, 0, :2, :2]),
        (value[:, 1], gradient[:, 1], hessian[:, 1]),
    )


def _by_closed_form(act: Activation, points: np.ndarray) -> _Logarithmic:
    # δ stays off 0 and 2, where a kinked φ has no derivative by it; those are set to 0 below.
    smooth = points.copy()
    smooth[:, 2] = np.clip(points[:, 2], 1e-24, 2 - 1e-15)
    dual, slope = _differentiated(act, jnp.asarray(points), jnp.asarray(smooth))
    return _Logarithmic(
        tuple(np.asarray(a) for a in dual),  # type: ignore[arg-type]
        tuple(np.asarray(a) for a in slope),  # type: ignore[arg-type]
    )


def _by_differences(act: Activation, points: np.ndarray) -> _Logarithmic:
    """Central differences in (log q₁, log q₂, log δ), or log(2 − δ) beyond a right angle."""
    far = points[:, 2] > 1
    least = np.where(far, 2 - points[:, 2], points[:, 2])

    def at(face: Face, shifts: np.ndarray) -> np.ndarray:
        """The face at every point shifted by every row of `shifts`, [t, rows]."""
        q1, q2 = (np.exp(points[:, None, i] + shifts[None, :, i]) for i in (0, 1))
        moved = least[:, None] * np.exp(shifts[None, :, 2])
        return dual_values(face, act, q1, q2, np.where(far[:, None], 2 - moved, moved))

    value, gradient, hessian = _differences(partial(at, gaussian.dual), 2)
    slope, by_log, by_logs = _differences(partial(at, gaussian.dual_prime), 3)
    # From log δ to δ: d/dδ = (1/δ) d/dlog δ, with the sign of d(2 − δ)/dδ beyond a right angle.
    scale = np.where(far, -1.0, 1.0) / np.where(least > 0, least, 1.0)
    by_logs[:, 2, 2] -= by_log[:, 2]
    by_log[:, 2] *= scale
    by_logs[:, 2, :] *= scale[:, None]
    by_logs[:, :, 2] *= scale[:, None]
    return _Logarithmic((value, gradient, hessian), (slope, by_log, by_logs))


def _differences(
    at: Callable[[np.ndarray], np.ndarray], dims: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Value, gradient and Hessian by the first `dims` coordinates, of one batch of points."""
    unit = np.eye(3)[:dims] * _STEP
    pairs = [(i, j) for i in range(dims) for j in range(i)]
    both = np.array([unit[i] + unit[j] for i, j in pairs])
    values = at(np.concatenate([np.zeros((1, 3)), unit, -unit, both, -both]))
    base, rest = values[:, 0], values[:, 1:]
    up, down = rest[:, :dims], rest[:, dims : 2 * dims]
    plus, minus = np.split(rest[:, 2 * dims :], 2, axis=1)
    hessian = np.zeros((len(base), dims, dims))
    second = up + down - 2 * base[:, None]
    for i in range(dims):
        hessian[:, i, i] = second[:, i]
    for number, (i, j) in enumerate(pairs):
        mixed = plus[:, number] + minus[:, number] - 2 * base - second[:, i] - second[:, j]
        hessian[:, i, j] = hessian[:, j, i] = mixed / 2
    return base, (up - down) / (2 * _STEP), hessian / _STEP**2


def expand_duals(
    init: Init,
    q1: Float[np.ndarray, "*pairs"],
    q2: Float[np.ndarray, "*pairs"],
    delta: Float[np.ndarray, "*pairs"],
) -> tuple[Expansion, Expansion]:
    """Return T = σ_w² E[φφ'] and D = σ_w² E[φ'φ''] of pairs, to second order in (q₁, q₂, s).

    Parallel pairs stay parallel: there the derivatives of D by the angle, infinite for a kinked φ,
    multiply nothing and are 0.
    """
    act, shape = init.activation, delta.shape
    if delta.size == 0:
        empty = Expansion(np.zeros(shape), np.zeros((*shape, 3)), np.zeros((*shape, 3, 3)))
        return empty, empty
    q1, q2, delta = (a.ravel() for a in np.broadcast_arrays(q1, q2, delta))
    points = np.stack([np.log(q1), np.log(q2), delta], axis=1)
    closed = act.dual is not None and act.dual_prime is not None
    found = (_by_closed_form if closed else _by_differences)(act, points)
    (t, t_log, t_logs), (d, d_y, d_yy) = found
    parallel = np.minimum(delta, 2 - delta) < PARALLEL
    d_y, d_yy = d_y.copy(), d_yy.copy()
    d_y[parallel, 2] = d_yy[parallel, 2, :] = d_yy[parallel, :, 2] = 0
    root = np.sqrt(q1 * q2)
    t_y, t_yy = np.zeros_like(d_y), np.zeros_like(d_yy)
    t_y[:, :2], t_y[:, 2] = t_log, -root * d
    t_yy[:, :2, :2], t_yy[:, 2, 2] = t_logs, -root * d_y[:, 2]
    t_yy[:, :2, 2] = t_yy[:, 2, :2] = -root[:, None] * (d[:, None] / 2 + d_y[:, :2])
    w2 = init.sigma_w**2
    return tuple(  # type: ignore[return-value]
        _by_entries(q1, q2, 1 - delta, shape, w2 * f, w2 * f_y, w2 * f_yy)
        for f, f_y, f_yy in ((t, t_y, t_yy), (d, d_y, d_yy))
    )


def _by_entries(
    q1: np.ndarray,
    q2: np.ndarray,
    rho: np.ndarray,
    shape: tuple[int, ...],
    f: np.ndarray,
    f_y: np.ndarray,
    f_yy: np.ndarray,
) -> Expansion:
    """From derivatives by y = (log q₁, log q₂, δ) to those by (q₁, q₂, s), δ = 1 − s/√(q₁q₂)."""
    root, count = np.sqrt(q1 * q2), f.size
    chain = np.zeros((count, 3, 3))  # ∂y/∂(q₁, q₂, s)
    chain[:, 0, 0], chain[:, 1, 1] = 1 / q1, 1 / q2
    chain[:, 2, 0], chain[:, 2, 1], chain[:, 2, 2] = rho / (2 * q1), rho / (2 * q2), -1 / root
    bend = np.zeros((count, 3, 3))  # ∂²δ
    bend[:, 0, 0], bend[:, 1, 1] = -0.75 * rho / q1**2, -0.75 * rho / q2**2
    bend[:, 0, 1] = bend[:, 1, 0] = -0.25 * rho / (q1 * q2)
    bend[:, 0, 2] = bend[:, 2, 0] = 0.5 / (q1 * root)
    bend[:, 1, 2] = bend[:, 2, 1] = 0.5 / (q2 * root)
    hessian = np.einsum("tai,tab,tbj->tij", chain, f_yy, chain) + f_y[:, 2, None, None] * bend
    hessian[:, 0, 0] -= f_y[:, 0] / q1**2
    hessian[:, 1, 1] -= f_y[:, 1] / q2**2
    gradient = np.einsum("ta,tai->ti", f_y, chain)
    return Expansion(f.reshape(shape), gradient.reshape(*shape, 3), hessian.reshape(*shape, 3, 3))
