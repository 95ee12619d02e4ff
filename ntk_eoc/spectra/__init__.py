"""Spectra of kernels: limit laws, the deep limit, Lanczos quadrature."""

from ntk_eoc.spectra.bounds import spectral_bounds
from ntk_eoc.spectra.deep_limit import (
    cosine_distance,
    deep_condition,
    deep_offdiagonal,
    inverse_distance_kernel,
    ntk_spectrum,
)
from ntk_eoc.spectra.densities import from_density, marchenko_pastur, uniform
from ntk_eoc.spectra.distances import kolmogorov, wasserstein
from ntk_eoc.spectra.free_convolution import free_multiplicative_convolution, gram_law
from ntk_eoc.spectra.laws import (
    SpectralLaw,
    from_atoms,
)
from ntk_eoc.spectra.quadratic_scaling_law import outliers, quadratic_scaling_law

__all__ = [
    "SpectralLaw",
    "cosine_distance",
    "deep_condition",
    "deep_offdiagonal",
    "free_multiplicative_convolution",
    "from_atoms",
    "from_density",
    "gram_law",
    "inverse_distance_kernel",
    "kolmogorov",
    "marchenko_pastur",
    "ntk_spectrum",
    "outliers",
    "quadratic_scaling_law",
    "spectral_bounds",
    "uniform",
    "wasserstein",
]
