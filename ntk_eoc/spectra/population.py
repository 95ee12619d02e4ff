"""The two integrals of a law that its free products with Marchenko–Pastur depend on."""

import numpy as np
from jaxtyping import Complex

from ntk_eoc.spectra.laws import SpectralLaw
from ntk_eoc.spectra.piecewise import CHUNK, population, weighted


def integrals(
    mu: SpectralLaw, zeta: Complex[np.ndarray, "k"]
) -> tuple[Complex[np.ndarray, "k"], Complex[np.ndarray, "k"]]:
    """Return ∫ t/(t − ζ) dμ and ∫ t²/(t − ζ)² dμ for Im ζ > 0, or real ζ off the support."""
    t, masses = mu.points, mu.masses
    if len(t) and t[0] == 0:  # 0 itself may be an edge
        t, masses = t[1:], masses[1:]
    if len(zeta) * len(t) > CHUNK and len(zeta) > 1:
        cut = max(1, CHUNK // len(t))
        parts = [integrals(mu, zeta[i : i + cut]) for i in range(0, len(zeta), cut)]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    pole = t - zeta[:, None]
    np.reciprocal(pole, out=pole)
    weight = t * masses
    first = weighted(pole, weight)
    pole *= pole
    second = weighted(pole, weight * t)
    of_density = population(mu.panels, zeta)
    return first + of_density[0], second + of_density[1]
