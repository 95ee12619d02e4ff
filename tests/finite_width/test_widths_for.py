"""`widths_for` keeps its promise, and says what no width can keep."""

import numpy as np
import pytest

import ntk_eoc as ne
from ntk_eoc.finite_width import closed_forms
from ntk_eoc.finite_width.budgets import BUDGETS, cheapest, price

RELU = ne.edge_of_chaos("relu")


def sphere(n, d=8, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1)[:, None] * d**0.5


@pytest.mark.parametrize("budget", BUDGETS)
def test_exact_cheapest_is_a_minimum(budget):
    a = np.array([3.0, 1.0, 2.0, 5.0])
    cost = BUDGETS[budget](16, 5, 2, True)
    m = cheapest(cost, a, 0.01)
    assert abs((a / m).sum() - 0.01) < 1e-12
    rng = np.random.default_rng(0)
    for _ in range(200):
        other = m * np.exp(0.05 * rng.normal(size=4))
        other *= (a / other).sum() / 0.01
        assert price(cost, other) >= price(cost, m)
    if budget == "neurons":
        np.testing.assert_allclose(m, closed_forms.optimal_widths(a, m.sum()).widths, rtol=1e-9)


@pytest.mark.parametrize("budget", BUDGETS)
def test_exact_the_cheapest_beats_the_schedules(budget):
    found = ne.widths_for(RELU, sphere(4), 5, 0.1, 0.9, budget, draws=2000)
    assert found.best.error.value <= 0.1
    assert repr(found).startswith("<WidthsFor operator norm within 0.1 at probability 0.9: (")
    assert repr(found.law).startswith("<Fluctuations of relu, l = 5, n = 4, k = 1: v_j = ")
    for choice in found.schedules.values():
        assert choice.error.value <= 0.1
        # The optimum is found from draws: 2,000 of them place a quantile to some percent.
        assert found.best.cost <= 1.02 * choice.cost
    k2 = found.schedules["quadratic"].widths
    np.testing.assert_allclose(np.array(k2[:-1]) / k2[0], np.arange(1, 5) ** 2, rtol=0.02)


def test_exact_twice_the_precision_takes_four_times_the_width():
    once, twice = (ne.widths_for(RELU, sphere(4), 3, e, 0.9, draws=1000) for e in (0.1, 0.05))
    np.testing.assert_allclose(twice.widths[:-1], 4 * np.array(once.widths[:-1]), rtol=0.01)


def test_exact_frobenius_norm_of_one_entry():
    """One input: K − K∞ is a Gaussian number, and its quantile is known."""
    found = ne.widths_for(RELU, sphere(1), 4, 0.05, 0.9, norm="frobenius", draws=8000)
    variance = closed_forms.one_input_shares(RELU.activation, 4) / np.array(found.widths[:-1])
    predicted = 1.6449 * variance.sum() ** 0.5 / 4  # P(|g| < 1.6449) = 0.9
    assert abs(predicted / 0.05 - 1) < 0.05  # 8,000 draws place the quantile to 1.3 %


def test_exact_depth_one_needs_no_width():
    found = ne.widths_for(RELU, sphere(3), 1, outputs=2)
    assert found.widths == (2,)
    assert found.best.error.value == 0


def test_exact_bad_input_is_refused():
    x = sphere(3)
    with pytest.raises(ValueError, match=r"`error` must be >= 2.7e-15|`error` must be >= 3e-15"):
        ne.widths_for(RELU, x, 3, error=1e-16)
    with pytest.raises(ValueError, match=r"`error` must be >= .* for widths below 2³¹, got 1e-08"):
        ne.widths_for(RELU, x, 3, error=1e-8, draws=300)
    with pytest.raises(ValueError, match=r"`probability` must be between 0 and 1, got 1.0"):
        ne.widths_for(RELU, x, 3, probability=1.0)
    with pytest.raises(ValueError, match=r"`budget` must be one of flops, neurons, parameters"):
        ne.widths_for(RELU, x, 3, budget="flop")
    with pytest.raises(ValueError, match=r"`norm` must be one of frobenius, largest, operator"):
        ne.widths_for(RELU, x, 3, norm="spectral")
    with pytest.raises(ValueError, match=r"`x` must be such that K∞ is not 0, got 'zeros'"):
        ne.widths_for(RELU, 0 * x, 3)
    with pytest.raises(ValueError, match=r"`probability` must be <= 0.985 with 200 draws"):
        ne.widths_for(RELU, x, 3, draws=200)
    tiny, plain = (ne.widths_for(RELU, c * x, 3, 0.2, 0.9, draws=300) for c in (1e-20, 1.0))
    assert tiny.widths == plain.widths
