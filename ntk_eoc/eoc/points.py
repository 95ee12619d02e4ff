"""Single points of the edge of chaos: by σ_b, by q, or by χ_∥ = 1."""

import itertools
import math

import numpy as np

from ntk_eoc.activations import Activation, as_activation
from ntk_eoc.checks import require, require_number
from ntk_eoc.eoc.classes import is_linear, is_marginal, is_scale_invariant
from ntk_eoc.eoc.curve import EdgeCurve, edge_curve, far_curve
from ntk_eoc.eoc.init import Init
from ntk_eoc.eoc.moments import COUNT, activation_moments
from ntk_eoc.gaussian import ActivationError, plan


def edge_of_chaos(
    act: Activation | str, *, sigma_b: float | None = None, q: float | None = None
) -> Init:
    """Return the initialisation at the edge of chaos of `act`.

    For φ(s) = a s + b|s|: σ_w² = 1/(a² + b²), σ_b = 0, at every input norm; q = 1. Otherwise the
    edge is a curve: give `sigma_b` or `q`, or take the point with χ_∥ = 1 where it is unique.
    Computed in float64, to about 1e-13.

    Args:
        act: φ, or its name.
        sigma_b: Standard deviation of the biases of the point wanted.
        q: Fixed point of the variance map of the point wanted.

    Raises:
        ActivationError: If φ cannot be integrated, or is linear.
        TypeError: If `act` is a plain function, whose kinks are unknown, or no activation at all.
        ValueError: If there is no such point, or more than one; the message says what there is.
    """
    act = as_activation(act)
    require(sigma_b is None or q is None, "sigma_b, q", "one of the two, not both", (sigma_b, q))
    if act.second_moment is not None:
        if sigma_b:
            raise ValueError(
                f"`sigma_b` must be 0 for the scale-invariant {act.name!r}, got {sigma_b!r}."
            )
        variance = 1.0 if q is None else require_number("q", q)
        return Init(act, sigma_w=1 / math.sqrt(act.second_moment), q=variance)
    if is_linear(act):
        raise ActivationError(
            f"activation {act.name!r} must not be linear: a deep linear network has the kernel of "
            f"a shallow one. Take activation('identity') if that is what you want."
        )
    if q is not None:
        q = require_number("q", q)
        require(q > 0, "q", "> 0", q)
        return _point(act, q)
    curve = edge_curve(act)
    if is_scale_invariant(act, curve):
        require(not sigma_b, "sigma_b", f"0 for the scale-invariant {act.name!r}", sigma_b)
        return _point(act, 1.0)
    if sigma_b is not None:
        return _with_bias(act, curve, require_number("sigma_b", sigma_b, least=0))
    points = special_points(act, curve)
    if len(points) != 1:
        found = ", ".join(f"q = {p.q:.4g} (σ_b = {p.sigma_b:.4g})" for p in points)
        if points:
            why = f"several points with χ_∥ = 1: {found}"
        elif is_marginal(curve):
            why = "χ_∥ = 1 at every one of its points"
        else:
            why = "no point with χ_∥ = 1 and q > 0"
        raise ValueError(f"The edge of chaos of {act.name!r} has {why}. {_describe(act, curve)}")
    return points[0]


def at_edge(init: Init | Activation | str) -> Init:
    """Return an initialisation as it is, and that of an activation or a name: `edge_of_chaos`."""
    return init if isinstance(init, Init) else edge_of_chaos(init)


def _with_bias(act: Activation, curve: EdgeCurve, sigma_b: float) -> Init:
    """The point of the curve with this σ_b; the stable one (|χ_∥| < 1) where there are more."""
    variances = _found(act, curve, "sigma_b2", sigma_b**2)
    found = [(q, float(edge_curve(act, np.array([q])).chi_parallel[0])) for q in variances]
    stable = [q for q, chi in found if abs(chi) < 1] if len(found) > 1 else variances
    if len(stable) != 1:
        listed = ", ".join(f"q = {q:.6g} (χ_∥ = {chi:.4g})" for q, chi in found)
        why = f"more than one: {listed}; choose by q=" if found else "none"
        raise ValueError(
            f"`sigma_b` must belong to one point of the edge of chaos of {act.name!r}, but to "
            f"{sigma_b:g} there is {why}. {_describe(act, curve)}"
        )
    return Init(act, float(edge_curve(act, np.array(stable)).sigma_w[0]), sigma_b, stable[0])


def special_points(act: Activation, curve: EdgeCurve | None = None) -> list[Init]:
    """Return the points of the edge with χ_∥ = 1 too, q > 0 and σ_b² >= 0.

    For a scale-invariant φ that is the whole edge; its point q = 1 is returned.
    """
    if is_scale_invariant(act, curve):
        return [_point(act, 1.0)]
    curve = curve or edge_curve(act)
    variances = _found(act, curve, "chi_parallel", 1.0)
    return [_point(act, q) for q in variances if edge_curve(act, np.array([q])).exists[0]]


def _found(act: Activation, curve: EdgeCurve, of: str, level: float) -> list[float]:
    """The variances of `_roots` on the curve; only where it has none, those beyond it."""
    found = _roots(act, curve, of, level)
    far = None if found else far_curve(act)
    return found if far is None else _roots(act, far, of, level)


def _roots(act: Activation, curve: EdgeCurve, of: str, level: float) -> list[float]:
    """The variances where `sigma_b2` or `chi_parallel` crosses a level, to rounding.

    The curve brackets them; each bracket is cut in 63, again and again.
    """
    panels = plan(act, float(curve.q[-1]))
    # A crossing is one of values whose distance from the level is more than rounding.
    noise = curve.error if of == "sigma_b2" else curve.chi_error
    gap = getattr(curve, of) - level
    sign = np.where(np.abs(gap) <= noise, 0, np.sign(gap))
    roots = []
    seen = np.flatnonzero(sign)
    for i, j in itertools.pairwise(seen):
        if sign[i] == sign[j]:
            continue
        low, high = curve.q[i], curve.q[j]
        for _ in range(12):
            q = np.linspace(low, high, COUNT)
            m = activation_moments(act, q, panels)
            values = q - m.square / m.slope if of == "sigma_b2" else m.growth / m.slope
            k = int(np.flatnonzero(np.sign(values - level) == sign[i])[-1])
            if k + 1 == COUNT or high - low < 1e-15 * high:
                break
            low, high = q[k], q[k + 1]
        roots.append(float((low + high) / 2))
    return roots


def _point(act: Activation, q: float) -> Init:
    """The point of the edge with fixed point q."""
    curve = edge_curve(act, np.array([q]))
    sigma_b2 = float(curve.sigma_b2[0])
    if not math.isfinite(sigma_b2):
        raise ValueError(
            f"`q` must be a variance at which {act.name!r} has a slope, but at q = {q:g} "
            f"E[φ'(√q z)²] is 0 to rounding: take a larger q."
        )
    if sigma_b2 < -float(curve.error[0]):
        raise ValueError(
            f"`q` must be a variance with σ_b² >= 0, but at q = {q:g} the edge of chaos of "
            f"{act.name!r} has σ_b² = {sigma_b2:.4g}. {_describe(act, edge_curve(act))}"
        )
    small = abs(sigma_b2) <= float(curve.error[0])
    return Init(act, float(curve.sigma_w[0]), 0.0 if small else math.sqrt(sigma_b2), q)


def _describe(act: Activation, curve: EdgeCurve) -> str:
    """One or two sentences on where the edge of `act` lies, for an error message."""
    there = curve.exists
    if not there.any():
        return (
            f"{act.name!r} has no edge of chaos with σ_b² >= 0 "
            f"(searched q from {curve.q[0]:g} to {curve.q[-1]:g}); shift or scale the activation."
        )
    q, sigma_b = curve.q[there], np.sqrt(np.maximum(curve.sigma_b2[there], 0))
    return (
        f"Its edge has q from {q[0]:.3g} to {q[-1]:.3g} and σ_b from {sigma_b.min():.3g} to "
        f"{sigma_b.max():.3g}: choose a point by `q`, as 1, or by `sigma_b`."
    )
