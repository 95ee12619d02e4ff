"""The infinite-width limit for any activation, with biases, at any input norms, off the edge too.

With q_k = E[z_k²], the covariance and the NTK of layer k + 1 are

    Σ_{k+1} = σ_w² E[φ(z_k) φ(z_k')] + σ_b²,      K_{k+1} = σ_w² E[φ'(z_k) φ'(z_k')] K_k + Σ_{k+1}.

The angle is carried as 1 − ρ and 1 + ρ, by √(Σ Σ') (1 − ρ) = σ_w² ½E[(φ − φ')²] − ½(√Σ − √Σ')²,
a sum without cancellation where the variances agree (`docs/theory.md` §2, §5).
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ntk_eoc.activations import AbsLinear, Activation
from ntk_eoc.eoc import Init
from ntk_eoc.gaussian import Panels, table
from ntk_eoc.gaussian.integrals import is_traced, panels_for, require_float64
from ntk_eoc.gaussian.rules import FINE, FINE_1D, bivariate, moments, over_triples
from ntk_eoc.kernels.angles import all_angles, safe_sqrt

SAME = 1e-12  # variances this close, relatively, share a table
_SMALL_ANGLE = 0.1  # below it a closed form's 1 − ρ is integrated, not subtracted


class Pairs(NamedTuple):
    """All pairs after k layers.

    Attributes:
        q1: Variances of the first inputs, [n1].
        q2: Variances of the second, [n2].
        delta: 1 − ρ, [n1, n2].
        eta: 1 + ρ, [n1, n2].
        kernel: K_k, [n1, n2].
    """

    q1: Float[Array, "n1"]
    q2: Float[Array, "n2"]
    delta: Float[Array, "n1 n2"]
    eta: Float[Array, "n1 n2"]
    kernel: Float[Array, "n1 n2"]


Engine = Callable[[Array, Array, Array, Array], tuple[Array, Array]]


def _parallel_gap(act: Activation, q1: Array, q2: Array) -> Array:
    """½E[(φ − φ')²] of a closed form at angle 0."""
    assert act.dual is not None
    zero = 0 * q1
    return (act.dual(q1, q1, zero) + act.dual(q2, q2, zero)) / 2 - act.dual(q1, q2, zero)


def _closed_turn(act: Activation, q1: Array, q2: Array, delta: Array, eta: Array) -> Array:
    """What the angle adds to that: by Price's theorem if it is small, else by subtraction."""
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


def _by_closed_form(act: Activation) -> Engine:
    def engine(q1: Array, q2: Array, delta: Array, eta: Array) -> tuple[Array, Array]:
        assert act.dual_prime is not None
        turn = _closed_turn(act, q1, q2, delta, eta)
        # Of a s + b|s| the rest is taken care of, without subtraction, by `_radial`.
        start = 0.0 if isinstance(act, AbsLinear) else _parallel_gap(act, q1, q2)
        return start + turn, act.dual_prime(q1, q2, delta)

    return engine


def _by_quadrature(act: Activation, panels: Panels) -> Engine:
    def integrands(a: Array, b: Array) -> tuple[Array, Array]:
        return 0.5 * (act(a) - act(b)) ** 2, act.prime(a) * act.prime(b)

    def size(s: Array) -> Array:
        return jnp.abs(act(s)) + jnp.abs(act.prime(s))

    def engine(q1: Array, q2: Array, delta: Array, eta: Array) -> tuple[Array, Array]:
        flat = (x.ravel() for x in (q1, q2, delta, eta))
        gap, slope = over_triples(partial(bivariate, integrands, size, panels, FINE), 8, *flat)
        return gap.reshape(delta.shape), slope.reshape(delta.shape)

    return engine


def _by_table(known: table.DualTable, folded: bool) -> Engine:
    def engine(q1: Array, q2: Array, delta: Array, eta: Array) -> tuple[Array, Array]:
        return table.look_up(known, folded, delta, eta)

    return engine


def _radial(init: Init, q1: Array, q2: Array) -> Array:
    """σ_w² ½E[(φ − φ')²] − ½(√Σ − √Σ')² at angle 0, of a s + b|s|; 0 without biases."""
    assert isinstance(init.activation, AbsLinear)
    w2, b2 = init.sigma_w**2 * init.activation.second_moment, init.sigma_b**2
    root1, root2 = jnp.sqrt(q1), jnp.sqrt(q2)
    next1, next2 = w2 * q1 + b2, w2 * q2 + b2
    product = jnp.sqrt(next1 * next2)
    more = b2 + b2 * (w2 * (q1 + q2) + b2) / (product + w2 * root1 * root2)
    return w2 * (root1 - root2) ** 2 * more / (next1 + next2 + 2 * product)


def _square(act: Activation, panels: Panels | None, q: Array) -> Array:
    """E[φ(√q z)²]."""
    if panels is None:
        assert act.dual is not None
        return act.dual(q, q, 0 * q)
    return jax.vmap(lambda v: moments(act, act.prime, panels, FINE_1D, v)[0])(q)


def _step(init: Init, engine: Engine, parity: int, panels: Panels | None, pairs: Pairs) -> Pairs:
    """One layer. An odd or even φ is asked at acute angles only."""
    w2, b2 = init.sigma_w**2, init.sigma_b**2
    shape = pairs.delta.shape
    square1, square2 = (_square(init.activation, panels, q) for q in (pairs.q1, pairs.q2))
    q1, q2 = (jnp.broadcast_to(x, shape) for x in (pairs.q1[:, None], pairs.q2[None, :]))
    beyond = (pairs.delta > pairs.eta) & (parity != 0)
    delta = jnp.where(beyond, pairs.eta, pairs.delta)
    gap, slope = engine(q1, q2, delta, jnp.where(beyond, pairs.delta, pairs.eta))
    if isinstance(init.activation, AbsLinear):
        mean = jnp.sqrt(square1[:, None] * square2[None, :]) - gap
    else:
        mean = (square1[:, None] + square2[None, :]) / 2 - gap
    mirrored = beyond & (parity == -1)
    slope = jnp.where(beyond & (parity == 1), -slope, slope)
    sigma = w2 * jnp.where(mirrored, -mean, mean) + b2
    next1, next2 = w2 * square1 + b2, w2 * square2 + b2
    root1, root2 = jnp.sqrt(next1)[:, None], jnp.sqrt(next2)[None, :]
    if isinstance(init.activation, AbsLinear):
        parallel = _radial(init, q1, q2)
    else:
        parallel = -(((next1[:, None] - next2[None, :]) / (root1 + root2)) ** 2) / 2
    near = jnp.clip((w2 * gap + parallel) / (root1 * root2), 0.0, 2.0)
    if init.sigma_b:
        near = jnp.where(mirrored, jnp.clip(1 - sigma / (root1 * root2), 0.0, 2.0), near)
        mirrored = jnp.zeros_like(mirrored)
    return Pairs(
        next1,
        next2,
        jnp.where(mirrored, 2 - near, near),
        jnp.where(mirrored, near, 2 - near),
        w2 * slope * pairs.kernel + sigma,
    )


def _start(x1: Array, x2: Array) -> Pairs:
    delta, eta, size = all_angles(x1, x2)
    q1, q2 = (jnp.maximum(jnp.sum(x * x, 1) / x.shape[1], 1e-30) for x in (x1, x2))
    cosine = jnp.where(delta <= eta, 1 - delta, eta - 1)
    return Pairs(q1, q2, delta, eta, size * cosine)


def _repeat(step: Callable[[Pairs], Pairs], pairs: Pairs, count: int | Array) -> Pairs:
    """`count` layers: differentiable if it is static, compiled once for all counts if it is not."""
    if isinstance(count, int):
        return lax.scan(lambda p, _: (step(p), None), pairs, None, length=count)[0]
    return lax.fori_loop(0, count, lambda _, p: step(p), pairs)


def _by_pair(init: Init, panels: Panels | None, pairs: Pairs, count: int | Array) -> Pairs:
    """`count` layers by closed form, or by quadrature of every pair."""
    act = init.activation
    engine = _by_closed_form(act) if panels is None else _by_quadrature(act, panels)
    parity = 0 if panels is None else panels.parity
    return _repeat(partial(_step, init, engine, parity, panels), pairs, count)


_by_pair_static = jax.jit(_by_pair, static_argnames=("panels", "count"))
_by_pair_dynamic = jax.jit(_by_pair, static_argnames="panels")


def _layers_by_pair(init: Init, panels: Panels | None, pairs: Pairs, count: int) -> Pairs:
    if is_traced(*pairs):
        return _by_pair_static(init, panels, pairs, count)
    return _by_pair_dynamic(init, panels, pairs, jnp.asarray(count))


@partial(jax.jit, static_argnames="panels")
def _layers_by_table(
    init: Init, panels: Panels, known: table.DualTable, pairs: Pairs, count: Array
) -> Pairs:
    """`count` layers at the variance of a table."""
    engine = _by_table(known, panels.parity != 0)
    return _repeat(partial(_step, init, engine, panels.parity, panels), pairs, count)


_start_jit = jax.jit(_start)
_squares = partial(jax.jit, static_argnums=(0, 1))(_square)


def _variances(init: Init, panels: Panels, q: float, count: int) -> list[tuple[float, int]]:
    """The variances of `count` layers from q on, and how many layers in turn share each."""
    runs: list[tuple[float, int]] = []
    for done in range(count):
        if runs and abs(q - runs[-1][0]) <= SAME * q:
            if runs[-1][1] >= 2:  # it has come to rest
                runs[-1] = (runs[-1][0], count - done + runs[-1][1])
                break
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((q, 1))
        square = float(_squares(init.activation, panels, jnp.full(1, q))[0])
        q = init.sigma_w**2 * square + init.sigma_b**2
    return runs


def _share_variance(pairs: Pairs) -> bool:
    q = np.concatenate([np.asarray(pairs.q1), np.asarray(pairs.q2)])
    return bool(np.ptp(q) <= SAME * q[0])


def dual_recursion(
    init: Init, x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"], depth: int
) -> Pairs:
    """Return what all pairs are after `depth` layers: variances, angles and limit kernel.

    Closed forms are used where the activation has them. Otherwise inputs of one norm share a table
    of the dual by angle, made anew only when the variance moves; inputs of several norms, and
    traced inputs, whose norms are unknown, are integrated pair by pair. Differentiable.

    Raises:
        ActivationError: If φ cannot be integrated; the message says why and what to do.
        RuntimeError: If x64 is off and φ has no closed form.
    """
    act = init.activation
    if act.dual is not None and act.dual_prime is not None:
        return _layers_by_pair(init, None, _start_jit(x1, x2), depth - 1)
    require_float64()
    pairs = _start_jit(x1.astype(jnp.float64), x2.astype(jnp.float64))
    if is_traced(*pairs):
        return _layers_by_pair(init, panels_for(act, init.q, 25.0), pairs, depth - 1)
    panels = panels_for(act, 4 * jnp.max(pairs.q1), 4 * jnp.max(pairs.q2), 4 * init.q)
    if not _share_variance(pairs):
        return _layers_by_pair(init, panels, pairs, depth - 1)
    for q, count in _variances(init, panels, float(pairs.q1[0]), depth - 1):
        known = table.build(act, panels, jnp.asarray(q, jnp.float64))
        pairs = _layers_by_table(init, panels, known, pairs, jnp.asarray(count))
    return pairs


def covariance(pairs: Pairs) -> Float[Array, "n1 n2"]:
    """Return Σ_k = √(q₁ q₂) ρ of all pairs."""
    rho = jnp.where(pairs.delta <= pairs.eta, 1 - pairs.delta, pairs.eta - 1)
    return jnp.sqrt(pairs.q1[:, None] * pairs.q2[None, :]) * rho
