"""Laws near that of the quadratic scaling, which a measurement must tell from it to say anything.

A small distance between eigenvalues and a law is evidence only beside the distance from what one
might have believed instead.
"""

from typing import NamedTuple

import numpy as np

from ntk_eoc.activations import Activation
from ntk_eoc.spectra.covariance_law import covariance_law
from ntk_eoc.spectra.densities import marchenko_pastur
from ntk_eoc.spectra.free_convolution import free_multiplicative_convolution, gram_law
from ntk_eoc.spectra.gauss_rules import gauss_rule
from ntk_eoc.spectra.law_algebra import scaled
from ntk_eoc.spectra.laws import Numbers, SpectralLaw, from_atoms
from ntk_eoc.spectra.quadratic_scaling_law import coefficients, quadratic_scaling_law, weights_law

NEURONS, POINTS = 512, 48  # of the matrix that stands for an unknown law, and of its Gauss rule


class Controls(NamedTuple):
    """What the law of the quadratic scaling may be mistaken for.

    Attributes:
        without_transposed: With the covariance ν² A D² + (c_1²/d) A W̃ᵀW̃, its second half left out.
        matched: A Marchenko–Pastur law, stretched to the mean and the second moment of the law.
        textbook: MP_{γ₁} ⊠ μ with the right μ, but the rate where the jumps should be.
    """

    without_transposed: SpectralLaw
    matched: SpectralLaw
    textbook: SpectralLaw


WORDS = {
    "without_transposed": "without the transposed term",
    "matched": "Marchenko–Pastur, two moments",
    "textbook": "MP ⊠ μ",
}
"""What figures and tables call them."""


def _plain_covariance(nu2: float, c1: float, gamma2: float, squares: SpectralLaw) -> SpectralLaw:
    """The law of D (ν² + c_1² WᵀW/d) D, p × p; where it has no closed form to 1/`NEURONS`."""
    if c1**2 < 1e-12 * (nu2 + c1**2):
        return scaled(squares, nu2)
    if squares.points.size == 1 and not squares.pieces.size:
        value = float(squares.points[0])
        return scaled(marchenko_pastur(gamma2), c1**2 * value, nu2 * value)
    q = np.sqrt(squares.quantile((np.arange(NEURONS) + 0.5) / NEURONS))
    w = np.random.default_rng(0).standard_normal((max(1, round(NEURONS / gamma2)), NEURONS)) * q
    values = np.linalg.eigvalsh(nu2 * np.diag(q**2) + c1**2 / len(w) * w.T @ w)
    return from_atoms(*gauss_rule(from_atoms(np.maximum(values, 0.0)), POINTS))


def control_laws(
    act: Activation,
    gamma1: float,
    gamma2: float,
    output_weights: Numbers | SpectralLaw | None = None,
) -> Controls:
    """Return the laws to beat: arguments and errors as of `quadratic_scaling_law`."""
    law = quadratic_scaling_law(act, gamma1, gamma2, output_weights)
    squares, coefs = weights_law(output_weights), coefficients(act)
    mu = covariance_law(coefs.nu2, coefs.c1, gamma2, squares)
    mean, second = law.moments
    matched = scaled(marchenko_pastur(second / mean**2 - 1), mean)
    plain = _plain_covariance(coefs.nu2, coefs.c1, gamma2, squares)
    textbook = free_multiplicative_convolution(marchenko_pastur(gamma1), mu)
    return Controls(gram_law(plain, gamma1), matched, textbook)
