"""The edge of chaos: where a deep network neither forgets its inputs nor tears them apart.

`init` holds the scales of a network, `moments` the Gaussian moments of φ, `curve` the edge by the
fixed point q, `points` its single points, `classes` what decides the deep limit, `scales` the
memory in layers, and `summary` all of them for one activation (`docs/theory.md` §5).
"""

from ntk_eoc.eoc.classes import Class, activation_class, is_linear, is_scale_invariant
from ntk_eoc.eoc.curve import EdgeCurve, edge_curve
from ntk_eoc.eoc.init import Init, scale_invariant
from ntk_eoc.eoc.moments import Moments, activation_moments
from ntk_eoc.eoc.points import at_edge, edge_of_chaos, special_points
from ntk_eoc.eoc.scales import DepthScales, depth_scales
from ntk_eoc.eoc.summary import EdgeSummary, summarise

__all__ = [
    "Class",
    "DepthScales",
    "EdgeCurve",
    "EdgeSummary",
    "Init",
    "Moments",
    "activation_class",
    "activation_moments",
    "at_edge",
    "depth_scales",
    "edge_curve",
    "edge_of_chaos",
    "is_linear",
    "is_scale_invariant",
    "scale_invariant",
    "special_points",
    "summarise",
]
