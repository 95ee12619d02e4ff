"""Bounds on the spectrum of the limit NTK matrix from two distances of the data alone.

κ_l is a power series in the cosine with coefficients a_j >= 0 that sum to l, so that entrywise
powers of the Gram matrix, Gershgorin's circles and the defect l − κ_l at other cosines give bounds
that hold for every data set, in any dimension (`docs/spectrum.md`).
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ntk_eoc.checks import require, require_count, require_number
from ntk_eoc.kernels.angular_recursion import host_recursion

# Candidates over which the bounds are maximised; each alone is a bound.
_WEIGHTS = np.array([0.2, 0.5, 0.7, 0.9, 0.97, 0.99, 0.997, 0.9997])
_STEPS = np.geomspace(1e-7, 20, 72)
_START_LAYERS = (0, 1, 2)
ROUNDING = 1e-13  # relative error of the defects, at any depth to 10⁴


class SpectralBounds(NamedTuple):
    """Bounds on the eigenvalues of [K∞(x_i, x_j)/n], inputs of ‖x‖² = d.

    Attributes:
        smallest: Lower and upper bound of λ_min.
        largest: Lower and upper bound of λ_max.
        condition: Lower and upper bound of λ_max/λ_min; infinite where nothing bounds it.
    """

    smallest: tuple[float, float]
    largest: tuple[float, float]
    condition: tuple[float, float]


def _defects(
    delta_phi: float, delta: Float[np.ndarray, "pairs"], depth: int
) -> Float[np.ndarray, "pairs"]:
    """Return l − κ_l at 1 − ρ = delta."""
    return host_recursion(delta_phi, delta, 2 - delta, depth)[2]


def _layer(delta_phi: float, low: float, high: float) -> tuple[float, float]:
    """Return the smallest and largest 1 − ρ after a layer, given those before it.

    The cosine map is convex with its minimum, if any, at θ = π/(2Δ).
    """
    ends = np.array([low, high])
    if delta_phi > 0.5:
        least = 1 - math.cos(math.pi / (2 * delta_phi))
        if low < least < high:
            ends = np.array([low, high, least])
    images = host_recursion(delta_phi, ends, 2 - ends, 2)[0]
    return float(images.min()), float(images.max())


def _smallest(delta_phi: float, low: float, high: float, depth: int, n: int) -> float:
    """Lower bound of λ_min of [κ_l(ρ_ij)] for 1 − ρ_ij in [low, high], i ≠ j.

    With r = max |ρ_ij| the j-th entrywise power of the Gram matrix has λ_min >= 1 − (n − 1) r^j, so
    λ_min >= (1 − (n − 1) r^J) T_J with the tail T_J = Σ_{j>=J} a_j, and for any cosines b < a
    T_J >= a^{−J} [Γ(a) − Γ(b) (1 − a^J)/(1 − b^J)], Γ = l − κ_l the defect.
    """
    gap = min(low, 2 - high)  # 1 − r
    if gap <= 0:
        return 0.0
    if gap >= 1:  # orthogonal points: every power with j >= 1 is I, and T_1 = Γ(0)
        return float(_defects(delta_phi, np.ones(1), depth)[0])
    rate = -math.log1p(-gap)  # log 1/r
    powers = np.unique(np.maximum(1, np.ceil(np.log((n - 1) / (1 - _WEIGHTS)) / rate)))
    weights = 1 - (n - 1) * np.exp(-rate * powers)
    delta = -np.expm1(-_STEPS[None, :] / powers[:, None])  # 1 − a, with a^J = e^{−step}
    defect = _defects(delta_phi, delta.ravel(), depth).reshape(delta.shape)
    ratios = defect / -np.expm1(-_STEPS)
    best_b = np.minimum.accumulate(ratios[:, ::-1], axis=1)[:, ::-1]  # over b <= a
    # The error of the two defects counts against the bound: a singular kernel has none.
    tails = np.exp(_STEPS) * (defect * (1 - ROUNDING) + np.expm1(-_STEPS) * best_b)
    return max(0.0, float(np.max(weights * tails.max(axis=1))))


def _from_later_layers(delta_phi: float, low: float, high: float, depth: int, n: int) -> float:
    """The best of `_smallest` over the layers from which the series may start.

    κ_l(ρ_0) − κ_{l−t}(ρ_t) is positive semidefinite over any data.
    """
    best, layer = 0.0, 0
    for start in _START_LAYERS:
        while layer < start:
            low, high = _layer(delta_phi, low, high)
            layer += 1
        if depth - start >= 1:
            best = max(best, _smallest(delta_phi, low, high, depth - start, n))
    return best


def _entries(delta_phi: float, low: float, high: float, depth: int) -> tuple[float, float, float]:
    """Least κ_l, largest κ_l at the closest pair, and largest |κ_l|, over 1 − ρ in [low, high]."""
    closest = min(low, 2 - high)
    points = np.array([low, high, 1.0, 2 - high, closest])
    near, far, right, mirror, most = (depth - _defects(delta_phi, points, depth)).tolist()
    # On the negative side κ(−s) >= κ(0) − O(s): the even part of the series grows in s, and so
    # does the odd part O = (κ(s) − κ(−s))/2.
    least = far if high <= 1 else min(right - (mirror - far) / 2, right)
    return least, near, most


def spectral_bounds(
    delta_phi: float, depth: int, n: int, u_min: float, u_max: float
) -> SpectralBounds:
    """Bound the spectrum of the NTK matrix of any n points of ‖x‖² = d with these distances.

    Proved for exact arithmetic; evaluated to about 1e-13 relative. Both ends of each interval meet
    as l → ∞: λ_min → ¾ l/n, λ_max → l (n + 3)/4n.

    Args:
        delta_phi: Δ_φ in [0, 1].
        depth: l >= 1.
        n: Number of points, >= 2.
        u_min: Smallest cosine distance √((1 − ρ)/2) of two of them, in [0, 1].
        u_max: Largest.

    Raises:
        ValueError: If an argument is out of range or u_min > u_max.

    Source: Claim (3) of [S]; proofs in `docs/spectrum.md`.
    """
    require_count("depth", depth)
    require_count("n", n, least=2)
    require(0 <= require_number("delta_phi", delta_phi) <= 1, "delta_phi", "in [0, 1]", delta_phi)
    ordered = 0 <= require_number("u_min", u_min) <= require_number("u_max", u_max) <= 1
    require(ordered, "u_min, u_max", "in order in [0, 1]", (u_min, u_max))
    low, high = 2 * u_min**2, 2 * u_max**2
    least, near, most = _entries(delta_phi, low, high, depth)
    gershgorin = depth - (least + most) / 2 - (n - 1) * (most - least) / 2
    below = max(_from_later_layers(delta_phi, low, high, depth, n), gershgorin, 0.0)
    above = min(depth - abs(near), depth - least)
    largest = (max(depth + (n - 1) * least, float(depth)), depth + (n - 1) * most)
    condition = (
        max(1.0, largest[0] / above) if above > 0 else math.inf,
        largest[1] / below if below > 0 else math.inf,
    )
    return SpectralBounds((below / n, above / n), (largest[0] / n, largest[1] / n), condition)
