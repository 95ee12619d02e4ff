"""The limit law of the two-layer NTK's eigenvalues when n grows like d p [Q].

NTK = (1/dp) Y Yᵀ, the rows of Y being vec(x (D g(Wᵀx/√d))ᵀ), g = φ', n/(dp) → γ₁, p/d → γ₂. Given W
the rows are i.i.d., and μ is the law of the eigenvalues of their covariance

    T(A) = ν² A D² + (c_1²/d)(A W̃ᵀ + W̃ Aᵀ) W̃,      W̃ = W D,  A ∈ R^{d×p},

with c_0 = E g(z), c_1 = E z g(z), ν² = E g² − c_0² − c_1². The law of the NTK is `gram_law(μ, γ₁)`;
`docs/quadratic_scaling.md` derives it. Host mathematics in NumPy float64.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex, Float

from ntk_eoc.activations import Activation
from ntk_eoc.checks import require, require_number
from ntk_eoc.spectra.free_convolution import gram_law
from ntk_eoc.spectra.general_weights import gram_law_general
from ntk_eoc.spectra.laws import (
    Numbers,
    SpectralLaw,
    classical_convolution,
    from_atoms,
    marchenko_pastur,
    mixture,
    scaled,
    squared,
)

NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)
REACH = 12.0  # E[g² 1_{|z| > 12}] is below 1e-30 for any g of polynomial growth


class Coefficients(NamedTuple):
    """Hermite coefficients of g = φ' under the standard normal law.

    Attributes:
        c0: E g(z).
        c1: E z g(z).
        nu2: ν² = E g(z)² − c_0² − c_1².
        error: How far two rules for E g² disagree.
    """

    c0: float
    c1: float
    nu2: float
    error: float


def coefficients(act: Activation) -> Coefficients:
    """Return c_0, c_1 and ν² of φ', by Gauss–Legendre panels that end at the kinks.

    φ' is evaluated by JAX, in float64 where x64 is on; in float32 smooth activations are good to
    about 1e-7. A ν² below rounding is returned as 0 (φ quadratic).
    """
    coarse, fine = (_moments(act, width) for width in (0.5, 0.25))
    c0, c1, second = fine
    error = float(np.max(np.abs(np.subtract(coarse, fine))))
    nu2 = second - c0**2 - c1**2
    return Coefficients(c0, c1, nu2 if nu2 > 1e-6 * second else 0.0, error)


def _moments(act: Activation, width: float) -> tuple[float, float, float]:
    """E g, E z g and E g² on panels of at most this width."""
    cuts = np.arange(-REACH, REACH + width / 2, width)
    cuts = np.unique(np.concatenate([cuts, [c for c in act.kinks if abs(c) < REACH]]))
    half = np.diff(cuts)[:, None] / 2
    z = ((cuts[1:] + cuts[:-1])[:, None] / 2 + half * NODES).ravel()
    weight = (half * WEIGHTS).ravel() * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    g = np.asarray(act.prime(z), np.float64)
    return float(weight @ g), float(weight @ (z * g)), float(weight @ g**2)


def weights_law(output_weights: Numbers | SpectralLaw | None) -> SpectralLaw:
    """Return the law of D²: of values, of a law of D, or δ_1.

    Raises:
        ValueError: If a value is not finite or all are zero.
    """
    if output_weights is None:
        return from_atoms([1.0])
    if isinstance(output_weights, SpectralLaw):
        law = squared(output_weights)
    else:
        values = np.asarray(output_weights, np.float64)
        require(
            bool(np.all(np.isfinite(values))), "output_weights", "finite numbers", output_weights
        )
        law = from_atoms(values**2)
    require(law.bounds[1] > 0, "output_weights", "not all zero", output_weights)
    return law


def singular_law(gamma2: float, squares: SpectralLaw) -> SpectralLaw:
    """Return the law of the eigenvalues of W̃W̃ᵀ/d, d × d, with p/d → γ₂ and D² ~ `squares`."""
    if squares.points.size == 1 and not squares.pieces.size:
        ratio = 1 / gamma2
        return scaled(marchenko_pastur(ratio), gamma2 * float(squares.points[0]))
    return scaled(gram_law(squares, 1 / gamma2), gamma2)


def covariance_law(coefs: Coefficients, gamma2: float, squares: SpectralLaw) -> SpectralLaw | None:
    """Return μ where it has a closed form; None for general D with c_1 ν² ≠ 0.

    For c_1 = 0 it is the law of ν²D². For ν² = 0 or D² = δ_t let s_1 … s_d be the eigenvalues of
    W̃W̃ᵀ/d: T has ν²t + c_1²(s_a + s_b) once for every pair a <= b, and ν²t for the rest, in the
    limit weight 1/(2γ₂) on a classical self-convolution. (For p < d some s_a are 0 and leave
    ν²t + c_1² s_b.)
    """
    c1_squared = coefs.c1**2
    if c1_squared < 1e-12 * (coefs.nu2 + c1_squared):
        return scaled(squares, coefs.nu2)
    if coefs.nu2 > 0 and not (squares.points.size == 1 and not squares.pieces.size):
        return None
    shift = coefs.nu2 * float(squares.points[0]) if coefs.nu2 > 0 else 0.0
    singular = singular_law(gamma2, squares)
    rank = 1 - sum(m for t, m in singular.atoms if t == 0)  # min(d, p)/d
    positive = SpectralLaw(
        singular.points[singular.points > 0],
        singular.masses[singular.points > 0] / rank,
        singular.pieces,
        lambda s: singular.density(s) / rank,
    )
    pairs = scaled(classical_convolution(positive, positive), c1_squared, shift)
    single = scaled(positive, c1_squared, shift)
    # Of the d p eigenvalues: r²/2 pairs with r = rank · d, r (d − r) single ones, the rest ν²t.
    of_pairs, of_single = rank**2 / (2 * gamma2), rank * (1 - rank) / gamma2
    rest = max(1 - of_pairs - of_single, 0.0)
    return mixture([of_pairs, of_single, rest], [pairs, single, from_atoms([shift])])


def quadratic_scaling_law(
    act: Activation,
    gamma1: float,
    gamma2: float,
    output_weights: Numbers | SpectralLaw | None = None,
) -> SpectralLaw:
    """Return the limit law of the NTK's eigenvalues in the quadratic scaling, outliers left out.

    Args:
        act: φ of the first layer; its raw derivative enters, no σ_w.
        gamma1: γ₁ = lim n/(dp) > 0.
        gamma2: γ₂ = lim p/d > 0.
        output_weights: D, as values of equal weight or as a law; 1 unless given.

    Returns:
        The law. c_0 ≠ 0 adds d eigenvalues to a finite matrix that carry no mass in the limit; see
        `outliers`.

    Raises:
        ValueError: If a ratio is not positive, D is not finite, or φ' vanishes.
    """
    gamma1, gamma2 = require_number("gamma1", gamma1), require_number("gamma2", gamma2)
    require(gamma1 > 0, "gamma1", "> 0", gamma1)
    require(gamma2 > 0, "gamma2", "> 0", gamma2)
    squares, coefs = weights_law(output_weights), coefficients(act)
    require(
        coefs.nu2 + coefs.c1**2 > 1e-12,
        "act",
        "an activation that is not linear (the law of a linear one is the atom at 0)",
        act.name,
    )
    mu = covariance_law(coefs, gamma2, squares)
    if mu is not None:
        return gram_law(mu, gamma1)
    return gram_law_general(coefs.nu2, coefs.c1, gamma1, gamma2, squares)


class Outliers(NamedTuple):
    """The eigenvalues that c_0 ≠ 0 adds to a finite matrix, to leading order.

    Attributes:
        number: How many: d, or 0 for c_0 = 0.
        centre: γ₁ p c_0² E[D²].
        low: Lower end of their cloud.
        high: Upper end.
    """

    number: int
    centre: float
    low: float
    high: float


def outliers(
    act: Activation, n: int, d: int, p: int, output_weights: Numbers | SpectralLaw | None = None
) -> Outliers:
    """Predict the outliers: c_0² E[D²] times the eigenvalues of XXᵀ/d.

    They lie in c_0² E[D²] (n/d)(1 ± √(d/n))² (leading order; [Q] leaves them out, they carry the
    share d/n of the eigenvalues).
    """
    squares, coefs = weights_law(output_weights), coefficients(act)
    scale = coefs.c0**2 * squares.moment(1)
    count = 0 if coefs.c0**2 < 1e-12 * (coefs.nu2 + coefs.c1**2 + coefs.c0**2) else min(d, n)
    low, high = ((1 - math.sqrt(d / n)) ** 2, (1 + math.sqrt(d / n)) ** 2)
    return Outliers(count, scale * n / d, scale * n / d * low, scale * n / d * high)


def covariance_transform(
    coefs: Coefficients,
    w: Float[np.ndarray, "d p"],
    output_weights: Float[np.ndarray, "p"],
    z: Complex[np.ndarray, "k"],
) -> Complex[np.ndarray, "k"]:
    """Return (1/dp) tr (T − z)^{-1} at finite d and p, for any D, from the eigenvalues of G.

    R = (ν²D² − z)^{-1}, G = W̃ R W̃ᵀ/d with eigenvalues g_a(z) and g' = dg/dz:
    Tr (T − z)^{-1} = d tr R − Σ_{a<=b} c_1²(g_a' + g_b')/(1 + c_1²(g_a + g_b)).

    Costs one eigenvalue problem of size d a point instead of one of size d p.
    """
    d, p = w.shape
    squares, tilde = output_weights**2, w * output_weights
    result = np.empty(z.shape, np.complex128)
    for i, point in enumerate(z):
        r = 1 / (coefs.nu2 * squares - point)
        g, left = np.linalg.eig((tilde * r) @ tilde.T / d)
        slope_matrix = (tilde * r**2) @ tilde.T / d
        # G is complex symmetric, so that g' = uᵀ G' u/uᵀu
        slope = np.sum(left * (slope_matrix @ left), axis=0) / np.sum(left * left, axis=0)
        ratio = np.add.outer(slope, slope) / (1 + coefs.c1**2 * np.add.outer(g, g))
        pairs = coefs.c1**2 * (ratio.sum() + np.trace(ratio)) / 2
        result[i] = (d * r.sum() - pairs) / (d * p)
    return result
