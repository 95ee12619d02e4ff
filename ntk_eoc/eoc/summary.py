"""What there is to know of an activation at its edge of chaos, in numbers."""

from dataclasses import dataclass

import numpy as np

from ntk_eoc.activations import AbsLinear, Activation
from ntk_eoc.eoc.classes import Class, activation_class
from ntk_eoc.eoc.curve import EdgeCurve, edge_curve
from ntk_eoc.eoc.init import Init
from ntk_eoc.eoc.moments import Moments, activation_moments
from ntk_eoc.eoc.points import edge_of_chaos, special_points
from ntk_eoc.eoc.scales import DepthScales, depth_scales
from ntk_eoc.gaussian import ActivationError, plan


@dataclass(frozen=True)
class EdgeSummary:
    """An activation, its edge of chaos, and one point of the edge.

    Attributes:
        activation: φ.
        kind: Its class, which decides the deep limit.
        parity: 1 where φ is even, −1 where it is odd, else 0.
        moments: At q = 1, where φ has moments there.
        curve: The edge by the fixed point q; for φ = a s + b|s| every q is on it.
        special: The points of the edge with χ_∥ = 1; none are listed for φ = a s + b|s|.
        point: The point chosen, if there is one.
        why: Why it is this point, or why there is none.
        at_point: The curve at the point, of length 1.
        scales: The depth scales at the point.
    """

    activation: Activation
    kind: Class
    parity: int
    moments: Moments | None
    curve: EdgeCurve
    special: list[Init]
    point: Init | None
    why: str
    at_point: EdgeCurve | None
    scales: DepthScales | None


def summarise(act: Activation, sigma_b: float | None = None) -> EdgeSummary:
    """Summarise φ at its edge of chaos, at the point with `sigma_b` if it is given.

    Otherwise the point is the one with χ_∥ = 1 if it is unique, else the one with q nearest 1.

    Raises:
        ActivationError: If φ cannot be integrated, or is linear.
    """
    point, why = _choose(act, sigma_b)
    curve = edge_curve(act)
    listed = curve.exists.any() and not isinstance(act, AbsLinear)
    return EdgeSummary(
        activation=act,
        kind=activation_class(act),
        parity=plan(act, float(curve.q[-1])).parity,
        moments=activation_moments(act, np.array([1.0])) if curve.q[-1] >= 1 else None,
        curve=curve,
        special=special_points(act, curve) if listed else [],
        point=point,
        why=why,
        at_point=None if point is None else edge_curve(act, np.array([point.q])),
        scales=None if point is None else depth_scales(point),
    )


def _choose(act: Activation, sigma_b: float | None) -> tuple[Init | None, str]:
    """Return a point of the edge, and why it is that one, or why there is none."""
    try:
        if sigma_b is not None:
            return edge_of_chaos(act, sigma_b=sigma_b), f"the point with σ_b = {sigma_b:g}"
        if isinstance(act, AbsLinear):
            return edge_of_chaos(act), "the line's q = 1"
        return edge_of_chaos(act), "the point with χ_∥ = 1"
    except ActivationError:
        raise
    except ValueError as error:
        curve = edge_curve(act)
        if sigma_b is not None or not curve.exists.any():
            return None, str(error)
        there = curve.q[curve.exists]
        q = float(np.clip(1.0, there[0], there[-1]))
        return edge_of_chaos(act, q=q), "no single point has χ_∥ = 1; this has q nearest 1"
