"""Where the curve of a free product with Marchenko–Pastur is above the real axis.

Above the real u the curve Im z(ζ) = 0 of `spectra.free_convolution` is above the axis where
φ(u) = ∫ t²/(t − u)² dμ > γ. That holds around every atom and on the support of μ. Between two
parts φ^{-1/2} is a power mean of order −2 of functions linear in u, hence concave, and beyond the
last part it grows. So Newton's method for φ^{-1/2} = γ^{-1/2}, started where it is smaller, never
steps over the root, and where there is none its slope turns.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ntk_eoc.spectra.laws import SpectralLaw
from ntk_eoc.spectra.population import integrals

STEPS = 80
# Over which the slope is taken, in distances from the end, and back, where φ is steeper: the step
# is then too small by as much and still not over the root.
SLOPE_STEP = 2e-4
FROM_INTERVALS = 1e-7  # how far outside an interval, in its lengths, the walk from it starts
CLOSE = 1e-3
ROUNDING = 2.3e-16


class Walks(NamedTuple):
    """Walks from the ends of parts of μ into the gaps between them, and away from all.

    Attributes:
        end: Where the part ends.
        direction: +1 for walks to the right, −1 to the left.
        start: Distance from the end at which the walk starts, in the stretch of the end.
        most: Distance at which the next part is reached.
        smooth: Whether only a density is near, which may vanish so fast that φ < γ at its end.
    """

    end: Float[np.ndarray, "k"]
    direction: Float[np.ndarray, "k"]
    start: Float[np.ndarray, "k"]
    most: Float[np.ndarray, "k"]
    smooth: Bool[np.ndarray, "k"]


def _roots(mu: SpectralLaw, gamma: float, walks: Walks) -> Float[np.ndarray, "k"]:
    """The distance from the end at which φ = γ; infinite where the stretches meet.

    It is 0 where φ < γ at the end already.
    """
    end, direction, distance, most = walks[0], walks[1], walks[2].copy(), walks[3]
    active = np.arange(len(end))
    for step in range(STEPS):
        u = end[active] + direction[active] * distance[active]
        back = SLOPE_STEP * distance[active]
        two = np.concatenate([u, u - direction[active] * back]).astype(np.complex128)
        phi, nearer = np.split(integrals(mu, two)[1].real, 2)
        slope = (phi - nearer) / back
        # (γ^{-1/2} − φ^{-1/2}) over the slope of φ^{-1/2}
        with np.errstate(divide="ignore", invalid="ignore"):
            move = 2 * phi * (1 - np.sqrt(phi / gamma)) / slope
        if step == 0:
            there = phi <= gamma
            distance[active[there]] *= ~walks.smooth[there]
            active, move, slope, u = (a[~there] for a in (active, move, slope, u))
        lost = ~(slope < 0)
        # Next to a density that ends flat it is rounding that has lost the slope.
        close = lost & walks.smooth[active] & (distance[active] < CLOSE * most[active])
        move = np.where(close, distance[active], move)
        met = (lost & ~close) | (distance[active] + move > most[active])
        moved = np.maximum(distance[active] + move, distance[active] / 4)
        size = 1e-13 * distance[active] + ROUNDING * np.abs(u)
        distance[active] = np.where(met, np.inf, moved)
        active = active[~met & (np.abs(move) > size)]
        if not len(active):
            break
    return distance


def _parts(mu: SpectralLaw, gamma: float) -> Float[np.ndarray, "4 k"]:
    """Left and right ends of the parts of μ, and how far from each φ > γ is known."""
    parts = [[a, b, FROM_INTERVALS * (b - a), FROM_INTERVALS * (b - a)] for a, b in mu.support]
    for t, mass in mu.atoms:
        reach = t * float(np.sqrt(mass / gamma))  # its own share of φ is γ there
        around = [part for part in parts if part[0] <= t <= part[1]]
        for part in around:
            part[2] = max(part[2], reach - (t - part[0]))
            part[3] = max(part[3], reach - (part[1] - t))
        if not around and t > 0:
            parts.append([t, t, reach, reach])
    return np.array(sorted(parts)).T


def _either(
    right: Float[np.ndarray, "k"], left: Float[np.ndarray, "k"], apart: Bool[np.ndarray, "g"]
) -> Float[np.ndarray, "w"]:
    """What belongs to the right ends before gaps, to the left ends after them, to the outer two."""
    return np.concatenate([right[:-1][apart], left[1:][apart], right[-1:], left[:1]])


def stretches(mu: SpectralLaw, gamma: float) -> Float[np.ndarray, "i 2"]:
    """Return the intervals of u over which the curve is above the axis, ascending."""
    farthest = np.sqrt(mu.moment(2) / gamma)  # beyond all of μ by this much, φ < γ
    left, right, reach_left, reach_right = _parts(mu, gamma)
    gap, plain = left[1:] - right[:-1], FROM_INTERVALS * (right - left)
    apart: Bool[np.ndarray, k] = reach_right[:-1] + reach_left[1:] < gap
    walks = Walks(
        _either(right, left, apart),
        np.repeat([1.0, -1.0, 1.0, -1.0], [apart.sum(), apart.sum(), 1, 1]),
        _either(reach_right, reach_left, apart),
        np.concatenate([gap[apart], gap[apart], [np.inf, np.inf]]),
        _either(reach_right, reach_left, apart) <= _either(plain, plain, apart),
    )
    found = _roots(mu, gamma, walks)
    found[-2:] = np.minimum(found[-2:], farthest)  # those exist
    root = walks.end + walks.direction * found
    rise, fall = np.split(root[:-2], 2)
    is_open = found[: len(rise)] + found[len(rise) : -2] < gap[apart]
    return np.stack(
        [np.concatenate([root[-1:], fall[is_open]]), np.concatenate([rise[is_open], root[-2:-1]])],
        axis=1,
    )
