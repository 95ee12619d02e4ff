"""Are two samples of kernels of one law?"""

import numpy as np
from scipy import stats


def statistics(kernels, seed):
    """Of kernels [s, n, n, k, k]: entries, eigenvalues, products, random projections."""
    count, n, _, k, _ = kernels.shape
    matrices = kernels.transpose(0, 1, 3, 2, 4).reshape(count, n * k, n * k)
    entries = matrices[:, *np.triu_indices(n * k)]
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, entries.shape[1], (2, 12))
    products = entries[:, pairs[0]] * entries[:, pairs[1]]
    projections = entries @ rng.normal(size=(entries.shape[1], 8))
    return np.concatenate([entries, np.linalg.eigvalsh(matrices), products, projections], axis=1)


def smallest_p(one, other, seed=0):
    """The smallest p-value of two-sample Kolmogorov–Smirnov tests, times their number."""
    one, other = statistics(one, seed), statistics(other, seed)
    # Rounding makes steps out of exactly constant statistics (eigenvalues that are 0).
    scale = np.abs(one).max(axis=0, keepdims=True) + np.abs(one).max() * 1e-9
    one, other = np.round(one / scale, 9), np.round(other / scale, 9)
    p = [
        stats.ks_2samp(a, b, method="asymp").pvalue
        for a, b in zip(one.T, other.T, strict=True)
        if np.ptp(a) > 0 or np.ptp(b) > 0
    ]
    assert len(p) > 20
    return min(p) * len(p)
