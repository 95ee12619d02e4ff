"""[S]'s expansions in depth against the recursion and against dense matrices."""

import numpy as np
import pytest

from ntk_eoc.kernels.angular_recursion import host_layers
from ntk_eoc.spectra import deep_expansion

THETA = np.concatenate([np.geomspace(1e-6, 0.5, 60), np.linspace(0.5, 3.14, 60)])


@pytest.mark.parametrize("delta_phi", [0.02, 0.5, 1.0])
def test_exact_no_entry_is_above_its_bound(delta_phi):
    u = np.sin(THETA / 2)
    least = np.inf
    for depth, state in enumerate(host_layers(delta_phi, 2 * u**2, 2 * np.cos(THETA / 2) ** 2), 1):
        above = deep_expansion.entry_above(delta_phi, np.sqrt(2 / state.delta))
        least = min(least, np.min(above - (depth - state.defect)))
        if depth == 400:
            break
    assert least > 0
    # and it is met in depth, as Δ⁻²/l, at wide angles
    assert least < 7 * delta_phi**-2 / 400


@pytest.mark.parametrize("delta_phi", [0.25, 1.0])
def test_agrees_the_expansion_with_the_recursion_up_to_a_constant(delta_phi):
    theta = np.array([0.5, 1.0, 1.5])
    u, off = np.sin(theta / 2), []
    for depth, state in enumerate(host_layers(delta_phi, 2 * u**2, 2 * np.cos(theta / 2) ** 2), 1):
        if depth in (100, 1000, 4000):
            expanded = deep_expansion.expanded_distance(delta_phi, 1 / u, depth)
            off.append(np.sqrt(2 / state.delta) - expanded)
        if depth == 4000:
            break
    # what is left is O(1) and settles: w_k itself has grown by hundreds in between
    assert np.all(np.abs(off) < 2)
    np.testing.assert_allclose(off[2], off[1], atol=0.02)


@pytest.mark.parametrize("n", [2, 7])
def test_exact_the_spectrum_is_that_of_equal_entries(n):
    delta_phi, w, depth = 0.7, 3.0, 40
    entry = depth / 4 + deep_expansion.excess(delta_phi, w, depth)
    values = np.linalg.eigvalsh((entry * np.ones((n, n)) + (depth - entry) * np.eye(n)) / n)
    found = deep_expansion.deep_spectrum(delta_phi, w, depth, n)
    np.testing.assert_allclose([found.rest, found.largest], values[[0, -1]], rtol=1e-12)
    np.testing.assert_allclose(found.condition, values[-1] / values[0], rtol=1e-12)
    back = deep_expansion.fitted_distance(delta_phi, depth, n, found.condition)
    np.testing.assert_allclose(back, w, rtol=1e-9)


def test_exact_no_condition_number_where_the_rest_is_not_positive():
    found = deep_expansion.deep_spectrum(0.5, 100.0, 4, 10)
    assert found.rest < 0
    assert found.condition == np.inf
    assert np.isnan(deep_expansion.fitted_distance(0.5, 1000, 10, 1.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: deep_expansion.excess(0.0, 1.0, 3), "`delta_phi` must be in \\(0, 1\\], got 0.0"),
        (lambda: deep_expansion.excess(0.5, -1.0, 3), "`w` must be >= 0, got -1.0"),
        (lambda: deep_expansion.deep_spectrum(0.5, 1.0, 3, 1), "`n` must be >= 2, got 1"),
        (lambda: deep_expansion.fitted_distance(0.5, 0, 4, 9.0), "`depth` must be >= 1, got 0"),
    ],
)
def test_exact_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
