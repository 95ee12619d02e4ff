"""T = E[φ̂φ̂'] and D = E[φ̂'φ̂''] of a pair, with their derivatives by (log q₁, log q₂, δ), δ = 1 − ρ.

In these coordinates nothing cancels at small angles, where a kinked φ has derivatives by δ that
grow beyond all bounds. By automatic differentiation of a closed form; without one by a power series
in ρ (`dual_series`), and for the pairs of a kinked φ that it does not reach by differences
(`dual_differences`). By Price's theorem ∂T/∂s = D: what δ does to T is known from D.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ntk_eoc import gaussian
from ntk_eoc.activations import Activation, ClosedForm
from ntk_eoc.eoc import Init
from ntk_eoc.finite_width.dual_differences import Logarithmic, by_differences, dual_values
from ntk_eoc.finite_width.dual_series import Parts, expanded, mean_values, pair_series, served

# 1 − ρ below this is an angle below 2⁻²⁰: parallel, as in `kernels.grams`.
PARALLEL = 2.0**-41
BLOCK = 2**14


class Expansion(NamedTuple):
    """A function of (log q₁, log q₂, δ) at every pair, to second order.

    Attributes:
        value: [...].
        gradient: [..., 3].
        hessian: [..., 3, 3].
    """

    value: Float[np.ndarray, "*pairs"]
    gradient: Float[np.ndarray, "*pairs 3"]
    hessian: Float[np.ndarray, "*pairs 3 3"]


def mean_products(
    act: Activation,
    q1: Float[np.ndarray, "t"],
    q2: Float[np.ndarray, "t"],
    delta: Float[np.ndarray, "t"],
) -> Float[np.ndarray, "t"]:
    """Return E[φφ'] of pairs."""
    if act.dual is not None:
        return np.asarray(gaussian.dual(act, q1, q2, delta).value)
    pairs = pair_series(act, q1, q2, delta)
    left, found = ~served(pairs), mean_values(pairs)
    if left.any():
        found[left] = dual_values(gaussian.dual, act, q1[left], q2[left], delta[left])
    return found


@partial(jax.jit, static_argnums=0)
def _differentiated(
    form: ClosedForm, points: Float[Array, "t 3"], smooth: Float[Array, "t 3"]
) -> tuple[tuple[Array, ...], ...]:
    """Values at the points, derivatives at the points moved to where φ has them."""

    def both(y: Array) -> Array:
        q1, q2 = jnp.exp(y[0]), jnp.exp(y[1])
        return jnp.stack([form.dual(q1, q2, y[2]), form.dual_prime(q1, q2, y[2])])

    first = jax.jacfwd(both)
    value = jax.vmap(both)(points)
    gradient, hessian = (jax.vmap(f)(smooth) for f in (first, jax.jacfwd(first)))
    return (
        (value[:, 0], gradient[:, 0, :2], hessian[:, 0, :2, :2]),
        (value[:, 1], gradient[:, 1], hessian[:, 1]),
    )


def _by_closed_form(form: ClosedForm, points: np.ndarray) -> Logarithmic:
    # δ stays off 0 and 2, where a kinked φ has no derivative by it; those are set to 0 below.
    smooth = points.copy()
    smooth[:, 2] = np.clip(points[:, 2], 1e-24, 2 - 1e-15)
    dual, slope = _differentiated(form, jnp.asarray(points), jnp.asarray(smooth))
    return Logarithmic(
        tuple(np.asarray(a) for a in dual),  # type: ignore[arg-type]
        tuple(np.asarray(a) for a in slope),  # type: ignore[arg-type]
    )


def expand_duals(
    init: Init,
    q1: Float[np.ndarray, "*pairs"],
    q2: Float[np.ndarray, "*pairs"],
    delta: Float[np.ndarray, "*pairs"],
) -> tuple[Expansion, Expansion]:
    """Return T = σ_w² E[φφ'] and D = σ_w² E[φ'φ''] of pairs, to second order."""
    act, shape = init.activation, delta.shape
    if delta.size == 0:
        empty = Expansion(np.zeros(shape), np.zeros((*shape, 3)), np.zeros((*shape, 3, 3)))
        return empty, empty
    q1, q2, delta = (a.ravel() for a in np.broadcast_arrays(q1, q2, delta))
    if act.closed_form is not None:
        both = _in_blocks(act, q1, q2, delta)
    else:
        pairs = pair_series(act, q1, q2, delta)
        left = ~served(pairs)
        dual, slope = expanded(pairs)
        both = _by_angle(dual, q1, q2, delta), _by_angle(slope, q1, q2, delta)
        if left.any():
            rest = _in_blocks(act, q1[left], q2[left], delta[left])
            for parts, others in zip(both, rest, strict=True):
                for part, other in zip(parts, others, strict=True):
                    part[left] = other
    w2 = init.sigma_w**2
    return tuple(  # type: ignore[return-value]
        Expansion(*(w2 * a.reshape(*shape, *a.shape[1:]) for a in parts)) for parts in both
    )


def _in_blocks(
    act: Activation, q1: np.ndarray, q2: np.ndarray, delta: np.ndarray
) -> tuple[Parts, Parts]:
    """`_by_logarithms` of few pairs at a time, whose temporaries stay in the processor's cache."""
    found = [
        _by_logarithms(act, *(a[start : start + BLOCK] for a in (q1, q2, delta)))
        for start in range(0, len(delta), BLOCK)
    ]
    return tuple(  # type: ignore[return-value]
        tuple(np.concatenate(part) for part in zip(*side, strict=True))
        for side in zip(*found, strict=True)
    )


def _by_logarithms(
    act: Activation, q1: np.ndarray, q2: np.ndarray, delta: np.ndarray
) -> tuple[Parts, Parts]:
    """T and D of φ where a closed form or differences give them.

    Parallel pairs stay parallel: there the derivatives of D by the angle, infinite for a kinked φ,
    multiply nothing and are 0.
    """
    points = np.stack([np.log(q1), np.log(q2), delta], axis=1)
    form = act.closed_form
    found = by_differences(act, points) if form is None else _by_closed_form(form, points)
    (t, t_log, t_logs), (d, d_y, d_yy) = found
    parallel = np.minimum(delta, 2 - delta) < PARALLEL
    d_y, d_yy = d_y.copy(), d_yy.copy()
    d_y[parallel, 2] = d_yy[parallel, 2, :] = d_yy[parallel, :, 2] = 0
    root = np.sqrt(q1 * q2)
    t_y, t_yy = np.zeros_like(d_y), np.zeros_like(d_yy)
    t_y[:, :2], t_y[:, 2] = t_log, -root * d
    t_yy[:, :2, :2], t_yy[:, 2, 2] = t_logs, -root * d_y[:, 2]
    t_yy[:, :2, 2] = t_yy[:, 2, :2] = -root[:, None] * (d[:, None] / 2 + d_y[:, :2])
    return (t, t_y, t_yy), (d, d_y, d_yy)


def _by_angle(parts: Parts, q1: np.ndarray, q2: np.ndarray, delta: np.ndarray) -> Parts:
    """From derivatives by (q₁, q₂, s) to those by (log q₁, log q₂, δ), s = √(q₁q₂) (1 − δ)."""
    f, f_q, f_qq = parts
    root, s = np.sqrt(q1 * q2), np.sqrt(q1 * q2) * (1 - delta)
    chain = np.zeros((f.size, 3, 3))  # ∂(q₁, q₂, s)
    chain[:, 0, 0], chain[:, 1, 1] = q1, q2
    chain[:, 2, 0], chain[:, 2, 1], chain[:, 2, 2] = s / 2, s / 2, -root
    bend = np.zeros((f.size, 3, 3))  # ∂²s
    bend[:, :2, :2] = s[:, None, None] / 4
    bend[:, :2, 2] = bend[:, 2, :2] = -root[:, None] / 2
    hessian = np.einsum("tai,tab,tbj->tij", chain, f_qq, chain) + f_q[:, 2, None, None] * bend
    hessian[:, 0, 0] += f_q[:, 0] * q1
    hessian[:, 1, 1] += f_q[:, 1] * q2
    return f, np.einsum("ta,tai->ti", f_q, chain), hessian
