"""The class of an activation, which decides the deep limit of its kernel."""

from typing import Literal

import numpy as np

from ntk_eoc.activations import AbsLinear, Activation
from ntk_eoc.eoc.curve import EdgeCurve, edge_curve, largest_variance
from ntk_eoc.gaussian import plan
from ntk_eoc.gaussian.panels import check_slope, sample

Class = Literal["scale-invariant", "kinked", "smooth"]


def activation_class(act: Activation) -> Class:
    """Return the class that decides the deep limit at the edge.

    "scale-invariant" and "kinked" (φ' jumps): K∞/l tends to ¾ I + ¼ 11ᵀ (per unit of the
    diagonal's growth); "smooth" (it does not): to ⅔ I + ⅓ 11ᵀ.
    """
    if is_scale_invariant(act):
        return "scale-invariant"
    return "kinked" if plan(act, largest_variance(act)).jumps else "smooth"


def is_scale_invariant(act: Activation, curve: EdgeCurve | None = None) -> bool:
    """Whether φ(c s) = c φ(s) for c > 0: then σ_b² = 0 and χ_∥ = 1 at every variance."""
    if isinstance(act, AbsLinear):
        return True
    curve = curve or edge_curve(act)
    flat = np.abs(curve.sigma_b2) <= curve.error
    return bool(flat.all()) and is_marginal(curve)


def is_marginal(curve: EdgeCurve) -> bool:
    """Whether χ_∥ = 1 all along the curve, as for φ(s) = max(s − 1, 0)."""
    return bool((np.abs(curve.chi_parallel - 1) <= 10 * curve.chi_error).all())


def is_linear(act: Activation) -> bool:
    """Whether φ(s) = a s + b: a deep network of it has the kernel of a shallow one."""
    if isinstance(act, AbsLinear):
        return act.b == 0
    check_slope(act)
    _, slope = sample(act)
    return bool(np.ptp(slope) <= 1e-13 * np.abs(slope).max())
