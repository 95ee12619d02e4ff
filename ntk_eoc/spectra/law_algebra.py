"""What can be done with laws without free probability: scale, mix, square, convolve classically."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Float

from ntk_eoc.checks import require, require_number
from ntk_eoc.spectra.laws import NO_PIECES, SpectralLaw, gathered
from ntk_eoc.spectra.piecewise import EMPTY, Density, interpolate


def _cut(
    covering: Float[np.ndarray, "i 2"], at: Float[np.ndarray, "k"]
) -> Float[np.ndarray, "j 2"]:
    """The union of intervals, cut at their ends and at further points."""
    ends = np.unique(np.concatenate([covering.ravel(), at]))
    cuts = np.stack([ends[:-1], ends[1:]], axis=1) if len(ends) else NO_PIECES
    middle = cuts.mean(axis=1)[:, None]
    return cuts[np.any((covering[:, 0] < middle) & (middle < covering[:, 1]), axis=1)]


def scaled(law: SpectralLaw, factor: float, shift: float = 0.0) -> SpectralLaw:
    """Return the law of factor · t + shift, t ~ law, factor > 0."""
    factor, shift = require_number("factor", factor), require_number("shift", shift)
    require(factor > 0, "factor", "> 0", factor)
    pdf = law.pdf
    known = None
    if law.known is not None:
        mean, second = law.known
        moved = factor**2 * second + 2 * factor * shift * mean + shift**2
        known = (factor * mean + shift, moved)
    return SpectralLaw(
        factor * law.points + shift,
        law.masses,
        factor * law.pieces + shift,
        None if pdf is None else partial(_scaled_density, pdf, factor, shift),
        law.doubt,
        known,
    )


def _scaled_density(
    pdf: Density, factor: float, shift: float, x: Float[np.ndarray, "k"]
) -> Float[np.ndarray, "k"]:
    return pdf((x - shift) / factor) / factor


def mixture(weights: Sequence[float], laws: Sequence[SpectralLaw]) -> SpectralLaw:
    """Return Σ weights_i · laws_i, weights >= 0 of sum 1; the pieces are cut at all ends."""
    w = np.asarray(weights, np.float64)
    require(bool(np.all(w >= 0)) and abs(math.fsum(w) - 1) < 1e-9, "weights", ">= 0, sum 1", w)
    used = [(x, law) for x, law in zip(w.tolist(), laws, strict=True) if x > 0]
    points, masses = gathered(
        np.concatenate([law.points for _, law in used]),
        np.concatenate([x * law.masses for x, law in used]),
    )
    pieces = _cut(np.concatenate([law.pieces for _, law in used]), EMPTY)
    doubt = sum(w * law.doubt for w, law in used)
    mean, second = (sum(w * law.moments[k] for w, law in used) for k in (0, 1))
    return SpectralLaw(points, masses, pieces, partial(_mixed, used), doubt, (mean, second))


def _mixed(
    used: list[tuple[float, SpectralLaw]], x: Float[np.ndarray, "k"]
) -> Float[np.ndarray, "k"]:
    return sum((w * law.density(x) for w, law in used), np.zeros(x.shape))


def squared(law: SpectralLaw) -> SpectralLaw:
    """Return the law of t², t ~ law."""
    halves = [[max(a, 0.0) ** 2, b**2] for a, b in law.pieces if b > 0]
    halves += [[min(b, 0.0) ** 2, a**2] for a, b in law.pieces if a < 0]
    pieces = _cut(np.array(halves, np.float64).reshape(-1, 2), EMPTY)
    density = partial(_squared_density, law)
    return SpectralLaw(*gathered(law.points**2, law.masses), pieces, density, law.doubt)


def _squared_density(law: SpectralLaw, x: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    root = np.sqrt(x)
    return (law.density(root) + law.density(-root)) / (2 * root)


# Half of [0, 1] by panels in r, y = r², that shrink towards 0: the ends of the integrand are
# powers of r, and its next singularity may lie as near to the end as rounding can tell.
_GRADES = np.sqrt(0.5) * np.concatenate([[0.0], 0.5 ** np.arange(22, -1, -1)])
_GAUSS, _GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(12)
_R = ((_GRADES[1:] + _GRADES[:-1])[:, None] + np.diff(_GRADES)[:, None] * _GAUSS).ravel() / 2
_HALF = _R**2
_HALF_WEIGHTS = (np.diff(_GRADES)[:, None] * _GAUSS_WEIGHTS).ravel() * _R


BENDS = 64


def _smooth_pieces(law: SpectralLaw) -> Float[np.ndarray, "i 2"]:
    """The pieces, cut where the density bends within a small share of them, as near a closed gap.

    There its panels are small: at the smallest of each row of such panels that ends in no end.
    """
    cuts: list[float] = []
    for a, b in law.pieces:
        inside = law.panels.ends[(law.panels.ends[:, 0] > a) & (law.panels.ends[:, 1] < b)]
        width = np.diff(inside, axis=1)[:, 0]
        narrow = np.flatnonzero(width < (b - a) / BENDS)
        rows = np.split(narrow, np.flatnonzero(np.diff(narrow) > 1) + 1) if narrow.size else []
        cuts += [inside[row[np.argmin(width[row])], 1] for row in rows]
    return _cut(law.pieces, np.array(cuts))


def _convolved(
    first: SpectralLaw, second: SpectralLaw, x: Float[np.ndarray, "k"]
) -> Float[np.ndarray, "k"]:
    """The density of the sum at x: atoms against densities, and ∫ f(y) g(x − y) dy."""
    result = np.zeros(x.shape)
    for one, other in ((first, second), (second, first)):
        for point, mass in one.atoms:
            result += mass * other.density(x - point)
    for a, b in _smooth_pieces(first):
        for c, d in _smooth_pieces(second):
            lo, hi = np.maximum(a, x - d), np.minimum(b, x - c)
            for i in np.array_split(np.nonzero(hi > lo)[0], 1 + len(x) // 2000):
                width = (hi - lo)[i, None]
                step = width * _HALF
                # x − y from the end it is near, so that a step below rounding still counts.
                for y, rest in (
                    (lo[i, None] + step, (x - lo)[i, None] - step),
                    (hi[i, None] - step, (x - hi)[i, None] + step),
                ):
                    one, two = y.ravel(), rest.ravel()
                    both = interpolate(first.panels, one) * interpolate(second.panels, two)
                    result[i] += (both.reshape(y.shape) * width) @ _HALF_WEIGHTS
    return result


def classical_convolution(first: SpectralLaw, second: SpectralLaw) -> SpectralLaw:
    """Return the law of s + t with s ~ first and t ~ second independent."""
    sums = np.add.outer(first.pieces, second.pieces)  # [i, 2, j, 2]: the density turns at each
    covering = [
        (first.pieces[:, None, :] + second.points[None, :, None]).reshape(-1, 2),
        (second.pieces[:, None, :] + first.points[None, :, None]).reshape(-1, 2),
        np.stack([sums[:, 0, :, 0], sums[:, 1, :, 1]], axis=-1).reshape(-1, 2),
    ]
    atoms = gathered(
        np.add.outer(first.points, second.points).ravel(),
        np.outer(first.masses, second.masses).ravel(),
    )
    pieces = _cut(np.concatenate(covering), sums.ravel())
    (mean, square), (other_mean, other_square) = first.moments, second.moments
    return SpectralLaw(
        *atoms,
        pieces,
        partial(_convolved, first, second),
        first.doubt + second.doubt,
        (mean + other_mean, square + 2 * mean * other_mean + other_square),
    )
