"""Spectral laws against closed forms, free cumulants and random matrices."""

import itertools

import numpy as np
import pytest
from numpy.polynomial import Polynomial

from ntk_eoc.spectra.densities import from_density, marchenko_pastur, uniform
from ntk_eoc.spectra.free_convolution import (
    free_multiplicative_convolution,
    gram_law,
    invert,
)
from ntk_eoc.spectra.law_algebra import classical_convolution, mixture, scaled, squared
from ntk_eoc.spectra.laws import (
    SpectralLaw,
)

DECADES = np.geomspace(1e-2, 1e2, 500)
MEASURES = {
    "one atom": lambda: SpectralLaw.from_atoms([1.0]),
    "two atoms": lambda: SpectralLaw.from_atoms([1.0, 10.0], [0.3, 0.7]),
    "an atom at zero": lambda: SpectralLaw.from_atoms([0.0, 1.0, 10.0], [0.2, 0.3, 0.5]),
    "four decades": lambda: SpectralLaw.from_atoms(DECADES),
    "uniform": lambda: uniform(1.0, 2.0),
    "down to zero": lambda: squared(uniform(-1.0, 1.0)),
    "Marchenko–Pastur": lambda: marchenko_pastur(0.5),
    "a sum": lambda: classical_convolution(marchenko_pastur(0.5), marchenko_pastur(0.5)),
}


def moments_of(cumulants):
    """Moments 1 … 4 from free cumulants, summed over noncrossing partitions."""
    k1, k2, k3, k4 = cumulants
    return [
        k1,
        k2 + k1**2,
        k3 + 3 * k2 * k1 + k1**3,
        k4 + 4 * k3 * k1 + 2 * k2**2 + 6 * k2 * k1**2 + k1**4,
    ]


@pytest.mark.parametrize("ratio", [0.25, 1.0, 4.0])
def test_exact_marchenko_pastur_is_recovered(ratio):
    one, exact = SpectralLaw.from_atoms([1.0]), marchenko_pastur(ratio)
    (a, b), laws = (
        exact.support[0],
        (gram_law(one, ratio), free_multiplicative_convolution(exact, one)),
    )
    x = np.linspace(a, b, 1001)[1:-1]
    for law in laws:
        np.testing.assert_allclose(law.density(x), exact.density(x), rtol=0, atol=1e-10)
        np.testing.assert_allclose(law.support[0], (a, b), rtol=0, atol=1e-8)
        np.testing.assert_allclose(law.masses, exact.masses, rtol=0, atol=1e-14)
        assert law.status == "ok"


@pytest.mark.parametrize("gamma", [0.05, 0.5, 1.0, 2.0])
def test_exact_two_atoms_solve_the_cubic(gamma):
    (t1, m1), (t2, m2) = law_mu = ((1.0, 0.3), (10.0, 0.7))
    law = gram_law(SpectralLaw.from_atoms(*zip(*law_mu, strict=True)), gamma)
    v = Polynomial([0.0, 1.0])
    p1, p2 = 1 + gamma * t1 * v, 1 + gamma * t2 * v
    for a, b in law.support:
        x = np.linspace(a, b, 101)[1:-1]
        roots = [(p1 * p2 + z * v * p1 * p2 - v * (m1 * t1 * p2 + m2 * t2 * p1)).roots() for z in x]
        exact = np.array([np.max(r.imag) for r in roots]) / np.pi
        np.testing.assert_allclose(law.density(x), exact, rtol=1e-7, atol=1e-10)
        # just outside, no root is complex
        for z in (a - 1e-6 * b, b + 1e-6 * b):
            outside = p1 * p2 + z * v * p1 * p2 - v * (m1 * t1 * p2 + m2 * t2 * p1)
            assert np.max(np.abs(outside.roots().imag)) == 0


@pytest.mark.parametrize(
    ("name", "gamma"), list(itertools.product(MEASURES, [0.25, 0.5, 2.0, 50.0]))
)
def test_exact_mass_and_moments_are_those_of_the_free_cumulants(name, gamma):
    mu = MEASURES[name]()
    law = gram_law(mu, gamma)
    assert law.status == "ok"
    np.testing.assert_allclose(law.moment(0), 1, rtol=0, atol=1e-8)
    exact = moments_of([gamma ** (r - 1) * mu.moment(r) for r in range(1, 5)])
    np.testing.assert_allclose([law.moment(r) for r in range(1, 5)], exact, rtol=1e-8)
    zero = max(
        0.0, 1 - sum(m for t, m in [*mu.atoms, (1, mu.moment(0) - sum(mu.masses))] if t) / gamma
    )
    np.testing.assert_allclose(sum(m for t, m in law.atoms if t == 0), zero, rtol=0, atol=1e-9)


@pytest.mark.parametrize("c", [0.25, 4.0])
def test_exact_the_textbook_product_has_another_second_moment(c):
    mu = MEASURES["two atoms"]()
    gram, product = gram_law(mu, c), free_multiplicative_convolution(marchenko_pastur(c), mu)
    m1, m2 = mu.moment(1), mu.moment(2)
    np.testing.assert_allclose(gram.moment(2), c * m2 + m1**2, rtol=1e-10)
    np.testing.assert_allclose(product.moment(2), m2 + c * m1**2, rtol=1e-10)
    # κ_n(μ ⊠ MP_c), through the S-transform S_MP(z) = 1/(1 + c z): third moment by expansion
    third = mu.moment(3) + 3 * c * m1 * m2 + c**2 * m1**3
    np.testing.assert_allclose(product.moment(3), third, rtol=1e-10)


def test_exact_the_product_commutes_and_associates():
    two, half = marchenko_pastur(2.0), marchenko_pastur(0.5)
    first = free_multiplicative_convolution(two, half)
    second = free_multiplicative_convolution(half, two)
    x = np.linspace(*first.support[0], 50)[1:-1]
    mu = SpectralLaw.from_atoms([1.0, 3.0])
    left = free_multiplicative_convolution(half, free_multiplicative_convolution(half, mu))
    assert first.status == left.status == "ok"
    np.testing.assert_allclose(left.moment(1), 2, rtol=1e-9)
    # the exact edges of MP_2 ⊠ MP_½ carry an atom of ½ and the same density both ways round
    np.testing.assert_allclose(first.density(x), second.density(x), rtol=1e-6)
    np.testing.assert_allclose(
        [first.moment(k) for k in range(5)], [second.moment(k) for k in range(5)], rtol=1e-8
    )


@pytest.mark.parametrize("gamma", [0.02, 50.0])
def test_exact_the_density_solves_its_equation_at_extreme_ratios(gamma):
    mu = MEASURES["four decades"]()
    law = gram_law(mu, gamma)
    x = np.concatenate([np.linspace(a, b, 12)[1:-1] for a, b in law.support])
    v_imag = np.pi * law.density(x)
    curve = law.pdf.args[0]
    v = -1 / (gamma * invert(curve, x))
    np.testing.assert_allclose(v.imag, v_imag, rtol=1e-12)
    z = -1 / v + np.mean(DECADES[:, None] / (1 + gamma * DECADES[:, None] * v), axis=0)
    np.testing.assert_allclose(z, x, rtol=1e-9)
    assert np.all(v.imag > 0)


@pytest.mark.parametrize("name", [name for name in MEASURES if name != "four decades"])
def test_exact_edges_are_where_the_density_vanishes(name):
    for gamma in (0.3, 3.0):
        law = gram_law(MEASURES[name](), gamma)
        for a, b in law.support:
            near = (b - a) * 1e-9
            assert np.all(law.density([a - near, b + near]) == 0)
            inside = law.density([a + near, b - near, (a + b) / 2])
            assert np.all(inside[: 1 if name == "a sum" else 2] > 0)  # a sum's upper end is flat
            assert 0 <= inside[1] < inside[2]


def test_exact_stieltjes_transform_solves_its_equation():
    mu = MEASURES["two atoms"]()
    z = np.array([1 + 1j, 5 + 0.01j, 20 + 1e-4j, -3 + 0j])
    v = gram_law(mu, 0.5).stieltjes(z)
    back = -1 / v + sum(m * t / (1 + 0.5 * t * v) for t, m in mu.atoms)
    np.testing.assert_allclose(back, z, rtol=1e-6)


def test_exact_cdf_quantile_and_atoms_agree():
    law = gram_law(MEASURES["two atoms"](), 2.0)
    assert law.atoms == ((0.0, 0.5),)
    np.testing.assert_allclose(law.cdf([-1e-9, 0.0, law.bounds[1]]), [0, 0.5, 1], atol=1e-9)
    u = np.array([0.0, 0.3, 0.5, 0.6, 0.99, 1.0])
    q = law.quantile(u)
    assert q[1] == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(law.cdf(q[3:]), u[3:], atol=1e-9)
    x = np.linspace(*law.support[1], 2001)
    slope = np.gradient(law.cdf(x), x)[1:-1]
    np.testing.assert_allclose(slope[50:-50], law.density(x)[51:-51], rtol=1e-3)


def test_exact_classical_convolution_of_uniforms_is_a_triangle():
    law = classical_convolution(uniform(0.0, 1.0), uniform(0.0, 1.0))
    x = np.array([0.1, 0.5, 0.9, 1.2, 1.9])
    np.testing.assert_allclose(law.density(x), 1 - np.abs(x - 1), rtol=1e-9)
    mixed = classical_convolution(SpectralLaw.from_atoms([1.0, 2.0]), uniform(0.0, 1.0))
    np.testing.assert_allclose(mixed.moment(1), 2, rtol=1e-12)


def test_exact_scaling_mixing_and_squaring_move_the_moments():
    law = gram_law(MEASURES["two atoms"](), 2.0)
    moved = scaled(law, 3.0, 1.0)
    np.testing.assert_allclose(moved.moment(2), 9 * law.moment(2) + 6 * law.moment(1) + 1)
    both = mixture([0.25, 0.75], [law, uniform(0.0, 2.0)])
    np.testing.assert_allclose(both.moment(3), 0.25 * law.moment(3) + 0.75 * 2, rtol=1e-9)
    np.testing.assert_allclose(squared(uniform(-1.0, 2.0)).moment(2), 33 / 15, rtol=1e-10)
    assert SpectralLaw.from_atoms([2.0, 1.0, 2.0]).atoms == ((1.0, 1 / 3), (2.0, 2 / 3))


def bin_masses_of_draws(law, points, gamma, draws, edges, seed):
    rng, size = np.random.default_rng(seed), len(points)
    n = round(gamma * size)
    counts = []
    for _ in range(draws):
        g = (rng.normal(size=(n, size)) + 1j * rng.normal(size=(n, size))) / np.sqrt(2)
        small = (
            (g * points) @ g.conj().T
            if n <= size
            else (g.conj().T @ g) * np.sqrt(np.outer(points, points))
        )
        values = np.r_[np.zeros(n - len(small)), np.linalg.eigvalsh(small / size)]
        counts.append(np.histogram(values, edges)[0] / n)
    return np.array(counts), n


def check_bins(points, gamma, draws, seed):
    law = gram_law(SpectralLaw.from_atoms(points), gamma)
    # 20 bins of equal mass; an atom at 0 is whole in the first
    edges = law.quantile(np.linspace(0, 1, 21))
    edges[0], edges[-1] = -1.0, 2 * edges[-1]
    masses, n = bin_masses_of_draws(law, points, gamma, draws, edges, seed)
    error = masses.std(axis=0, ddof=1) / np.sqrt(draws)
    exact = np.diff(law.cdf(edges))
    assert np.all(np.abs(masses.mean(axis=0) - exact) <= 4 * error + 2 / n)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_within_error_complex_matrices_with_120_atoms_over_four_decades(gamma):
    check_bins(np.geomspace(1e-2, 1e2, 120), gamma, draws=50, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_within_error_complex_matrices_with_500_atoms_over_four_decades(gamma):
    check_bins(DECADES, gamma, draws=60, seed=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SpectralLaw.from_atoms([]), "`points` must be at least one"),
        (lambda: SpectralLaw.from_atoms([1.0, np.nan]), "`points` must be finite"),
        (lambda: SpectralLaw.from_atoms([1.0, 2.0], [0.5, 0.6]), "`masses` must be of sum 1"),
        (lambda: SpectralLaw.from_atoms([1.0, 2.0], [1.5, -0.5]), "`masses` must be > 0"),
        (lambda: SpectralLaw.from_atoms([1.0, 2.0], [1.0]), "`masses` must be as many"),
        (lambda: gram_law(SpectralLaw.from_atoms([-1.0, 1.0]), 0.5), r"`mu` must be a law on \[0"),
        (lambda: gram_law(SpectralLaw.from_atoms([0.0]), 0.5), "`mu` must be a law with mass"),
        (lambda: gram_law(uniform(-1.0, 1.0), 0.5), r"`mu` must be a law on \[0"),
        (lambda: gram_law(SpectralLaw.from_atoms([1.0]), 0.0), "`gamma` must be > 0, got 0.0"),
        (
            lambda: gram_law(SpectralLaw.from_atoms([1.0]), np.nan),
            "`gamma` must be a finite number",
        ),
        (lambda: marchenko_pastur(-1.0), "`c` must be > 0, got -1.0"),
        (lambda: from_density(lambda x: 2 * x**-3, [[1, np.inf]]), "`support` must be bounded"),
        (lambda: from_density(lambda x: x, [[0, 1]]), "`pdf` must be a density of integral 1"),
        (lambda: from_density(lambda x: x, [[1, 0]]), "`support` must be ascending"),
        (lambda: uniform(1.0, 1.0), "`b` must be > a"),
        (
            lambda: free_multiplicative_convolution(uniform(0.0, 1.0), uniform(0.0, 1.0)),
            "`first` must be a Marchenko–Pastur law",
        ),
        (lambda: marchenko_pastur(1.0).quantile(1.5), r"`u` must be in \[0, 1\]"),
        (lambda: marchenko_pastur(1.0).stieltjes(1 - 1j), "`z` must be in the upper half-plane"),
    ],
)
def test_exact_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_exact_a_density_that_fails_is_a_status_not_a_number():
    law = SpectralLaw(
        np.zeros(0), np.zeros(0), np.array([[0.0, 1.0]]), lambda x: np.where(x < 0.5, 1.0, np.nan)
    )
    assert law.status.startswith("not converged")
    half = SpectralLaw(np.zeros(0), np.zeros(0), np.array([[0.0, 1.0]]), lambda x: 0.5 + 0 * x)
    assert half.status.startswith("inaccurate")
