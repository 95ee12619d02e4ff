import numpy as np
import pytest

from ntk_eoc.estimates import exponent, exponents, mean, quantile


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


def test_within_error_intervals_cover():
    rng = np.random.default_rng(0)
    slopes = quantiles = 0
    for trial in range(200):
        groups = [v**-0.5 * rng.exponential(size=60) for v in (1, 4, 16, 64)]
        fit = exponent((1, 4, 16, 64), groups, resamples=300, seed=trial)
        slopes += fit.low <= -0.5 <= fit.high
        q = quantile(rng.exponential(size=150), 0.9)
        quantiles += q.low <= np.log(10) <= q.high
    # 95 % intervals: binomial(200, 0.95) is below 181 with probability 0.1 %; the percentile
    # bootstrap of 60 skewed draws covers a little less, 93 %.
    assert slopes >= 174
    assert quantiles >= 181


def test_exact_quantile_is_unbounded_where_the_sample_is_too_small():
    q = quantile(np.arange(10.0), 0.99)
    assert q.high == np.inf
    assert q.low <= q.value <= 9


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="`samples` must be finite"):
        mean(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="`x` must be at least two different"):
        exponent([1, 1], [np.ones(2), np.ones(2)])
    with pytest.raises(ValueError, match="`factors` must be independent"):
        exponents({"a": [1, 2, 4], "b": [3, 6, 12]}, [np.ones(2)] * 3)
    with pytest.raises(ValueError, match="`level` must be between 0 and 1"):
        quantile(np.ones(3), 1.0)
