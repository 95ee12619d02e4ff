"""The limit law of the two-layer NTK's eigenvalues when n grows like d p [Q].

NTK = (1/dp) Y Yᵀ, the rows of Y being vec(x (D g(Wᵀx/√d))ᵀ), g = φ', n/(dp) → γ₁, p/d → γ₂. Given W
the rows are i.i.d., and μ is the law of the eigenvalues of their covariance

    T(A) = ν² A D² + (c_1²/d)(A W̃ᵀ + W̃ Aᵀ) W̃,      W̃ = W D,  A ∈ R^{d×p},

with c_0 = E g(z), c_1 = E z g(z), ν² = E g² − c_0² − c_1². The law of the NTK is `gram_law(μ, γ₁)`;
`docs/quadratic_scaling.md` derives it. Host mathematics in NumPy float64.
"""

import math
from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ntk_eoc.activations import Activation
from ntk_eoc.checks import require, require_number
from ntk_eoc.gaussian import plan
from ntk_eoc.gaussian.evaluate import check_slope
from ntk_eoc.gaussian.rules import COARSE_1D, FINE_1D, mean
from ntk_eoc.gaussian.triples import ROUNDING
from ntk_eoc.precision import in_float64
from ntk_eoc.spectra.covariance_law import covariance_law
from ntk_eoc.spectra.free_convolution import gram_law
from ntk_eoc.spectra.law_algebra import squared
from ntk_eoc.spectra.laws import Numbers, SpectralLaw, from_atoms


class Coefficients(NamedTuple):
    """Hermite coefficients of g = φ' under the standard normal law.

    Attributes:
        c0: E g(z).
        c1: E z g(z).
        nu2: ν² = E g(z)² − c_0² − c_1².
        error: How far two rules for the three means disagree.
    """

    c0: float
    c1: float
    nu2: float
    error: float


@cache
@in_float64
def coefficients(act: Activation) -> Coefficients:
    """Return c_0, c_1 and ν² of φ', in float64 whatever the configuration.

    A ν² below ten times its error is returned as 0 (φ quadratic).

    Raises:
        ActivationError: If φ' is 0 or cannot be integrated; the message says what to do.
    """
    check_slope(act)
    panels, one = plan(act, 1.0), jnp.ones(())
    integrands = (act.prime, lambda z: z * act.prime(z), lambda z: act.prime(z) ** 2)
    fine, coarse = (
        [float(mean(f, panels, n, one)) for f in integrands] for n in (FINE_1D, COARSE_1D)
    )
    (c0, c1, second), apart = fine, np.abs(np.subtract(fine, coarse))
    error = float(np.sum(apart)) + ROUNDING * second
    nu2 = second - c0**2 - c1**2
    return Coefficients(c0, c1, nu2 if nu2 > 10 * error else 0.0, error)


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
        ValueError: If a ratio is not positive, D is not finite, φ is linear, or φ' is 0.
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
    return gram_law(covariance_law(coefs.nu2, coefs.c1, gamma2, squares), gamma1)


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
