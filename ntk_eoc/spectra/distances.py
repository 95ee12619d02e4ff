"""How far eigenvalues are from a law."""

import numpy as np
from jaxtyping import Float

from ntk_eoc.spectra.laws import SpectralLaw


def kolmogorov(law: SpectralLaw, values: Float[np.ndarray, "n"]) -> float:
    """Return sup_t |F_n(t) − F(t)|, with the limits from both sides at every jump of either."""
    n = len(values)
    t = np.sort(np.concatenate([values, law.points]))
    ordered = np.sort(values)
    at = np.searchsorted(ordered, t, side="right") / n - law.cdf(t)
    # Just below t the law's own atom at t is missing, and so are the eigenvalues equal to t.
    below = law.cdf(t) - _atom_at(law, t)
    before = np.searchsorted(ordered, t, side="left") / n - below
    return float(max(np.max(np.abs(at)), np.max(np.abs(before))))


def _atom_at(law: SpectralLaw, t: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    if not len(law.points):
        return np.zeros(t.shape)
    at = np.minimum(np.searchsorted(law.points, t), len(law.points) - 1)
    return np.where(law.points[at] == t, law.masses[at], 0.0)


def wasserstein(law: SpectralLaw, values: Float[np.ndarray, "n"]) -> float:
    """Return ∫ |F_n − F| dt, from the quantiles of the law at the middle of each step of F_n."""
    n = len(values)
    middles = law.quantile((np.arange(n) + 0.5) / n)
    return float(np.mean(np.abs(np.sort(values) - middles)))
