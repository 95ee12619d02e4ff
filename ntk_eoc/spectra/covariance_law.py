"""μ, the limit law of the eigenvalues of T, the covariance of the rows of [Q].

Closed where c_1 = 0, ν² = 0 or D² is one number. For any other D it is put together of

- the upper end [b, M] as a density. Above all of ν²D² the eigenvalues x of T are the zeros of
  1 + c_1²(g_a(x) + g_b(x)), so that with S_x the law of −G(x) (a Gram law, D²/(x − ν²D²) its
  population) μ(x, ∞) = P(s + s' > 1/c_1²)/(2γ₂), s and s' ~ S_x independent. There the law of the
  NTK may end flat, and only a density shows how;
- the rest by a Gauss rule, from the transform of μ on an ellipse around it. What the law of the
  NTK takes of μ is analytic around the rest, and the rule converges geometrically.

The mass and the mean of μ, known beforehand, are the check. `docs/quadratic_scaling.md`.
"""

from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ntk_eoc.spectra.covariance_transform import Squares, highest_point, limit
from ntk_eoc.spectra.densities import marchenko_pastur
from ntk_eoc.spectra.free_convolution import Curve, gram_curve, gram_law, invert
from ntk_eoc.spectra.gauss_rules import gauss_rule, rule_of_moments
from ntk_eoc.spectra.law_algebra import classical_convolution, mixture, scaled
from ntk_eoc.spectra.laws import (
    GaussRuled,
    Moments,
    SpectralLaw,
    from_atoms,
    gathered,
)
from ntk_eoc.spectra.piecewise import PiecewiseDensity, cauchy, interpolate, resolve, weighted

OF_SQUARES, POINTS = 16, 48  # points of the rules of D² and of the rest of μ
SAMPLES, RADIUS = 96, 0.85  # of the ellipse, |w| = RADIUS, z = (w + 1/w)/2 on [−1, 1]
SHARE = 0.9  # of the stretch below M where the density comes from one component of S_x alone
ROUNDING = 1e-14
# ∫ f(x) √(1 − x²) dx = Σ weights f(x), for a density that ends like a root at both ends
_ANGLES = np.arange(1, 33) * np.pi / 33
_NODES, _WEIGHTS = np.cos(_ANGLES), np.pi / 33 * np.sin(_ANGLES)


def singular_law(gamma2: float, squares: SpectralLaw) -> SpectralLaw:
    """Return the law of the eigenvalues of W̃W̃ᵀ/d, d × d, with p/d → γ₂ and D² ~ `squares`."""
    if squares.points.size == 1 and not squares.pieces.size:
        ratio = 1 / gamma2
        return scaled(marchenko_pastur(ratio), gamma2 * float(squares.points[0]))
    return scaled(gram_law(squares, 1 / gamma2), gamma2)


def _of_pairs(shift: float, c1: float, gamma2: float, squares: SpectralLaw) -> SpectralLaw:
    """μ where T is shift + c_1²(s_a + s_b) on pairs a <= b, s_1 … s_d the eigenvalues of W̃W̃ᵀ/d.

    (For p < d some s_a are 0 and leave shift + c_1² s_b.)
    """
    singular = singular_law(gamma2, squares)
    rank = 1 - sum(m for t, m in singular.atoms if t == 0)  # min(d, p)/d
    positive = SpectralLaw(
        singular.points[singular.points > 0],
        singular.masses[singular.points > 0] / rank,
        singular.pieces,
        partial(_share, singular, rank),
    )
    pairs = scaled(classical_convolution(positive, positive), c1**2, shift)
    single = scaled(positive, c1**2, shift)
    # Of the d p eigenvalues: r²/2 pairs with r = rank · d, r (d − r) single ones, the rest `shift`.
    of_pairs, of_single = rank**2 / (2 * gamma2), rank * (1 - rank) / gamma2
    rest = max(1 - of_pairs - of_single, 0.0)
    return mixture([of_pairs, of_single, rest], [pairs, single, from_atoms([shift])])


def _share(law: SpectralLaw, rank: float, x: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    return law.density(x) / rank


def covariance_law(nu2: float, c1: float, gamma2: float, squares: SpectralLaw) -> SpectralLaw:
    """Return μ, the limit law of the eigenvalues of T(A) = ν² A D² + (c_1²/d)(A W̃ᵀ + W̃ Aᵀ) W̃.

    Args:
        nu2: ν² >= 0.
        c1: c_1.
        gamma2: γ₂ = lim p/d > 0.
        squares: The law of D².
    """
    if c1**2 < 1e-12 * (nu2 + c1**2):
        return scaled(squares, nu2)
    one = squares.points.size == 1 and not squares.pieces.size
    if nu2 > 0 and not one:
        return general_law(nu2, c1, gamma2, squares)
    law = _of_pairs(nu2 * float(squares.points[0]) if one else 0.0, c1, gamma2, squares)
    return replace(law, known=_moments(nu2, c1, gamma2, squares))


def general_law(nu2: float, c1: float, gamma2: float, squares: SpectralLaw) -> GaussRuled:
    """Return μ for any law of D², c_1 and ν² not 0, as `covariance_law` does."""
    rules = [gauss_rule(squares, k) for k in (OF_SQUARES, 3 * OF_SQUARES // 4)]
    fine = _by_rule(nu2, c1, gamma2, rules[0], POINTS)
    fewer = 3 * (len(fine.points) - len(rules[0][0])) // 4
    coarse = _by_rule(nu2, c1, gamma2, rules[1], max(2, fewer))
    known = _moments(nu2, c1, gamma2, squares)
    return GaussRuled(fine.points, fine.masses, fine.pieces, fine.pdf, fine.doubt, known, coarse)


def _moments(nu2: float, c1: float, gamma2: float, squares: SpectralLaw) -> Moments:
    """(ν² + c_1²) E D² and (ν² + c_1²)² E D⁴ + 2 c_1⁴ γ₂ (E D²)²."""
    mean, second = squares.moment(1), squares.moment(2)
    scale = nu2 + c1**2
    return scale * mean, scale**2 * second + 2 * c1**4 * gamma2 * mean**2


class _Top(NamedTuple):
    """What the density of μ above ν²D² depends on."""

    nu2: float
    c1: float
    gamma2: float
    squares: Squares


def _curve(top: _Top, x: float) -> Curve:
    """The curve of the law of p/d eigenvalues of −G(x), divided by γ₂."""
    t, mass = top.squares
    return gram_curve(from_atoms(t / (x - top.nu2 * t), mass), 1 / top.gamma2)


def _start(top: _Top, highest: float) -> float:
    """b, below which s and s' with s + s' = 1/c_1² may come from different components of S_x."""
    low, high = top.nu2 * float(top.squares[0].max()), highest
    for _ in range(30):
        x = (low + high) / 2
        first, last = top.gamma2 * _curve(top, x).edges_x[-1]
        low, high = (x, high) if 1 / top.c1**2 - last < first else (low, x)
    return highest - SHARE * (highest - high)


def _density(top: _Top, x: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    """The density of μ at x in [b, M]: (1/γ₂) ∫ η(s) ρ(1/c_1² − s) ds.

    ρ is the density of S_x, and −η/ρ the mean of ds/dx over the eigenvalues at s.
    """
    t, mass = top.squares
    result, total = np.zeros(x.shape), 1 / top.c1**2
    for i, point in enumerate(x):
        curve, gap = _curve(top, point), point - top.nu2 * t
        half = top.gamma2 * curve.edges_x[-1, 1] - total / 2
        if half <= ROUNDING * total:
            continue
        m = -1 / invert(curve, (total / 2 + half * _NODES) / top.gamma2)
        pole = (t / gap**2) / (1 + t / gap * m[:, None])
        eta = top.gamma2 * (m * weighted(pole, mass)).imag / np.pi
        result[i] = half / top.gamma2 * np.sum(_WEIGHTS * eta * m.imag[::-1] / np.pi)
    return result


def _known_atoms(
    nu2: float, gamma2: float, t: Float[np.ndarray, "j"], mass: Float[np.ndarray, "j"]
) -> tuple[Float[np.ndarray, "j"], Float[np.ndarray, "j"]]:
    """The atoms of μ at ν²t: A on the neurons with D² = t for which A W̃ᵀ is antisymmetric."""
    few = mass * gamma2 <= 1
    share = np.where(few, mass**2 * gamma2 / 2, mass - 1 / (2 * gamma2))
    return nu2 * t, np.where(t == 0, mass, share)


@lru_cache(maxsize=64)
def _parts(
    nu2: float, c1: float, gamma2: float, t: tuple[float, ...], mass: tuple[float, ...]
) -> tuple[PiecewiseDensity, tuple[float, float], Float[np.ndarray, "nodes"], float]:
    """The density on [b, M], the interval of the rest, the rest's moments of U_j, their error."""
    squares = np.array(t), np.array(mass)
    top = _Top(nu2, c1, gamma2, squares)
    low, high = nu2 * min(t), highest_point(nu2, c1, gamma2, squares)
    b = _start(top, high)
    panels = resolve(partial(_density, top), np.array([[b, high]]))
    middle, half = (b + low) / 2, (b - low) / 2
    phi = (np.arange(SAMPLES) + 0.5) * np.pi / SAMPLES
    w = RADIUS * np.exp(-1j * phi)
    z = middle + half * (w + 1 / w) / 2
    points, masses = _known_atoms(nu2, gamma2, *squares)
    rest = limit(nu2, c1, gamma2, squares, z) - cauchy(panels, z)[0]
    rest = rest - weighted(1 / (points - z[:, None]), masses)
    # 1/(y − z) = −2 Σ U_j(y) w^{j+1}, and the sum over the lower half of the circle is the mirror
    j = np.arange(2 * POINTS)
    circle = np.exp(1j * np.outer(j, phi)) @ (half * rest / (-2 * w))
    moments = circle.real / SAMPLES * RADIUS ** -j.astype(float)
    total = moments[0] + panels.mass.sum() + masses.sum()
    mean = middle * moments[0] + half * moments[1] / 2 + np.sum(panels.mass * panels.x)
    exact = (nu2 + c1**2) * (squares[0] @ squares[1])
    error = max(abs(total - 1), abs((mean + points @ masses) / exact - 1), ROUNDING)
    return panels, (low, b), moments, float(error)


def _by_rule(nu2: float, c1: float, gamma2: float, squares: Squares, points: int) -> SpectralLaw:
    """μ by a rule of `points` points for the rest, for atoms of D²."""
    t, mass = squares
    panels, (low, b), moments, error = _parts(nu2, c1, gamma2, tuple(t), tuple(mass))
    noise = error * RADIUS ** -np.arange(2.0 * points)
    nodes, weights = rule_of_moments(moments[: 2 * points], noise)
    places, masses = _known_atoms(nu2, gamma2, t, mass)
    nodes = (b + low) / 2 + (b - low) / 2 * nodes
    atoms = gathered(np.r_[nodes, places], np.r_[weights, masses])
    high = float(np.max(panels.origin))
    return SpectralLaw(*atoms, np.array([[b, high]]), partial(interpolate, panels), error)
