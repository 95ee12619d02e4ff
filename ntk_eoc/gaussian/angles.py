"""One integral at many angles: interpolated in θ, on panels halved until that is exact.

At fixed variances the integral is analytic in θ = arccos ρ inside (0, π); its features crowd
at the ends, so each half is described by the distance from its end.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ntk_eoc.activations import Activation
from ntk_eoc.gaussian.many import integrate_many
from ntk_eoc.gaussian.table import COEFFICIENTS, NODES, X
from ntk_eoc.gaussian.triples import AGREE, Estimates, Kind

HALVINGS = 44  # the last panel at an end is shorter than the rounding of 1 − ρ makes visible
_TAIL = 3  # coefficients whose size tells the error of an interpolant


class _Panel(NamedTuple):
    """Angles at distances in [low, high] from 0, or from π beyond a right angle."""

    beyond: bool
    low: float
    high: float

    def halves(self) -> tuple["_Panel", "_Panel"]:
        middle = (self.low + self.high) / 2
        return self._replace(high=middle), self._replace(low=middle)

    def holds(self, beyond: Bool[np.ndarray, "t"], e: Float[np.ndarray, "t"]) -> np.ndarray:
        """Indices of the angles in [low, high)."""
        return np.flatnonzero((beyond == self.beyond) & (e >= self.low) & (e < self.high))


def _node_triples(panels: list[_Panel], q1: float, q2: float) -> np.ndarray:
    low, high = (np.array([getattr(p, end) for p in panels])[:, None] for end in ("low", "high"))
    least = (2 * np.sin(((low + high) / 2 + (high - low) / 2 * X) / 2) ** 2).ravel()
    beyond = np.repeat([p.beyond for p in panels], NODES)
    delta, eta = np.where(beyond, 2 - least, least), np.where(beyond, least, 2 - least)
    return np.stack([np.full_like(delta, q1), np.full_like(delta, q2), delta, eta])


def interpolate(
    act: Activation, of: Kind, q1: float, q2: float, delta: Float[np.ndarray, "t"]
) -> Estimates:
    """Integrate at one pair of variances and many δ; the cost hardly depends on how many.

    Raises:
        ActivationError: If φ cannot be integrated; the message says why and what to do.
    """
    beyond = delta > 1
    e = 2 * np.arcsin(np.sqrt(np.where(beyond, 2 - delta, delta) / 2))
    value, error, scale = np.zeros((3, delta.size))
    middle = np.pi / 2 + 1e-15  # which a right angle, as rounded, is below
    panels = [_Panel(beyond=side, low=0.0, high=middle) for side in (False, True)]
    for halving in range(HALVINGS + 1):
        held = [(panel, where) for panel in panels if (where := panel.holds(beyond, e)).size]
        if not held:
            break
        panels = []
        nodes = integrate_many(act, of, _node_triples([panel for panel, _ in held], q1, q2))
        rows = (x.reshape(-1, NODES) for x in nodes)
        for (panel, where), values, errors, scales in zip(held, *rows, strict=True):
            coefficients = COEFFICIENTS @ values
            tail = np.abs(coefficients[-_TAIL:]).sum()
            if tail > AGREE / 8 * scales[0] and halving < HALVINGS:
                panels += panel.halves()
                continue
            x = (2 * e[where] - panel.low - panel.high) / (panel.high - panel.low)
            value[where] = np.polynomial.chebyshev.chebval(x, coefficients)
            error[where], scale[where] = 2 * errors.max() + tail, scales[0]
    return Estimates(value, error, scale)
