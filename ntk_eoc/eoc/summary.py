"""What there is to know of an activation at its edge of chaos, in numbers."""

from dataclasses import dataclass

import numpy as np

from ntk_eoc.activations import Activation
from ntk_eoc.eoc.classes import Class, activation_class, is_scale_invariant
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
        curve: The edge by the fixed point q; of a scale-invariant φ every q is on it.
        special: The points of the edge with χ_∥ = 1; none are listed of a scale-invariant φ.
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


def summarise(act: Activation, sigma_b: float | None = None, q: float | None = None) -> EdgeSummary:
    """Summarise φ at its edge of chaos, at the point that `edge_of_chaos` returns.

    Where none is asked for and no single one is, the summary has no point and says why.

    Raises:
        ActivationError: If φ cannot be integrated, or is linear.
        ValueError: If there is no point with the `sigma_b` or the `q` that is asked for.
    """
    point, why = _choose(act, sigma_b, q)
    curve, kind = edge_curve(act), activation_class(act)
    listed = curve.exists.any() and kind != "scale-invariant"
    return EdgeSummary(
        activation=act,
        kind=kind,
        parity=plan(act, float(curve.q[-1])).parity,
        moments=activation_moments(act, np.array([1.0])) if curve.q[-1] >= 1 else None,
        curve=curve,
        special=special_points(act, curve) if listed else [],
        point=point,
        why=why,
        at_point=None if point is None else edge_curve(act, np.array([point.q])),
        scales=None if point is None else depth_scales(point),
    )


def _choose(act: Activation, sigma_b: float | None, q: float | None) -> tuple[Init | None, str]:
    """Return a point of the edge, and why it is that one, or why there is none."""
    if sigma_b is not None or q is not None:
        chosen = f"σ_b = {sigma_b:g}" if sigma_b is not None else f"q = {q:g}"
        return edge_of_chaos(act, sigma_b=sigma_b, q=q), f"the point with {chosen}"
    line = is_scale_invariant(act)
    try:
        return edge_of_chaos(act), "the line's q = 1" if line else "the point with χ_∥ = 1"
    except ActivationError:
        raise
    except ValueError as error:
        return None, str(error)
