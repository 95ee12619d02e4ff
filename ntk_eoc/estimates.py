"""Statistics of random kernels: a number never travels without its error and its count.

Intervals are meant for few and skewed draws, such as the norms of random matrices at five seeds.
What they cover was measured on normal, lognormal and Pareto draws (`tests/test_estimates.py`):
93–97 % where 95 % is asked for, from `FEWEST` draws on, but for slopes through points of very
different spread, of which `exponents` says more. Below that there is no interval: its ends are NaN.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import bdtr, stdtrit

from ntk_eoc.checks import require

Samples = Float[np.ndarray, "_"]  # groups may differ in size

FEWEST = 5  # draws below which no interval is given
# The share of the error probability that is left on the side of the long tail of positive draws.
# Few draws of a skewed law miss its tail, so that their mean is low and their spread small with it:
# equal shares of 2.5 % cover 80–90 % of lognormal and Pareto means at five draws. For a symmetric
# law the division does not matter.
LONG_TAIL = 0.03
# A group's variance is averaged with that of all groups as if these were so many draws more.
POOLED = 1
# An order statistic serves as an end if its tail is at most so many times the one asked for:
# the least and the greatest of five values cover their median with 93.75 %.
COARSE = 1.4


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


class Interval(NamedTuple):
    """A mean over draws with its confidence interval.

    Attributes:
        mean: Sample mean.
        low: Lower end; NaN for fewer draws than `FEWEST`.
        high: Upper end, farther from the mean than `low` for positive draws.
        draws: How many there were.
    """

    mean: float
    low: float
    high: float
    draws: int


class Quantile(NamedTuple):
    """A quantile with a distribution-free interval.

    Attributes:
        value: Sample quantile.
        low: Lower end, between two order statistics; NaN for fewer draws than `FEWEST`.
        high: Upper end; an end is infinite where the sample is too small to bound it.
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
        low: Lower end of its interval; NaN where a point has fewer draws than `FEWEST`.
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


def interval(samples: Samples, confidence: float = 0.95) -> Interval:
    """Return the mean of i.i.d. samples with its confidence interval.

    Student's t, on the logarithm of the mean where all samples have one sign, and then with
    3 % of the error probability on the side of the long tail (`LONG_TAIL`): mean · e^{±t s/mean},
    s the standard error. Samples of both signs get mean ± t s.

    Args:
        samples: The draws, finite.
        confidence: The probability with which the interval is to hold the mean, in [0.5, 1).
    """
    _require_confidence(confidence)
    centre, error, count = mean(samples)
    if count < FEWEST:
        return Interval(centre, math.nan, math.nan, count)
    total = 1 - confidence
    if np.min(samples) <= 0 <= np.max(samples):
        reach = error * _student(total / 2, count - 1)
        return Interval(centre, centre - reach, centre + reach, count)
    relative = error / abs(centre)
    near = centre * math.exp(-relative * _student(total * (1 - LONG_TAIL), count - 1))
    far = centre * math.exp(relative * _student(total * LONG_TAIL, count - 1))
    return Interval(centre, min(near, far), max(near, far), count)


def _require_confidence(confidence: float) -> None:
    require(0.5 <= confidence < 1, "confidence", "in [0.5, 1)", confidence)


def _student(tail: float, freedom: Any) -> Any:
    """The point that Student's t exceeds with probability `tail`."""
    return -stdtrit(freedom, tail)


def quantile(samples: Samples, level: float, confidence: float = 0.95) -> Quantile:
    """Return the quantile at `level` with its interval, whatever the distribution.

    The number of samples below the true quantile is binomial(count, level), so that the tail of
    every order statistic is known; between two of them the ends are interpolated (Nyblom 1992).
    Where one end cannot be bounded the other takes all of the error probability.

    Args:
        samples: The draws, finite.
        level: Of the quantile, in (0, 1).
        confidence: The probability with which the interval is to hold the quantile, in [0.5, 1).
    """
    require(0 < level < 1, "level", "between 0 and 1", level)
    _require_confidence(confidence)
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    count = ordered.size
    require(count > 0, "samples", "at least one number", ordered.shape)
    require(bool(np.isfinite(ordered).all()), "samples", "finite", samples)
    value, tail = float(np.quantile(ordered, level)), (1 - confidence) / 2
    if count < FEWEST:
        return Quantile(value, math.nan, math.nan, count)
    low, high = _lower_end(ordered, level, tail), -_lower_end(-ordered[::-1], 1 - level, tail)
    if low == -math.inf:
        high = -_lower_end(-ordered[::-1], 1 - level, 2 * tail)
    if high == math.inf:
        low = _lower_end(ordered, level, 2 * tail)
    return Quantile(value, min(low, value), max(high, value), count)


def _lower_end(ordered: Samples, level: float, tail: float) -> float:
    """The point that exceeds the quantile at `level` with probability `tail`, or −∞."""
    n = ordered.size
    above = bdtr(np.arange(n), n, level)  # P(x_r > quantile) = P(B <= r − 1), r = 1 … n
    if above[0] > tail:
        return float(ordered[0]) if above[0] <= COARSE * tail else -math.inf
    r = int(np.searchsorted(above, tail, side="right"))
    if r == n:
        return float(ordered[-1])
    odds = r * (1 - level) * (above[r] - tail) / ((n - r) * level * (tail - above[r - 1] + 1e-300))
    share = 1 / (1 + odds)
    return float((1 - share) * ordered[r - 1] + share * ordered[r])


def exponent(
    x: Sequence[float], groups: Sequence[Samples], *, confidence: float = 0.95
) -> Exponent:
    """Fit mean(y) ~ x^slope, with an interval for the slope as `exponents` does.

    Args:
        x: Positive abscissae, at least two different.
        groups: The draws of y at each x; their means must be positive.
        confidence: The probability with which the interval is to hold the slope, in [0.5, 1).
    """
    require(len(set(x)) > 1, "x", "at least two different positive numbers", list(x))
    return exponents({"x": x}, groups, confidence=confidence)["x"]


def exponents(
    factors: Mapping[str, Sequence[float]],
    groups: Sequence[Samples],
    *,
    confidence: float = 0.95,
) -> dict[str, Exponent]:
    """Fit mean(y) ~ Π_f f^slope_f by least squares of the logarithms.

    A slope is Σ w_i log mean_i. With v_i the squared relative standard error of mean_i the
    variance of its logarithm is v_i + (5/2) v_i² to second order, and the interval is Student's t
    with the degrees of freedom of Welch and Satterthwaite. It holds the error of the draws, not
    that of a law which is no power.

    What 95 % cover, from five to sixteen draws a point: 93–97 % at points of similar relative
    spread, whatever the law. Where the relative spread of one point is several times that of the
    others, its skew is that of the slope: still 93–97 % of normal draws, but 88–94 % of lognormal
    ones (deviations of the logarithm 0.1 to 1) and 81–96 % of Pareto ones (tails 20 to 3), least
    where the wide point is the first or the last.

    Args:
        factors: For each factor its positive value at every point, such that the logs of the
            factors and a constant are linearly independent.
        groups: The draws of y at each point; their means must be positive.
        confidence: The probability with which each interval is to hold its slope, in [0.5, 1).
    """
    _require_confidence(confidence)
    for name, values in factors.items():
        known = len(values) == len(groups)
        require(known, "groups", f"of length {len(values)} like `{name}`", len(groups))
        require(bool((np.asarray(values) > 0).all()), name, "positive", list(values))
    logs = np.log(np.array([*factors.values()], dtype=np.float64))
    design = np.vstack([np.ones(len(groups)), logs])
    rank = int(np.linalg.matrix_rank(design))
    require(rank == len(design), "factors", "independent of each other and a constant", factors)
    draws = [np.asarray(g, dtype=np.float64) for g in groups]
    require(all(g.size > 0 for g in draws), "groups", "of at least one number each", groups)
    means = np.array([g.mean() for g in draws])
    require(bool((means > 0).all()), "groups", "positive on average", means)
    solve = np.linalg.pinv(design)
    constant, *slopes = np.log(means) @ solve
    reach = _reach(draws, means, solve[:, 1:], 1 - confidence)
    count = sum(g.size for g in draws)
    return {
        name: Exponent(float(b), float(b - r), float(b + r), float(np.exp(constant)), count)
        for name, b, r in zip(factors, slopes, reach, strict=True)
    }


def _reach(
    draws: Sequence[Samples],
    means: Float[np.ndarray, "g"],
    weights: Float[np.ndarray, "g f"],
    error_probability: float,
) -> Float[np.ndarray, "f"]:
    """Half the width of the intervals of Σ_g weights · log mean_g; NaN from too few draws."""
    counts = np.array([g.size for g in draws])
    if counts.min() < FEWEST:
        return np.full(weights.shape[1], np.nan)
    freedom = counts - 1
    relative = np.array([g.var(ddof=1) for g in draws]) / means**2
    pooled = freedom @ relative / freedom.sum()
    squares = (freedom * relative + POOLED * pooled) / (freedom + POOLED) / counts
    parts = (squares * (1 + 2.5 * squares))[:, None] * weights**2
    variance = parts.sum(axis=0)
    spread = np.maximum(np.sum(parts**2 / freedom[:, None], axis=0), 1e-300)
    freedom_of_sum = np.maximum(variance**2 / spread, 1.0)
    return np.sqrt(variance) * _student(error_probability / 2, freedom_of_sum)
