"""The infinite-width limit: K∞ and the covariance of the outputs."""

import math
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Num

from ntk_eoc.activations import AbsLinear, Activation
from ntk_eoc.checks import require, require_count
from ntk_eoc.eoc import Init, at_edge, scale_invariant
from ntk_eoc.gaussian import ActivationError, Integral
from ntk_eoc.kernels.angles import Angles, norms
from ntk_eoc.kernels.angular_recursion import angular_recursion
from ntk_eoc.kernels.dual_recursion import Limit, covariance, dual_recursion
from ntk_eoc.kernels.kappa_table import (
    SMALLEST_DELTA,
    SMALLEST_DEPTH,
    KappaTable,
    kappa_table,
    table_defect,
    table_distance,
)
from ntk_eoc.kernels.matrix import paired
from ntk_eoc.kernels.pair_tiles import PairFunction, map_pairs
from ntk_eoc.precision import geometric_mean, is_traced

Edge = Init | Activation | str  # an activation stands for its edge of chaos


def _gain(init: Init, act: AbsLinear) -> float:
    """σ_w² E[φ'²], the growth of signal and gradient a layer; 1 at the edge, to the last bit."""
    gain = init.sigma_w**2 * act.second_moment
    return 1.0 if math.isclose(gain, 1, rel_tol=8 * sys.float_info.epsilon) else gain


def _growth(init: Init, act: AbsLinear, depth: int) -> float:
    """The growth over all layers; ∞ where it leaves float64."""
    try:
        return _gain(init, act) ** (depth - 1)
    except OverflowError:
        return math.inf


@lru_cache(maxsize=256)
def _ntk_by_recursion(delta_phi: float, depth: int) -> PairFunction:
    """K∞ of a pair; cached, since compiled programs are found by the function's identity."""

    def ntk(scale: Array, angles: Angles) -> Array:
        defect = angular_recursion(delta_phi, angles.delta, angles.eta, depth).defect
        return scale * angles.size * (depth - defect)

    return ntk


@lru_cache(maxsize=256)
def _nngp_by_recursion(delta_phi: float, depth: int) -> PairFunction:
    """The covariance of a pair; cached for the same reason."""

    def nngp(scale: Array, angles: Angles) -> Array:
        last = angular_recursion(delta_phi, angles.delta, angles.eta, depth)
        cosine = jnp.where(last.delta <= last.eta, 1 - last.delta, last.eta - 1)
        return scale * angles.size * cosine

    return nngp


def _ntk_by_table(params: tuple[Array, KappaTable], angles: Angles) -> Array:
    scale, table = params
    least, acute = jnp.minimum(angles.delta, angles.eta), angles.delta <= angles.eta
    return scale * angles.size * (table.depth - table_defect(table, least, acute))


def _nngp_by_table(params: tuple[Array, KappaTable], angles: Angles) -> Array:
    scale, table = params
    least, acute = jnp.minimum(angles.delta, angles.eta), angles.delta <= angles.eta
    return scale * angles.size * (1 - 2 * table_distance(table, least, acute) ** 2)


def _of_angles(
    init: Init,
    depth: int,
    dtype: Any,
    by_recursion: Callable[[float, int], PairFunction],
    by_table: PairFunction,
) -> tuple[PairFunction, Any]:
    """K∞ or the covariance of a scale-invariant φ as a function of angles, and its parameters.

    One compiled program serves all depths from `SMALLEST_DEPTH` on, since the table is an argument.
    """
    act = scale_invariant(init)
    assert act is not None
    scale = jnp.asarray(_growth(init, act, depth), dtype)
    if depth < SMALLEST_DEPTH or act.delta < SMALLEST_DELTA:
        delta_phi = act.delta if depth > 1 else 0.0  # one layer does not know φ
        return by_recursion(delta_phi, depth), scale
    table = kappa_table(act.delta, depth, str(jnp.dtype(dtype)))
    return by_table, (scale, KappaTable(*(jnp.asarray(a) for a in table)))


def ntk_of_angles(init: Init, depth: int, dtype: Any) -> tuple[PairFunction, Any]:
    """Return K∞ of a scale-invariant φ as f(params, angles), and the params."""
    return _of_angles(init, depth, dtype, _ntk_by_recursion, _ntk_by_table)


def _checked(
    init: Edge, x1: ArrayLike, x2: ArrayLike, depth: int
) -> tuple[Init, Array, Array, int]:
    """The arguments of all limits, in their types."""
    depth, (x1, x2) = require_count("depth", depth), paired(x1, x2)
    for name, x in (("x1", x1), ("x2", x2)):
        # By NumPy: inside of a trace jnp would make a tracer of what is concrete, too.
        require(is_traced(x) or not np.isnan(np.asarray(x)).any(), name, "without NaN", "NaN")
    return at_edge(init), x1, x2, depth


def _switch(init: Init, x1: Array, x2: Array) -> AbstractContextManager[Any]:
    """Float64 for as long as concrete inputs are integrated; a trace cannot be switched."""
    if (init.activation.closed_form is not None) or is_traced(x1, x2):
        return nullcontext()
    return jax.enable_x64(True)


class _Judged(NamedTuple):
    """The values, NaN where the relative error is too large, and of all: what is wrong."""

    value: Array
    finite: Array
    good: Array
    worst: Array


@jax.jit
def _judged(q1: Array, q2: Array, of: Integral, allowed: ArrayLike) -> _Judged:
    scale = jnp.abs(of.value) + geometric_mean(q1[:, None], q2[None, :])
    finite = jnp.isfinite(of.value)
    good = finite & ((of.error <= allowed * scale) | jnp.isinf(allowed))
    worst = jnp.max(jnp.where(good, 0.0, of.error / scale))
    return _Judged(jnp.where(good, of.value, jnp.nan), finite.all(), good.all(), worst)


def _tolerable(init: Init, limit: Limit, of: Integral, dtype: Any) -> Array:
    """What was computed, if its error is tolerable; else an error, or NaN under a trace.

    Closed forms are right to some roundings a layer, and pass where they do not overflow.
    """
    allowed = math.sqrt(float(jnp.finfo(dtype).eps))
    if init.activation.closed_form is not None:
        allowed = math.inf
    found = _judged(limit.q1, limit.q2, of, allowed)
    if is_traced(found.good):
        return found.value.astype(dtype)
    if not bool(found.finite):
        raise ActivationError(
            f"the limit kernel of {init.activation.name!r} must stay in the range of "
            f"{of.value.dtype} in every layer, but does not here: scale the inputs, `sigma_w` or "
            f"`sigma_b`."
        )
    if not bool(found.good):
        raise ActivationError(
            f"the limit kernel of {init.activation.name!r} cannot be computed here: its relative "
            f"error may be {float(found.worst):.1e} (`ntk_infinite_with_error` returns both)."
        )
    return found.value.astype(dtype)


def ntk_infinite(
    init: Edge, x1: Num[ArrayLike, "n1 d"], x2: Num[ArrayLike, "n2 d"], depth: int
) -> Float[Array, "n1 n2"]:
    """Return the limit kernel K∞(x, x'); the network's K(θ) tends to K∞ ⊗ I_k.

    For φ(s) = a s + b|s| without biases, K∞ = (‖x‖‖x'‖/d) κ_l(θ), with κ_1 = ρ_0,
    κ_{k+1} = ϱ'(ρ_{k−1}) κ_k + ρ_k, ρ_k = ϱ(ρ_{k−1}) and ϱ(ρ) = ρ + Δ_φ (2/π)(sin θ − θ cos θ); off
    the edge, times (σ_w² E[φ'²])^{l−1}. The defect l − κ_l has a relative error of at most 1e-12 in
    float64 and 2e-5 in float32, at any angle. The cost does not depend on the depth: κ_l is
    tabulated once (`kappa_table`); two layers or Δ_φ < 1e-6 go by the recursion.

    Any other activation, and any with biases, goes layer by layer (`dual_recursion`), by closed
    forms where φ has them. Else by quadrature, in float64 whatever the inputs', and an error
    estimate is carried along. Where that exceeds √ε (|K∞| + √(q q')), q and q' the last variances
    and ε that of the inputs' dtype, concrete inputs raise, and traced ones give NaN.

    Differentiable; where x and x' are parallel the kernel has a cone, and its derivative is that of
    the norms. At large norms rounding counts ε √q in a derivative by quadrature, or where x and x'
    are parallel and of unequal norms, ε float64's. For x2 the same object as x1 the result is
    symmetric to the last bit.

    Args:
        init: Initialisation, or an activation or its name for its edge of chaos.
        x1: Inputs, any norms.
        x2: Inputs, any norms.
        depth: Number l of weight layers.

    Returns:
        K∞ in the inputs' dtype, at least float32. At the edge of a scale-invariant activation its
        diagonal is l ‖x‖²/d.

    Raises:
        ValueError: If depth < 1, the inputs do not fit together or hold NaN.
        ActivationError: If φ cannot be integrated, or not well enough; the message says why.
        RuntimeError: If φ needs quadrature, the inputs are traced and x64 is off.

    Source: [S]; `docs/theory.md` §2.
    """
    init, x1, x2, depth = _checked(init, x1, x2, depth)
    act = scale_invariant(init)
    if act is None:
        with _switch(init, x1, x2):
            limit = dual_recursion(init, x1, x2, depth)
            found = Integral(limit.pairs.kernel, limit.pairs.error)
            return _tolerable(init, limit, found, x1.dtype)
    f, params = ntk_of_angles(init, depth, x1.dtype)
    return map_pairs(f, x1 is x2, params, x1, x2)


def nngp_infinite(
    init: Edge, x1: Num[ArrayLike, "n1 d"], x2: Num[ArrayLike, "n2 d"], depth: int
) -> Float[Array, "n1 n2"]:
    """Return the limit covariance E[z_l z_l'] of one output; (‖x‖‖x'‖/d) ρ_{l−1} at the edge of
    a scale-invariant activation.

    Arguments, errors and source as in `ntk_infinite`.
    """
    init, x1, x2, depth = _checked(init, x1, x2, depth)
    act = scale_invariant(init)
    if act is None:
        with _switch(init, x1, x2):
            limit = dual_recursion(init, x1, x2, depth)
            return _tolerable(init, limit, Integral(*covariance(limit)), x1.dtype)
    f, params = _of_angles(init, depth, x1.dtype, _nngp_by_recursion, _nngp_by_table)
    return map_pairs(f, x1 is x2, params, x1, x2)


def ntk_infinite_with_error(
    init: Edge, x1: Num[ArrayLike, "n1 d"], x2: Num[ArrayLike, "n2 d"], depth: int
) -> Integral:
    """Return the limit kernel and an estimate of its absolute error, entry by entry.

    The error of every layer's integrals, the difference of two rules or what a series leaves out,
    is carried through the layers after it. It is of the size of the true error or larger, up to
    some orders; it does not turn large values into NaN, or raise, as `ntk_infinite` does. Of a
    closed form both are NaN where a variance leaves the dtype's range.

    Arguments and errors as in `ntk_infinite`.
    """
    init, x1, x2, depth = _checked(init, x1, x2, depth)
    act = scale_invariant(init)
    if act is None:
        with _switch(init, x1, x2):
            pairs = dual_recursion(init, x1, x2, depth).pairs
            value = pairs.kernel.astype(x1.dtype)
            rounded = jnp.abs(pairs.kernel - value)
            return Integral(value, (pairs.error + rounded).astype(x1.dtype))
    f, params = ntk_of_angles(init, depth, x1.dtype)
    kernel = map_pairs(f, x1 is x2, params, x1, x2)
    norm1, norm2 = (norms(x) / math.sqrt(x.shape[1]) for x in (x1, x2))
    most = depth * _growth(init, act, depth) * norm1[:, None] * norm2[None, :]
    relative = 1e-12 if x1.dtype == jnp.float64 else 2e-5
    rounding = 4 * float(jnp.finfo(x1.dtype).eps) * most
    return Integral(kernel, relative * jnp.abs(most - kernel) + rounding)
