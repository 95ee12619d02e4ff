"""Finite-width neural tangent kernels beside their infinite-width limit, at the edge of chaos.

An activation and its initialisation:

    activation, Activation       an activation by name, and one of your own
    abs_linear, AbsLinear        a s + b|s|, with its constants Δ and κ
    edge_of_chaos                the point of the edge of chaos, an Init: φ, σ_w, σ_b, q

Kernels of n1 and n2 inputs:

    ntk_infinite, nngp_infinite  the limit K∞ of the NTK, and of the covariance of outputs
    nngp_sampled                 the covariances of a fresh network, layer by layer, without weights
    ntk_infinite_with_error      K∞ with an estimate of its error
    ntk_jacobian                 K(θ) of any f(params, x)
    ntk_layerwise                K(θ) of an MLP, without a Jacobian
    ntk_structured               K(θ) of a Flax model of linear layers, without a Jacobian
    ntk_vector_product           K(θ) v of any f, without K(θ)
    kernel_operator              K∞ as products with vectors, without the matrix
    dask_kernel, store_kernel    K∞ as a Dask array of tiles, here or on a cluster, and in Zarr
    ntk_sampled                  K(θ) of a fresh network, exact in law, without its weights
    ntk_matrix, with_outputs     the papers' matrix K/n, and K∞ ⊗ I_k

The law of K(θ) − K∞, computed:

    fluctuations, Fluctuations   its covariance layer by layer, at any widths; Gaussian draws, norms
    mean_shift                   E K(θ) − K∞ to order 1/m
    widths_for                   the cheapest widths for an error

The network:

    MLP, functional              a Flax module, and the pure function of any Flax module
    mlp, draw_params             the same network as a pure function, and its parameters
    widths                       m_1 … m_l by a schedule: constant, linear, quadratic, cubic

Laws of eigenvalues:

    SpectralLaw                  density, cdf, quantiles, draws, moments, plot, save
    quadratic_scaling_law        the law of the two-layer NTK with n ~ d p
    gram_law, marchenko_pastur, free_multiplicative_convolution

Rooms: `data` (named data sets, `normalise`), `estimates` (means, intervals, exponents), `spectra`
and `training` (what a kernel predicts, and what networks do).

Shape letters, used in every signature: `n` points, `d` inputs (the theory's m_0), `k` outputs
(m_l), `m` width, `s` seeds; a size without a letter is named by a word. The letters of the theory,
each with one meaning, stand in a table at the head of `docs/theory.md`.

Imports go one way; a module sees only those on its own line and on the lines above:

    checks · precision · chebyshev               one grammar for bad input; float64; interpolation
    layer_widths                                 m_k by the name of a schedule
    user_code                                    FILE.py:NAME, and what of it a result rests on
    activations · gaussian · estimates           φ, Gaussian integrals, statistics
    eoc                                          Init, the curve, its points, depth scales
    kernels                                      arrays in, kernels out
    spectra · finite_width                       laws, deep limit, Lanczos; the law of K(θ) − K∞
    network · training                           the MLP (Flax), predictions, trainer (optax, Orbax)
    data                                         named data sets
    sweeps                                       config, grid, runner, store: knows no kernel
    report                                       figures and pages from records
    explore                                      the page to play with: marimo
    terminal · commands                          what is printed; commands with files of their own
    cli

The public names are loaded on first use, so that `ntk-eoc --help` need not import JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ntk_eoc import data, estimates, spectra, training
    from ntk_eoc.activations import AbsLinear, Activation, abs_linear, activation
    from ntk_eoc.data import normalise
    from ntk_eoc.eoc import Init, edge_of_chaos
    from ntk_eoc.finite_width.fluctuations import Fluctuations, fluctuations
    from ntk_eoc.finite_width.mean_shift import mean_shift
    from ntk_eoc.finite_width.widths_for import widths_for
    from ntk_eoc.kernels.dask_kernel import dask_kernel, store_kernel
    from ntk_eoc.kernels.forward_pass import nngp_sampled
    from ntk_eoc.kernels.infinite import nngp_infinite, ntk_infinite, ntk_infinite_with_error
    from ntk_eoc.kernels.jacobian import ntk_jacobian
    from ntk_eoc.kernels.kernel_operator import kernel_operator
    from ntk_eoc.kernels.layerwise import ntk_layerwise
    from ntk_eoc.kernels.matrix import ntk_matrix, with_outputs
    from ntk_eoc.kernels.sampled import ntk_sampled
    from ntk_eoc.kernels.vector_product import ntk_vector_product
    from ntk_eoc.layer_widths import widths
    from ntk_eoc.network import MLP, draw_params, functional, mlp, ntk_structured
    from ntk_eoc.spectra.densities import marchenko_pastur
    from ntk_eoc.spectra.free_convolution import free_multiplicative_convolution, gram_law
    from ntk_eoc.spectra.laws import SpectralLaw
    from ntk_eoc.spectra.quadratic_scaling_law import quadratic_scaling_law

__version__ = "0.1.0"

_HOME = {
    "AbsLinear": "activations",
    "Activation": "activations",
    "abs_linear": "activations",
    "activation": "activations",
    "Init": "eoc",
    "edge_of_chaos": "eoc",
    "dask_kernel": "kernels.dask_kernel",
    "store_kernel": "kernels.dask_kernel",
    "kernel_operator": "kernels.kernel_operator",
    "nngp_infinite": "kernels.infinite",
    "nngp_sampled": "kernels.forward_pass",
    "ntk_infinite": "kernels.infinite",
    "ntk_infinite_with_error": "kernels.infinite",
    "ntk_jacobian": "kernels.jacobian",
    "ntk_layerwise": "kernels.layerwise",
    "ntk_matrix": "kernels.matrix",
    "ntk_sampled": "kernels.sampled",
    "ntk_structured": "network",
    "ntk_vector_product": "kernels.vector_product",
    "with_outputs": "kernels.matrix",
    "Fluctuations": "finite_width.fluctuations",
    "fluctuations": "finite_width.fluctuations",
    "mean_shift": "finite_width.mean_shift",
    "widths_for": "finite_width.widths_for",
    "SpectralLaw": "spectra.laws",
    "marchenko_pastur": "spectra.densities",
    "gram_law": "spectra.free_convolution",
    "free_multiplicative_convolution": "spectra.free_convolution",
    "quadratic_scaling_law": "spectra.quadratic_scaling_law",
    "MLP": "network",
    "draw_params": "network",
    "functional": "network",
    "mlp": "network",
    "widths": "layer_widths",
    "normalise": "data",
}

_ROOMS = ("data", "estimates", "spectra", "training")

__all__ = [  # noqa: RUF022 (the order of the data flow)
    "AbsLinear",
    "Activation",
    "abs_linear",
    "activation",
    "Init",
    "edge_of_chaos",
    "dask_kernel",
    "store_kernel",
    "kernel_operator",
    "nngp_infinite",
    "nngp_sampled",
    "ntk_infinite",
    "ntk_infinite_with_error",
    "ntk_jacobian",
    "ntk_layerwise",
    "ntk_matrix",
    "ntk_sampled",
    "ntk_structured",
    "ntk_vector_product",
    "with_outputs",
    "Fluctuations",
    "fluctuations",
    "mean_shift",
    "widths_for",
    "SpectralLaw",
    "marchenko_pastur",
    "gram_law",
    "free_multiplicative_convolution",
    "quadratic_scaling_law",
    "MLP",
    "functional",
    "mlp",
    "draw_params",
    "widths",
    "normalise",
    "spectra",
    "training",
    "data",
    "estimates",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"ntk_eoc.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'ntk_eoc' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ntk_eoc.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
