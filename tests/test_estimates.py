import math

import numpy as np
import pytest
from scipy import stats

from ntk_eoc.estimates import FEWEST, exponent, exponents, interval, mean, quantile

LAWS = {
    "normal(0, 1)": stats.norm(),
    "normal(1, 0.2)": stats.norm(1, 0.2),
    "lognormal(0.5)": stats.lognorm(0.5),
    "lognormal(1)": stats.lognorm(1),
    "exponential": stats.expon(),
    "Pareto(3)": stats.pareto(3),
    "Pareto(5)": stats.pareto(5),
}


def test_exact_mean():
    estimate = mean(np.array([1.0, 2.0, 4.0]))
    assert estimate.mean == pytest.approx(7 / 3)
    assert estimate.error == pytest.approx(np.std([1, 2, 4], ddof=1) / np.sqrt(3))
    assert estimate.draws == 3


def test_exact_exponent_of_a_power_law():
    x = [1, 10, 100]
    fit = exponent(x, [3.0 * np.full(5, v**-0.5) for v in x])
    assert fit.slope == pytest.approx(-0.5)
    assert fit.prefactor == pytest.approx(3.0)
    assert fit.low == pytest.approx(-0.5)


def test_exact_exponents_of_a_product_of_powers():
    a, b = [1.0, 2.0, 4.0, 3.0], [1.0, 5.0, 2.0, 7.0]
    groups = [3.0 * np.full(5, u**-0.5 * v**2) for u, v in zip(a, b, strict=True)]
    fit = exponents({"a": a, "b": b}, groups)
    assert fit["a"].slope == pytest.approx(-0.5)
    assert fit["b"].slope == pytest.approx(2.0)
    assert fit["a"].prefactor == pytest.approx(3.0)


def test_exact_interval_of_both_signs_is_students():
    samples = np.array([-1.0, 0.5, 2.0, 0.1, 1.3])
    found = interval(samples)
    error = stats.sem(samples)
    expected = stats.t.interval(0.95, 4, samples.mean(), error)
    np.testing.assert_allclose((found.low, found.high), expected, rtol=1e-12)


def test_exact_interval_of_one_sign_scales_and_mirrors():
    samples = np.array([1.0, 1.5, 0.7, 2.4, 1.1, 0.9])
    one, more, less = interval(samples), interval(1e-9 * samples), interval(-samples)
    assert 0 < one.low < one.mean < one.high
    assert one.high / one.mean > one.mean / one.low
    np.testing.assert_allclose(more[:3], 1e-9 * np.array(one[:3]), rtol=1e-12)
    np.testing.assert_allclose((less.low, less.high), (-one.high, -one.low), rtol=1e-12)
    relative = stats.sem(samples) / samples.mean()
    tails = np.log(np.array([one.high, one.low]) / one.mean) / relative
    probabilities = stats.t.sf(tails, 5)
    np.testing.assert_allclose(probabilities, [0.03 * 0.05, 1 - 0.97 * 0.05], rtol=1e-9)


@pytest.mark.parametrize("count", range(1, FEWEST))
def test_exact_no_interval_from_too_few_draws(count):
    few, many = 1.0 + np.arange(count), 1.0 + np.arange(9)
    for found in (
        interval(few),
        quantile(few, 0.5),
        exponent((1, 2), (few, many)),
        exponents({"a": (1, 2, 4)}, (many, many, few))["a"],
    ):
        assert math.isnan(found.low)
        assert math.isnan(found.high)
        assert math.isfinite(found[0])


def test_exact_quantile_ends_are_order_statistics_where_their_tails_fit():
    ordered = np.arange(1.0, 6.0)  # 2/2⁵ = 6.25 % for the least and the greatest of five
    assert quantile(ordered, 0.5)[1:3] == (1.0, 5.0)
    ordered = np.arange(1.0, 11.0)  # P(B <= 1) = 11/1024, exactly the tail that is asked for
    found = quantile(ordered, 0.5, confidence=1 - 22 / 1024)
    np.testing.assert_allclose((found.low, found.high), (2, 9), rtol=1e-9)
    skewed = quantile(ordered, 0.2)
    mirrored = quantile(-ordered, 0.8)
    np.testing.assert_allclose(
        (skewed.low, skewed.high), (-mirrored.high, -mirrored.low), rtol=1e-12
    )


def test_exact_quantile_is_unbounded_where_the_sample_is_too_small():
    q = quantile(np.arange(10.0), 0.99)
    assert q.high == np.inf
    assert q.low <= q.value <= 9
    # all of the 5 % on the other side: P(B <= 6) = 1.3 %, P(B <= 7) = 7.0 %
    assert 7 < quantile(np.arange(1.0, 11.0), 0.9).low < 8


def test_exact_slope_of_two_points_is_welchs():
    """With little spread a slope over one octave is the difference of two means."""
    rng = np.random.default_rng(2)
    first, second = 1 + 1e-6 * rng.normal(size=(2, 12))
    second = 1 + 3 * (second - 1)
    fit = exponent((1, 2), (first, second))
    # each variance is averaged with their mean as if that were one more draw
    variances = np.array([np.var(g, ddof=1) for g in (first, second)])
    variances = (11 * variances + variances.mean()) / 12
    parts = variances / 12
    freedom = parts.sum() ** 2 / np.sum(parts**2 / 11)
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(parts.sum()) / np.log(2)
    np.testing.assert_allclose((fit.high - fit.low) / 2, reach, rtol=1e-4)
    assert fit.low < 0 < fit.high


def coverages(law, count, repetitions, seed):
    """How often each interval holds the truth: mean, two quantiles, slopes of two designs."""
    rng = np.random.default_rng(seed)
    exact, (middle, high) = law.mean(), law.ppf([0.5, 0.8])
    hits = np.zeros(5)
    for _ in range(repetitions):
        groups = list(law.rvs((4, count), random_state=rng))
        one, half, most = interval(groups[0]), quantile(groups[0], 0.5), quantile(groups[0], 0.8)
        hits[0] += one.low <= exact <= one.high
        hits[1] += half.low <= middle <= half.high
        hits[2] += most.low <= high <= most.high
        if law.cdf(0) < 1e-6:  # positive draws have powers
            line = exponent((1, 4, 16, 64), groups)
            plane = exponents({"a": (1, 2, 1, 2), "b": (1, 1, 3, 3)}, groups)["b"]
            hits[3] += line.low <= 0 <= line.high
            hits[4] += plane.low <= 0 <= plane.high
    return hits[: 5 if law.cdf(0) < 1e-6 else 3] / repetitions


@pytest.mark.parametrize("name", ["normal(1, 0.2)", "lognormal(1)", "Pareto(3)"])
def test_within_error_intervals_of_five_draws_cover(name):
    found = coverages(LAWS[name], FEWEST, 200, seed=0)
    # binomial(200, p) is within 3 standard errors, 0.05, of 93–97 %
    assert np.all(found > 0.88)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [5, 8, 16, 48])
@pytest.mark.parametrize("name", LAWS)
def test_within_error_intervals_cover_in_a_thousand_repetitions(name, count):
    found = coverages(LAWS[name], count, 1000, seed=count)
    noise = 2 * np.sqrt(0.95 * 0.05 / 1000)  # two standard errors of the measurement, 1.4 %
    assert np.all(found > 0.93 - noise)
    assert np.all(found < 0.97 + noise)


SPREADS = {  # two narrow points, a wider and a wide one, and what a slope's interval is to cover
    "normal": ([stats.norm(1, s) for s in (0.01, 0.05, 0.1, 0.3)], 0.93, 0.97),
    "lognormal": ([stats.lognorm(s) for s in (0.1, 0.2, 0.5, 1.0)], 0.88, 0.94),
    "Pareto": ([stats.pareto(a) for a in (20, 10, 5, 3)], 0.81, 0.96),
}


@pytest.mark.slow
@pytest.mark.parametrize("count", [5, 16])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (0, 3, 0, 1)])
@pytest.mark.parametrize("name", SPREADS)
def test_within_error_slopes_of_mixed_spreads_cover_what_is_said(name, order, count):
    laws, least, most = SPREADS[name]
    rng, hits = np.random.default_rng(count), 0
    for _ in range(1000):
        groups = [
            laws[i].rvs(count, random_state=rng) / laws[i].mean() for i in order
        ]  # of mean 1: the slope is 0
        found = exponent((1, 4, 16, 64), groups)
        hits += found.low <= 0 <= found.high
    noise = 2 * np.sqrt(0.9 * 0.1 / 1000)
    assert least - noise < hits / 1000 < most + noise


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="`samples` must be finite"):
        mean(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="`x` must be at least two different"):
        exponent([1, 1], [np.ones(2), np.ones(2)])
    with pytest.raises(ValueError, match="`factors` must be independent"):
        exponents({"a": [1, 2, 4], "b": [3, 6, 12]}, [np.ones(2)] * 3)
    with pytest.raises(ValueError, match="`level` must be between 0 and 1"):
        quantile(np.ones(3), 1.0)
    with pytest.raises(ValueError, match=r"`confidence` must be in \[0.5, 1\)"):
        interval(np.ones(7), confidence=95)
    with pytest.raises(ValueError, match="`samples` must be finite"):
        quantile(np.array([1.0, np.nan]), 0.5)
    with pytest.raises(ValueError, match="`groups` must be of at least one number each"):
        exponent((1, 2), (np.ones(0), np.ones(5)))
