"""The eigenvalues that the output layer's term sets apart from the quadratic scaling's bulk.

With it the two-layer NTK is (1/d) X Xᵀ ⊙ (1/p) S Sᵀ + (1/p) H Hᵀ, H = φ(XW/√d). [Q] proves the same
limit law for it and leaves its p outliers open. In the direction of W's columns x is Gaussian, so
with b_0 = E φ, b_1 = E zφ and b² = E φ² − b_0² − b_1² the rows of H have the covariance

    b_0² 11ᵀ + b_1² WᵀW/d + b² I     (up to a part of rank one and order γ₂).

b_1 = E φ' = c_0, so that where it is not 0 the d outliers of the first layer's part, c_0² E[D²]
times XXᵀ/d, are not apart from these p: what has large eigenvalues is the n × (d + p) matrix
[c_0 √E[D²] X/√d, H/√p], to leading order n times its covariance spread by n rows.
"""

import math
from functools import cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ntk_eoc.activations import Activation
from ntk_eoc.gaussian import plan
from ntk_eoc.gaussian.rules import FINE_1D, mean
from ntk_eoc.precision import in_float64
from ntk_eoc.spectra.covariance_law import singular_law
from ntk_eoc.spectra.densities import marchenko_pastur
from ntk_eoc.spectra.free_convolution import free_multiplicative_convolution
from ntk_eoc.spectra.laws import Numbers, SpectralLaw, from_atoms
from ntk_eoc.spectra.quadratic_scaling_law import coefficients, weights_law


@cache
@in_float64
def output_coefficients(act: Activation) -> tuple[float, float, float]:
    """Return b_0 = E φ(z), b_1 = E z φ(z) and b² = E φ² − b_0² − b_1², the rest of it."""
    panels, one = plan(act, 1.0), jnp.ones(())
    b0, b1, second = (
        float(mean(f, panels, FINE_1D, one))
        for f in (act, lambda z: z * act(z), lambda z: act(z) ** 2)
    )
    return b0, b1, max(second - b0**2 - b1**2, 0.0)


def _population(
    act: Activation, d: int, p: int, weight: float
) -> tuple[float, Float[np.ndarray, "r"]]:
    """b_0² and the other eigenvalues of the covariance of [c_0 √E[D²] x/√d, φ(Wᵀx/√d)/√p]."""
    coefs, (b0, b1, rest) = coefficients(act), output_coefficients(act)
    rank = min(d, p)
    singular = singular_law(p / d, from_atoms([1.0])).quantile((np.arange(d) + 0.5) / d)[d - rank :]
    own, cross = coefs.c0**2 * weight / d, coefs.c0 * b1 * math.sqrt(weight / (d * p))
    blocks = np.empty((rank, 2, 2))
    blocks[:, 0, 0], blocks[:, 1, 1] = own, (b1**2 * singular + rest) / p
    blocks[:, 0, 1] = blocks[:, 1, 0] = cross * np.sqrt(singular)
    single = np.concatenate([np.full(d - rank, own), np.full(p - rank, rest / p)])
    values = np.sort(np.concatenate([np.linalg.eigvalsh(blocks).ravel(), single]))
    size = coefs.c0**2 + coefs.c1**2 + coefs.nu2
    values = values if coefs.c0**2 > 1e-12 * size else values[d:]  # no outliers of X then
    apart = b0**2 > 1e-12 * (b0**2 + b1**2 + rest)
    return (b0**2, values[1:]) if apart else (0.0, values)  # the rest interlaces


def whole_outliers(
    act: Activation, n: int, d: int, p: int, output_weights: Numbers | SpectralLaw | None = None
) -> Float[np.ndarray, "r"]:
    """Predict the eigenvalues that the whole NTK has beside its bulk, ascending.

    They are p, and d more where c_0 = E φ' ≠ 0: quantiles of MP_{r/n} ⊠ (n times the population),
    moved by the mean of the bulk, and n b_0² above all where b_0 = E φ ≠ 0. To leading order in d.

    Args:
        act: φ.
        n: Number of rows of X, more than there are outliers.
        d: Of its columns.
        p: Hidden units.
        output_weights: D, as values of equal weight or as a law; 1 unless given.
    """
    squares, coefs = weights_law(output_weights), coefficients(act)
    weight = squares.moment(1)
    top, values = _population(act, d, p, weight)
    rank = len(values)
    spread = free_multiplicative_convolution(
        marchenko_pastur(rank / n), from_atoms(np.maximum(values, 1e-12 * values[-1]))
    )
    places = n * spread.quantile((np.arange(rank) + 0.5) / rank)
    bulk = (coefs.nu2 + coefs.c1**2) * weight
    above = [n * (top + float(values.mean()))] if top > 0 else []
    return np.concatenate([places, above]) + bulk
