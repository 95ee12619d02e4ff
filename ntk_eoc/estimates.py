"""Statistics of random kernels: a number never travels without its error and its count."""

from collections.abc import Sequence
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
    logs = np.log(np.asarray(x, dtype=np.float64))
    require(len(groups) == logs.size, "groups", f"of length {logs.size} like `x`", len(groups))
    require(np.unique(logs).size > 1, "x", "at least two different positive numbers", list(x))
    require_count("resamples", resamples)
    rng = np.random.default_rng(seed)
    draws = [np.asarray(g, dtype=np.float64) for g in groups]
    means = np.array([g.mean() for g in draws])
    require(bool((means > 0).all()), "groups", "positive on average", means)
    boot = np.stack(
        [g[rng.integers(g.size, size=(resamples, g.size))].mean(axis=1) for g in draws], axis=1
    )
    centred = (logs - logs.mean()) / ((logs - logs.mean()) ** 2).sum()
    slopes = np.log(boot) @ centred
    slope = float(np.log(means) @ centred)
    tail = (1 - confidence) / 2
    low, high = np.quantile(slopes, [tail, 1 - tail])
    prefactor = float(np.exp(np.log(means).mean() - slope * logs.mean()))
    return Exponent(slope, float(low), float(high), prefactor, sum(g.size for g in draws))
