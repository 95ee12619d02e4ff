"""The class of an activation, which decides the deep limit of its kernel."""

from functools import cache
from typing import Literal

import numpy as np

from ntk_eoc.activations import Activation
from ntk_eoc.eoc.curve import EdgeCurve, edge_curve, largest_variance
from ntk_eoc.gaussian import plan
from ntk_eoc.gaussian.evaluate import check_slope
from ntk_eoc.gaussian.resolution import resolution_of

Class = Literal["scale-invariant", "kinked", "smooth"]


def activation_class(act: Activation) -> Class:
    """Return the class of φ, which decides the deep limit of K∞ at the edge.

    If φ' jumps, φ is "kinked", or "scale-invariant" where φ(c s) = c φ(s) for c > 0. Then K∞/(l q)
    tends to ¾ I + ¼ 11ᵀ. If φ' does not jump, φ is "smooth" and the limit is ⅔ I + ⅓ 11ᵀ.

    Raises:
        ActivationError: If φ cannot be integrated; the message says why and what to do.

    Source: `docs/theory.md` §5.
    """
    if is_scale_invariant(act):
        return "scale-invariant"
    return "kinked" if plan(act, largest_variance(act)).jumps else "smooth"


def is_scale_invariant(act: Activation, curve: EdgeCurve | None = None) -> bool:
    """Return whether φ(c s) = c φ(s) for c > 0, seen by σ_b² = 0 and χ_∥ = 1 at every variance."""
    if act.second_moment is not None:
        return True
    curve = curve or edge_curve(act)
    flat = np.abs(curve.sigma_b2) <= curve.error
    return bool(flat.all()) and is_marginal(curve)


def is_marginal(curve: EdgeCurve) -> bool:
    """Return whether χ_∥ = 1 all along the curve, as for φ(s) = max(s − 1, 0)."""
    return bool((np.abs(curve.chi_parallel - 1) <= 10 * curve.chi_error).all())


@cache
def is_linear(act: Activation) -> bool:
    """Return whether φ(s) = a s + b, of which a deep network has the kernel of a shallow one."""
    if act.second_moment is not None:
        return not act.kinks
    check_slope(act)
    # A scan, for narrow features; the values too: stairs on a line have its slope.
    scan = resolution_of(act, 30.0)
    value, slope = scan.values
    middle = scan.s.size // 2
    line = value[middle] + slope[middle] * scan.s
    straight = np.abs(value - line).max() <= 1e-13 * np.abs(value).max()
    return bool(straight and np.ptp(slope) <= 1e-13 * np.abs(slope).max())
