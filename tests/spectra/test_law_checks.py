"""Laws check themselves: exact moments, pieces and edges, at every ratio."""

import numpy as np
import pytest

import ntk_eoc as ne
from ntk_eoc.spectra.densities import marchenko_pastur, uniform
from ntk_eoc.spectra.free_convolution import free_multiplicative_convolution, gram_law
from ntk_eoc.spectra.laws import SpectralLaw, from_atoms
from ntk_eoc.spectra.quadratic_scaling_law import coefficients, quadratic_scaling_law

QUADRATIC = ne.Activation("quadratic", lambda s: s * s / 2)


def check(law, mean, second):
    """Mass, mean and second moment within the error that the law claims, and its status says so."""
    off = [law.moment(0) - 1, law.moment(1) / mean - 1, law.moment(2) / second - 1]
    if law.status == "ok":
        assert np.max(np.abs(off)) <= law.error + 1e-13
        assert law.error < 1e-8
        assert abs(law.cdf(law.bounds[1] * (1 + 1e-9)) - 1) < 1e-8
        assert np.all(law.pieces[1:, 0] >= law.pieces[:-1, 1])
    return law.status == "ok"


def random_law(seed):
    """2–6 atoms, over four decades or evenly, masses equal or not; γ from 1e-6 to 1e6."""
    rng = np.random.default_rng(seed)
    count, gamma = rng.integers(2, 7), 10 ** rng.uniform(-6, 6)
    points = 10 ** rng.uniform(-2, 2, count) if rng.random() < 0.5 else rng.uniform(0, 2, count)
    masses = rng.dirichlet(np.ones(count)) if rng.random() < 0.7 else np.full(count, 1 / count)
    return from_atoms(points, masses / masses.sum()), gamma


def check_random_laws(seeds):
    sound = 0
    for seed in seeds:
        mu, gamma = random_law(seed)
        mean, second = mu.moment(1), mu.moment(2)
        sound += check(gram_law(mu, gamma), mean, gamma * second + mean**2)
    return sound


def test_exact_moments_of_random_laws_at_any_ratio():
    assert check_random_laws(range(60)) == 60


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_exact_moments_of_two_thousand_random_laws():
    assert check_random_laws(range(2000)) >= 1990  # the rest say in their status that they are not


def random_quadratic_law(seed):
    rng = np.random.default_rng(seed)
    act = ne.activation(str(rng.choice(["relu", "gelu", "tanh"])))
    values = rng.uniform(0, 2, rng.integers(2, 6))
    gamma1, gamma2 = 10 ** rng.uniform(-6, 6), 10 ** rng.uniform(-1, 1)
    law, coefs = quadratic_scaling_law(act, gamma1, gamma2, values), coefficients(act)
    scale, square = coefs.nu2 + coefs.c1**2, np.mean(values**2)
    second = scale**2 * np.mean(values**4) + 2 * coefs.c1**4 * gamma2 * square**2
    mean = scale * square
    return check(law, mean, gamma1 * second + mean**2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_exact_moments_of_random_quadratic_laws():
    assert sum(random_quadratic_law(seed) for seed in range(40)) >= 20


@pytest.mark.parametrize(
    ("mu", "gamma"),
    [
        (uniform(1.0, 2.0), 0.01),
        (uniform(1.0, 2.0), 1e-6),
        (uniform(0.0, 1.0), 1e-4),
        (marchenko_pastur(0.5), 1e-5),
        (marchenko_pastur(2.0), 1e-3),
        (uniform(1.0, 2.0), 1e5),
    ],
)
def test_exact_smooth_populations_at_extreme_ratios(mu, gamma):
    law, (mean, second) = gram_law(mu, gamma), (mu.moment(1), mu.moment(2))
    assert check(law, mean, gamma * second + mean**2)
    if gamma <= 1e-4:  # a semicircle around the mean, to order γ
        half = 2 * np.sqrt(gamma * second)
        np.testing.assert_allclose(law.bounds, [mean - half, mean + half], atol=5 * gamma)


@pytest.mark.parametrize("gamma", [0.25, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("points", [(0.0625, 0.25), (0.25, 2.25), (1.0, 30.0)])
def test_exact_two_atoms_open_a_gap_where_the_discriminant_says(points, gamma):
    """The edges are the real double roots of a cubic in v, one pair each."""
    law, (s, t) = gram_law(from_atoms(points), gamma), points
    # z(v) = −1/v + ½ s/(1 + γ s v) + ½ t/(1 + γ t v): z' = 0, cleared of denominators
    v = np.polynomial.Polynomial([0.0, 1.0])
    p, q = 1 + gamma * s * v, 1 + gamma * t * v
    slope = p**2 * q**2 - gamma / 2 * v**2 * (s**2 * q**2 + t**2 * p**2)
    roots = slope.roots()
    real = roots[np.abs(roots.imag) < 1e-9 * np.abs(roots)].real
    real = real[np.abs(real) > 1e-12]
    edges = -1 / real + s / 2 / (1 + gamma * s * real) + t / 2 / (1 + gamma * t * real)
    edges = np.sort(np.r_[edges, np.zeros(int(gamma == 1))])  # at γ = 1 one root is v = ∞, x = 0
    found = np.ravel(law.support)
    assert len(found) == len(edges)
    np.testing.assert_allclose(found, edges, rtol=1e-8, atol=1e-8 * edges[-1])


def test_exact_no_false_gap_at_the_ends_of_two_positive_weights():
    law = quadratic_scaling_law(QUADRATIC, 0.25, 1.0, [0.5, 1.5])
    assert check(law, 1.25, 0.25 * ((0.0625 + 5.0625) / 2 + 2 * 1.25**2) + 1.25**2)
    assert law.status == "ok"
    tanh = quadratic_scaling_law(ne.activation("tanh"), 1.0, 1.0, [0.5, 1.5])
    assert tanh.status == "ok"
    assert len(tanh.support) == 1


@pytest.mark.parametrize("gamma", [0.5, 1.5, 3.0])
@pytest.mark.parametrize("noise", [1e-17, -1e-17])
def test_agrees_zeros_up_to_rounding_are_zeros(gamma, noise):
    positive = np.linspace(0.1, 3.0, 20)
    exact = gram_law(from_atoms(np.r_[np.zeros(12), positive]), gamma)
    noisy = gram_law(from_atoms(np.r_[noise * np.arange(12), positive]), gamma)
    np.testing.assert_allclose(noisy.pieces, exact.pieces)
    assert noisy.atoms == exact.atoms
    assert noisy.status == "ok"


def test_exact_a_law_that_misses_its_moments_says_so():
    density = lambda x: np.full(x.shape, 1.0)  # noqa: E731
    pieces, none = np.array([[0.0, 1.0]]), np.zeros(0)
    assert SpectralLaw(none, none, pieces, density, known=(0.5, 1 / 3)).status == "ok"
    off = SpectralLaw(none, none, pieces, density, known=(0.51, 1 / 3))
    assert off.status.startswith("inaccurate")
    np.testing.assert_allclose(off.error, 0.01 / 0.51, rtol=1e-9)
    twice = SpectralLaw(none, none, np.array([[0, 0.6], [0.5, 1.0]]), density)
    assert twice.status.startswith("inconsistent")


def test_exact_the_textbook_product_knows_its_moments():
    mu = from_atoms([1.0, 10.0], [0.3, 0.7])
    for c in (1e-4, 0.3, 50.0):
        law = free_multiplicative_convolution(marchenko_pastur(c), mu)
        assert check(law, mu.moment(1), mu.moment(2) + c * mu.moment(1) ** 2)


@pytest.mark.parametrize("law", [uniform(1.0, 2.0), marchenko_pastur(0.5), from_atoms([0.0, 1.0])])
def test_exact_the_quantile_of_0_is_the_lower_end(law):
    assert law.quantile(0.0) == law.bounds[0]
    np.testing.assert_allclose(law.quantile(1.0), law.bounds[1])
    np.testing.assert_array_equal(law.quantile([]), np.zeros(0))
