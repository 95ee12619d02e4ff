"""Free products with Marchenko–Pastur, solved on the real axis itself.

The transform v(z) of the Gram law solves z = −1/v + ∫ t/(1 + γ t v) dμ(t). With ζ = −1/(γ v)

    z(ζ) = ζ (γ − ∫ t/(t − ζ) dμ),      z'(ζ) = γ − ∫ t²/(t − ζ)² dμ,

and Im z = 0 exactly where ∫ t²/|t − ζ|² dμ = γ. The left side falls with |Im ζ|, so that above each
real u there is at most one such ζ = u + iy, and x = z(ζ) grows with u: the density of the law is
known along this curve without any smoothing, its edges are where the curve meets the axis, and
Newton's method started from the curve finds the density at a given x. For real x there is at most
one root with Im ζ > 0: a converged one is the right one. NumPy float64 and complex128.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from jaxtyping import Bool, Complex, Float

from ntk_eoc.checks import require, require_number
from ntk_eoc.spectra.densities import MarchenkoPastur
from ntk_eoc.spectra.laws import GaussRuled, Moments, SpectralLaw, gathered
from ntk_eoc.spectra.piecewise import EMPTY
from ntk_eoc.spectra.population import integrals
from ntk_eoc.spectra.stretches import stretches

# ζ -> ∫ t/(t − ζ) dμ and ∫ t²/(t − ζ)² dμ.
Integrals = Callable[
    [Complex[np.ndarray, "k"]], tuple[Complex[np.ndarray, "k"], Complex[np.ndarray, "k"]]
]
HEIGHT_STEPS, NEWTON_STEPS, HALVINGS = 80, 16, 14
TABULATED = 64
# An eigenvalue of a singular matrix is 0 up to this share of the largest.
ROUNDED_TO_0 = 1e-13
CHEBYSHEV = np.cos(np.pi * (np.arange(16, 0, -1) - 0.5) / 16)


@dataclass(frozen=True, eq=False)
class Curve:
    """The curve Im z(ζ) = 0 above the axis.

    Attributes:
        integrals: The two integrals of μ.
        gamma: γ.
        edges: [i, 2], the stretches of u over which the curve is above the axis.
        edges_x: Their images, the support of the law.
        nodes: Further u inside, where the curve is tabulated to start Newton's method from.
    """

    integrals: Integrals
    gamma: float
    edges: Float[np.ndarray, "i 2"]
    edges_x: Float[np.ndarray, "i 2"]
    nodes: Float[np.ndarray, "k"]

    @cached_property
    def table(self) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"], np.ndarray]:
        """Ascending u, their x = z(u + iy) and y; the edges, where y = 0, are among them."""
        y = height(self, self.nodes)
        x = image(self, self.nodes + 1j * y)[0].real
        u = np.concatenate([self.edges.ravel(), self.nodes])
        order = np.lexsort((np.concatenate([self.edges_x.ravel(), x]), u))
        x = np.concatenate([self.edges_x.ravel(), x])[order]
        y = np.concatenate([np.zeros(self.edges.size), y])[order]
        return u[order], np.maximum.accumulate(x), y


def image(
    curve: Curve, zeta: Complex[np.ndarray, "k"]
) -> tuple[Complex[np.ndarray, "k"], Complex[np.ndarray, "k"]]:
    """Return z(ζ) and z'(ζ)."""
    first, second = curve.integrals(zeta)
    return zeta * (curve.gamma - first), curve.gamma - second


def height(curve: Curve, u: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    """Return y > 0 with ∫ t²/((t − u)² + y²) dμ = γ, for u inside the stretches.

    As a function of Y = y² the integral Φ is a sum of a/(b + Y), so that 1/Φ is increasing and
    concave: Newton's method on 1/Φ(Y) = 1/γ climbs to the root from any start below it.
    """
    width = np.ptp(curve.edges)
    y = np.full(u.shape, 1e-3 * width)
    active = np.arange(len(u))
    for _ in range(HEIGHT_STEPS):
        zeta = u[active] + 1j * y[active]
        first, second = curve.integrals(zeta)
        phi = (zeta * first).imag / y[active]
        # dΦ/dY = (Re ∫t²/(t − ζ)² − Φ)/(2Y)
        slope = (second.real - phi) / (2 * y[active] ** 2)
        square = y[active] ** 2 + (phi - phi**2 / curve.gamma) / np.minimum(slope, -1e-300)
        new = np.clip(np.sqrt(np.maximum(square, 0)), y[active] / 16, y[active] * 16)
        moved = np.abs(new - y[active]) > 1e-13 * new + 1e-15 * width
        y[active] = new
        active = active[moved]
        if not len(active):
            break
    return y


def _newton(
    curve: Curve, x: Float[np.ndarray, "k"], zeta: Complex[np.ndarray, "k"]
) -> tuple[Complex[np.ndarray, "k"], Bool[np.ndarray, "k"]]:
    """Newton's method for z(ζ) = x, kept above the axis, and where it converged."""
    zeta, found = zeta.copy(), np.zeros(x.shape, bool)
    active = np.arange(len(x))
    for _ in range(NEWTON_STEPS):
        z, slope = image(curve, zeta[active])
        scale = np.abs(x[active]) + curve.gamma * np.abs(zeta[active])
        small = np.abs(z - x[active]) <= 1e-11 * scale
        step = (x[active] - z) / np.where(slope == 0, 1, slope)
        # Never more than three quarters of the way down to the axis, where the root is not.
        drop = np.maximum(-step.imag / (0.75 * zeta[active].imag), 1.0)
        zeta[active] += step / drop
        still = np.abs(step) > 1e-14 * np.abs(zeta[active])
        found[active] = small & (drop == 1)
        active = active[still | ~small]
        if not len(active):
            break
    return zeta, found & np.isfinite(zeta)


def invert(curve: Curve, x: Float[np.ndarray, "k"]) -> Complex[np.ndarray, "k"]:
    """Return the ζ with Im ζ > 0 and z(ζ) = x, for x inside the support; NaN where not found.

    Newton's method from the table; where it fails, the stretch of the curve that holds x is
    halved (x grows with u) until it succeeds.
    """
    u, places, y = curve.table
    at = np.clip(np.searchsorted(places, x, side="right") - 1, 0, len(u) - 2)
    share = (x - places[at]) / np.maximum(places[at + 1] - places[at], 1e-300)
    start = u[at] + share * (u[at + 1] - u[at])
    # Over a single far-away atom the curve is a circle; the last term is exact for it.
    square = (1 - share) * y[at] ** 2 + share * y[at + 1] ** 2
    square = square + np.maximum((start - u[at]) * (u[at + 1] - start), 0)
    zeta, found = _newton(curve, x, start + 1j * np.sqrt(np.maximum(square, 1e-300)))
    lost, lo, hi = np.nonzero(~found)[0], u[at], u[at + 1]
    for _ in range(HALVINGS):
        if not len(lost):
            break
        for _ in range(4):
            middle = (lo[lost] + hi[lost]) / 2
            guess = middle + 1j * height(curve, middle)
            reached = image(curve, guess)[0].real
            below = reached < x[lost]
            lo[lost] = np.where(below, middle, lo[lost])
            hi[lost] = np.where(below, hi[lost], middle)
        zeta[lost], found[lost] = _newton(curve, x[lost], guess)
        # Where the curve all but lies on the axis, Newton's steps cross it: the curve must do.
        flat = lost[~found[lost] & (np.abs(reached - x[lost]) < 1e-10 * x[lost])]
        zeta[flat], found[flat] = guess[np.isin(lost, flat)], True
        lost = lost[~found[lost]]
    zeta[lost] = np.nan
    return zeta


def gram_density(gamma: float, zeta: Complex[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    """Return Im v/π, v = −1/(γζ): the density at z(ζ) for a point of the curve."""
    return zeta.imag / (np.pi * gamma * np.abs(zeta) ** 2)


def _gram_density(curve: Curve, x: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    return gram_density(curve.gamma, invert(curve, x))


def _nodes(mu: SpectralLaw, edges: Float[np.ndarray, "i 2"]) -> Float[np.ndarray, "k"]:
    """Where to tabulate the curve: at and between the parts of μ, and towards the edges."""
    t = np.sort(np.concatenate([mu.points[mu.points > 0], mu.panels.x[:, ::2].ravel()]))
    t = t[:: 1 + len(t) // TABULATED]
    parts = np.concatenate([t, (t[1:] + t[:-1]) / 2])
    place = np.searchsorted(edges[:, 0], parts, side="right") - 1
    inside = (place >= 0) & (parts < edges[np.maximum(place, 0), 1])
    count = np.bincount(place[inside], minlength=len(edges))
    wide = edges[count > 1]
    fill = wide.mean(axis=1)[:, None] + (wide[:, 1] - wide[:, 0])[:, None] / 2 * CHEBYSHEV
    crowded = inside & (count[np.maximum(place, 0)] > 1)
    # Towards the lowest edge by powers: at the origin the density may be any power of x.
    low = edges[0, 0] + np.ptp(edges[0]) * 0.25 ** np.arange(4, 40)
    low = low[low - edges[0, 0] > 1e-9 * np.abs(edges[0, 0])]
    return np.unique(np.concatenate([parts[crowded], fill.ravel(), low]))


def gram_curve(mu: SpectralLaw, gamma: float) -> Curve:
    """Return the curve of `gram_law(mu, gamma)`, its edges found first."""
    edges = stretches(mu, gamma)
    curve = Curve(partial(integrals, mu), gamma, edges, edges, _nodes(mu, edges))
    # Half a rounding outwards: at an end of μ itself the transform has only a limit.
    ends = edges + 1e-14 * np.array([-1.0, 1.0]) * np.sqrt(mu.moment(2))
    edges_x = image(curve, ends.ravel().astype(np.complex128))[0].real.reshape(edges.shape)
    # At γ = μ(0, ∞) the lowest edge is the origin, up to the rounding of γ − ∫ t/(t − ζ).
    edges_x = np.where(np.abs(edges_x) < 1e-14 * mu.moment(1), 0.0, edges_x)
    return Curve(curve.integrals, gamma, edges, np.maximum(edges_x, 0.0), curve.nodes)


def _checked(mu: SpectralLaw) -> SpectralLaw:
    require(isinstance(mu, SpectralLaw), "mu", "a SpectralLaw", mu)
    lowest, highest = mu.bounds
    rounding = ROUNDED_TO_0 * highest
    require(lowest >= -rounding, "mu", "a law on [0, ∞)", f"one that reaches {lowest:g}")
    require(highest > 0, "mu", "a law with mass above 0", "the atom at 0 alone")
    places = np.where(np.abs(mu.points) <= rounding, 0.0, mu.points)
    if np.array_equal(places, mu.points):
        return mu
    points, masses = gathered(places, mu.masses)
    return replace(mu, points=points, masses=masses)


def gram_law(mu: SpectralLaw, gamma: float) -> SpectralLaw:
    """Return the limit law of (1/N) G T Gᵀ, n × n, with n/N → γ, T ~ μ and G of i.i.d. entries.

    Its free cumulants are γ^{r−1} ∫ t^r dμ (`docs/quadratic_scaling.md`); for μ = δ_1 it is
    `marchenko_pastur(gamma)`. An atom of mass 1 − μ(0, ∞)/γ stands at 0 when that is positive.

    Args:
        mu: The law of T, on [0, ∞).
        gamma: γ > 0.

    Returns:
        The law; its `status` says whether its density could be computed everywhere.

    Raises:
        ValueError: If γ <= 0 or μ has mass below 0.
    """
    mu, gamma = _checked(mu), require_number("gamma", gamma)
    require(gamma > 0, "gamma", "> 0", gamma)
    curve = gram_curve(mu, gamma)
    zero = max(0.0, 1 - _positive_mass(mu) / gamma)
    points, masses = (np.array([0.0]), np.array([zero])) if zero > 1e-14 else (EMPTY, EMPTY)
    doubt = _doubt(mu, curve)
    density = partial(_gram_density, curve)
    return SpectralLaw(points, masses, curve.edges_x, density, doubt, _moments(mu, gamma))


def _moments(mu: SpectralLaw, gamma: float) -> Moments:
    """Mean and second moment of the Gram law, from its free cumulants ∫t dμ and γ ∫t² dμ."""
    mean, second = mu.moments
    return mean, gamma * second + mean**2


def _doubt(mu: SpectralLaw, curve: Curve) -> float:
    """How far the masses of the Gram law may be off because μ is not known better.

    If ∫ t/(t − ζ) dμ is off by e, x = z(ζ) is off by |ζ| e, and the distribution function by the
    density times that, at most e/(πγ).
    """
    if not isinstance(mu, GaussRuled) or mu.coarse is None:
        return mu.error
    u, _, y = curve.table
    zeta = (u + 1j * y)[y > 0]
    apart = np.abs(curve.integrals(zeta)[0] - integrals(mu.coarse, zeta)[0])
    return mu.error + float(np.max(apart)) / (np.pi * curve.gamma)


def _positive_mass(mu: SpectralLaw) -> float:
    return 1.0 - float(np.sum(mu.masses[mu.points == 0]))


def free_multiplicative_convolution(first: SpectralLaw, second: SpectralLaw) -> SpectralLaw:
    """Return first ⊠ second, one of them Marchenko–Pastur: the limit law of T^{½}GGᵀT^{½}/N.

    For MP_c ⊠ μ the matrix is M × M, M/N → c, T ~ μ; the nonzero eigenvalues are those of the
    N × N matrix GᵀTG/N, which has the law of `gram_law(mu, 1/c)` scaled by c.

    Raises:
        ValueError: If neither law is one of `marchenko_pastur`, or the other has mass below 0.
    """
    require(
        isinstance(first, MarchenkoPastur) or isinstance(second, MarchenkoPastur),
        "first",
        "a Marchenko–Pastur law, or `second`",
        type(first).__name__,
    )
    mp, mu = (first, second) if isinstance(first, MarchenkoPastur) else (second, first)
    assert isinstance(mp, MarchenkoPastur)
    c = mp.ratio
    curve = gram_curve(_checked(mu), 1 / c)
    zero = max(0.0, 1 - _positive_mass(mu), 1 - 1 / c)
    points, masses = (np.array([0.0]), np.array([zero])) if zero > 1e-14 else (EMPTY, EMPTY)
    density = partial(_product_density, curve, c)
    mean, square = _moments(mu, 1 / c)
    known = (mean, c * square)
    return SpectralLaw(points, masses, c * curve.edges_x, density, _doubt(mu, curve), known)


def _product_density(curve: Curve, c: float, x: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    return _gram_density(curve, x / c) / c**2
