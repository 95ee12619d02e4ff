"""Statistics of random kernels: a number never travels without its error and its count."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ntk_eoc.checks import require, require_count

Samples = Float[np.ndarray, "s"]


class Estimate(NamedTuple):
    """A mean over draws.

    Attributes:
        mean: Sample mean.
        error: Its standard error, s/√draws; NaN for a single draw.
        draws: How many there were.
    """

    mean: float
    error: float
    draws: int


class Quantile(NamedTuple):
    """A quantile with a distribution-free interval.

    Attributes:
        value: Sample quantile.
        low: Lower end of the order-statistic interval.
        high: Upper end; infinite where the sample is too small to bound it.
        draws: How many there were.
    """

    value: float
    low: float
    high: float
    draws: int


class Exponent(NamedTuple):
    """A power law y ~ x^slope fitted to means.

    Attributes:
        slope: Least-squares slope of log mean against log x.
        low: Lower end of the bootstrap interval.
        high: Upper end.
        prefactor: y at x = 1 of the fitted line.
        draws: How many, over all x.
    """

    slope: float
    low: float
    high: float
    prefactor: float
    draws: int


def mean(samples: Samples) -> Estimate:
    """Return the mean of i.i.d. samples with its standard error; non-finite ones are an error."""
    samples = np.asarray(samples, dtype=np.float64)
    require(samples.size > 0, "samples", "at least one number", samples.shape)
    require(bool(np.isfinite(samples).all()), "samples", "finite", samples)
    count = samples.size
    error = samples.std(ddof=1) / np.sqrt(count) if count > 1 else np.nan
    return Estimate(float(samples.mean()), float(error), count)


def quantile(samples: Samples, level: float, confidence: float = 0.95) -> Quantile:
    """Return the quantile at `level` with its order-statistic interval.

    The number of samples below the true quantile is binomial(count, level), so two order
    statistics bracket it with at least the stated confidence, whatever the distribution.
    """
    require(0 < level < 1, "level", "between 0 and 1", level)
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    count = ordered.size
    require(count > 0, "samples", "at least one number", ordered.shape)
    tail = (1 - confidence) / 2
    below = _binomial_cdf(count, level)
    low = int(np.searchsorted(below, tail, side="right")) - 1  # P(B <= low) <= tail
    high = int(np.searchsorted(below, 1 - tail))  # P(B > high) <= tail
    return Quantile(
        float(np.quantile(ordered, level)),
        float(ordered[low]) if low >= 0 else -np.inf,
        float(ordered[high]) if high < count else np.inf,
        count,
    )


def _binomial_cdf(count: int, p: float) -> np.ndarray:
    """P(B <= j), j = 0 … count, through logarithms: count may be millions."""
    j = np.arange(count)
    steps = np.log1p(count - 1 - j) - np.log1p(j) + np.log(p) - np.log1p(-p)
    logs = count * np.log1p(-p) + np.concatenate([[0.0], np.cumsum(steps)])
    return np.minimum(np.cumsum(np.exp(logs)), 1.0)


def exponent(
    x: Sequence[float],
    groups: Sequence[Samples],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Exponent:
    """Fit mean(y) ~ x^slope and bootstrap the slope over the draws within each x.

    Args:
        x: Positive abscissae, at least two different.
        groups: The draws of y at each x; their means must be positive.
        resamples: Bootstrap resamples.
        confidence: Of the percentile interval.
        seed: Of the resampling.
    """
    require(len(set(x)) > 1, "x", "at least two different positive numbers", list(x))
    found = exponents({"x": x}, groups, resamples=resamples, confidence=confidence, seed=seed)
    return found["x"]


def exponents(
    factors: Mapping[str, Sequence[float]],
    groups: Sequence[Samples],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Exponent]:
    """Fit mean(y) ~ Π_f f^slope_f by least squares of the logs and bootstrap every slope.

    Args:
        factors: For each factor its positive value at every point, such that the logs of the
            factors and a constant are linearly independent.
        groups: The draws of y at each point; their means must be positive.
        resamples: Bootstrap resamples of the draws within each point.
        confidence: Of the percentile intervals, each on its own.
        seed: Of the resampling.
    """
    require_count("resamples", resamples)
    for name, values in factors.items():
        known = len(values) == len(groups)
        require(known, "groups", f"of length {len(values)} like `{name}`", len(groups))
        require(bool((np.asarray(values) > 0).all()), name, "positive", list(values))
    logs = np.log(np.array([*factors.values()], dtype=np.float64))
    design = np.vstack([np.ones(len(groups)), logs])
    rank = int(np.linalg.matrix_rank(design))
    require(rank == len(design), "factors", "independent of each other and a constant", factors)
    rng = np.random.default_rng(seed)
    draws = [np.asarray(g, dtype=np.float64) for g in groups]
    means = np.array([g.mean() for g in draws])
    require(bool((means > 0).all()), "groups", "positive on average", means)
    boot = np.stack(
        [g[rng.integers(g.size, size=(resamples, g.size))].mean(axis=1) for g in draws], axis=1
    )
    solve = np.linalg.pinv(design)
    constant, *slopes = np.log(means) @ solve
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.log(boot) @ solve, [tail, 1 - tail], axis=0)
    count = sum(g.size for g in draws)
    return {
        name: Exponent(float(slope), float(a), float(b), float(np.exp(constant)), count)
        for name, slope, a, b in zip(factors, slopes, low[1:], high[1:], strict=True)
    }
