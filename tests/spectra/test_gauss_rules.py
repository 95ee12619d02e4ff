"""Gauss rules from laws and from modified moments."""

import numpy as np

from ntk_eoc.spectra.densities import uniform
from ntk_eoc.spectra.gauss_rules import gauss_rule, rule_of_moments
from ntk_eoc.spectra.laws import from_atoms


def second_kind(x, k):
    angle = np.arccos(x)
    return np.sin(np.outer(np.arange(1, k + 1), angle)) / np.sin(angle)


def test_exact_gauss_rule_keeps_the_moments():
    nodes, weights = gauss_rule(uniform(1.0, 2.0), 4)
    moments = [np.sum(weights * nodes**k) for k in range(8)]
    exact = [(2 ** (k + 1) - 1) / (k + 1) for k in range(8)]
    np.testing.assert_allclose(moments, exact, rtol=1e-10)


def test_exact_few_atoms_are_their_own_rule():
    law = from_atoms([1.0, 2.0], [0.25, 0.75])
    nodes, weights = gauss_rule(law, 5)
    np.testing.assert_array_equal(nodes, law.points)
    np.testing.assert_array_equal(weights, law.masses)


def test_exact_moments_of_the_uniform_law_give_legendre_nodes():
    x, w = np.polynomial.legendre.leggauss(60)
    moments = second_kind(x, 60) @ w
    nodes, weights = rule_of_moments(moments, np.full(60, 1e-16))
    exact, masses = np.polynomial.legendre.leggauss(30)
    np.testing.assert_allclose(nodes, exact, atol=1e-13)
    np.testing.assert_allclose(weights, masses, atol=1e-13)


def test_exact_rule_ends_where_the_measure_or_the_noise_does():
    points, masses = np.array([-0.5, 0.1, 0.7]), np.array([0.2, 0.3, 0.5])
    moments = second_kind(points, 20) @ masses
    nodes, weights = rule_of_moments(moments, np.full(20, 1e-16))
    np.testing.assert_allclose(nodes, points, atol=1e-12)
    np.testing.assert_allclose(weights, masses, atol=1e-12)
    assert len(rule_of_moments(moments, np.full(20, 1e-3))[0]) < 3
