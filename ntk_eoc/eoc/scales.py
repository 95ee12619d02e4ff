"""The depth scales of an initialisation, on the edge of chaos or off it."""

import math
from dataclasses import dataclass

import numpy as np

from ntk_eoc.eoc.init import Init
from ntk_eoc.eoc.moments import activation_moments

_NEWTON = 50


@dataclass(frozen=True)
class DepthScales:
    """How many layers an initialisation remembers its inputs for.

    Attributes:
        q: Fixed point of the variance map.
        chi_parallel: χ_∥, slope of the variance map there.
        chi_perp: χ_⊥ = σ_w² E[φ'(√q z)²], slope of the cosine map at ρ = 1; 1 on the edge.
        variance: ξ_q = 1/|ln |χ_∥||: layers in which the distance to q changes e-fold.
        correlation: ξ_c = 1/|ln χ_⊥|: layers in which 1 − ρ shrinks e-fold (χ_⊥ < 1, order) or
            grows e-fold (χ_⊥ > 1, chaos); infinite on the edge.
    """

    q: float
    chi_parallel: float
    chi_perp: float
    variance: float
    correlation: float


def depth_scales(init: Init) -> DepthScales:
    """Return the depth scales of an initialisation, on the edge or off it (`docs/theory.md` §5).

    Raises:
        ActivationError: If φ cannot be integrated.
        ValueError: If Newton's method finds no fixed point q > 0 of the variance map near `init.q`.
    """
    w2, q = init.sigma_w**2, init.q
    for _ in range(_NEWTON):
        m = activation_moments(init.activation, np.array([q]))
        chi_parallel, chi_perp = w2 * float(m.growth[0]), w2 * float(m.slope[0])
        gap = w2 * float(m.square[0]) + init.sigma_b**2 - q
        if abs(gap) <= 1e-12 * q:
            scales = (_layers(abs(chi_parallel)), _layers(chi_perp))
            return DepthScales(q, chi_parallel, chi_perp, *scales)
        towards = q + gap / (1 - chi_parallel) if chi_parallel != 1 else math.nan
        if not 1e-3 * q < towards < 1e3 * q:
            break
        q = towards
    raise ValueError(
        f"`init` must have a fixed point q > 0 of its variance map near q = {init.q:g}, but "
        f"{init.activation.name!r} with σ_w = {init.sigma_w:g}, σ_b = {init.sigma_b:g} has none "
        f"there: take a smaller σ_w or another q."
    )


def _layers(chi: float) -> float:
    """1/|ln χ|; infinite at 1, to rounding."""
    return math.inf if abs(chi - 1) <= 1e-12 else 0.0 if chi == 0 else 1 / abs(math.log(chi))
