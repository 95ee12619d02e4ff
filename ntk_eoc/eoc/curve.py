"""The curve of the edge of chaos, by the fixed point q of the variance map.

At the point with fixed point q the scales are σ_w² = 1/E[φ'(√q z)²] and, where that is not
negative, σ_b² = q − σ_w² E[φ(√q z)²] (`docs/theory.md` §5).
"""

import math
from dataclasses import dataclass, fields
from functools import cache

import numpy as np

from ntk_eoc.activations import Activation
from ntk_eoc.eoc.moments import COUNT, activation_moments
from ntk_eoc.gaussian import ActivationError
from ntk_eoc.gaussian.evaluate import check_growth, check_slope

SMALLEST_Q, LARGEST_Q = 1e-4, 400.0  # the variances that are searched
FARTHEST_Q = 1e6  # and these too, where nothing was found: a φ may have a large scale of its own


@dataclass(frozen=True)
class EdgeCurve:
    """The edge of chaos by the fixed point q, NumPy arrays of one length.

    Attributes:
        q: The fixed points, ascending.
        sigma_w: σ_w(q).
        sigma_b2: σ_b²(q); negative where there is no edge with this q.
        chi_parallel: Slope of the variance map at q; its modulus is below 1 where q is stable.
        error: Estimate of the error of σ_b², below which it counts as 0.
        chi_error: Estimate of the error of χ_∥.
    """

    q: np.ndarray
    sigma_w: np.ndarray
    sigma_b2: np.ndarray
    chi_parallel: np.ndarray
    error: np.ndarray
    chi_error: np.ndarray

    @property
    def exists(self) -> np.ndarray:
        """Where σ_b² >= 0, up to its error."""
        return self.sigma_b2 >= -self.error


def edge_curve(act: Activation, q: np.ndarray | None = None) -> EdgeCurve:
    """Return the edge of chaos σ_w(q), σ_b²(q), with χ_∥ along it.

    Args:
        act: φ.
        q: Variances; 192 between 1e-4 and the largest that has moments, at most 400, unless given.

    Raises:
        ActivationError: If φ cannot be integrated; the message says why and what to do.
    """
    check_slope(act)
    if q is None:
        return _whole_curve(act)
    q = np.atleast_1d(np.asarray(q, np.float64))
    m = activation_moments(act, q)
    with np.errstate(divide="ignore", invalid="ignore"):  # nan or infinite where φ is flat at q
        sigma_b2 = q - m.square / m.slope
        error = (m.errors[0] + m.errors[1] * m.square / m.slope) / m.slope + 4e-16 * q
        chi = m.growth / m.slope
        chi_error = (m.errors[2] + m.errors[1] * np.abs(chi)) / m.slope + 1e-15
        return EdgeCurve(q, m.slope**-0.5, sigma_b2, chi, error, chi_error)


@cache
def _whole_curve(act: Activation) -> EdgeCurve:
    curve = edge_curve(act, np.geomspace(SMALLEST_Q, largest_variance(act), 3 * COUNT))
    # Where φ is flat around 0, its slope has no mass to speak of at the smallest variances.
    seen = curve.sigma_w < 1e100
    return EdgeCurve(*(getattr(curve, field.name)[seen] for field in fields(curve)))


@cache
def far_curve(act: Activation) -> EdgeCurve | None:
    """Return the curve from the largest variance of the usual search on; None without moments."""
    try:
        check_growth(act, FARTHEST_Q)
        return edge_curve(act, np.geomspace(LARGEST_Q, FARTHEST_Q, COUNT))
    except ActivationError:
        return None


def largest_variance(act: Activation) -> float:
    """The largest q <= LARGEST_Q with E[φ²] in the range of float64, by bisection."""
    check_growth(act, SMALLEST_Q)  # raises if not even that exists
    low, high = SMALLEST_Q, LARGEST_Q
    try:
        check_growth(act, high)
        return high
    except ActivationError:
        for _ in range(30):
            middle = math.sqrt(low * high)
            try:
                check_growth(act, middle)
                low = middle
            except ActivationError:
                high = middle
        return 0.98 * low
