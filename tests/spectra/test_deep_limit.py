import jax.numpy as jnp
import numpy as np
import pytest

import ntk_eoc as ne
from ntk_eoc.kernels.angular_recursion import host_recursion
from ntk_eoc.spectra import deep_limit
from ntk_eoc.spectra.bounds import spectral_bounds


def init_of(delta_phi):
    return ne.edge_of_chaos(ne.abs_linear(np.sqrt(1 - delta_phi), np.sqrt(delta_phi)))


def two_points(theta):
    x = np.sqrt(2) * np.array([[1.0, 0.0], [np.cos(theta), np.sin(theta)]])
    return jnp.asarray(x)


def points(kind, n, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 6))
    if kind == "clusters":
        x = x[np.arange(n) % 3] + 0.05 * x
    elif kind == "near-duplicates":
        x[1] = x[0] + 1e-3 * x[-1]
    elif kind == "opposite":
        x[n // 2 :] = -x[: n - n // 2] + 1e-2 * x[n // 2 :]
    elif kind in ("arc", "ring"):
        t = np.linspace(0, 1 if kind == "arc" else 2 * np.pi - 0.01, n)
        x = np.stack([np.cos(t), np.sin(t)], axis=1)
    elif kind == "simplex":
        x = np.eye(n) - 1 / n
    x = np.pad(x, ((0, 0), (0, 16 - x.shape[1])))  # one shape for all, one compiled program
    return x * (np.sqrt(x.shape[1]) / np.linalg.norm(x, axis=1, keepdims=True))


@pytest.mark.parametrize("delta_phi", [0.0, 0.2])
def test_agrees_distances_layer_by_layer_with_arccos(delta_phi):
    init, x = init_of(delta_phi), points("sphere", 6)
    rho = np.clip(x @ x.T / x.shape[1], -1, 1)
    for layer in range(5):
        found = deep_limit.cosine_distance(init, jnp.asarray(x), jnp.asarray(x), layer)
        np.testing.assert_allclose(np.square(found), (1 - rho) / 2, atol=1e-14)
        theta = np.arccos(np.clip(rho, -1, 1))
        rho = rho + init.activation.delta * 2 / np.pi * (np.sin(theta) - theta * rho)


@pytest.mark.parametrize(("delta_phi", "theta"), [(0.3, 1.5), (1.0, 0.1), (1.0, 2.8)])
def test_scales_ntk_less_inverse_distance_tends_to_minus_an_eighth(delta_phi, theta):
    init, x = init_of(delta_phi), two_points(theta)
    gaps = []
    for depth in (300, 3000):
        inverse = deep_limit.inverse_distance_kernel(init, x, x, depth)
        gaps.append(float((ne.ntk_infinite(init, x, x, depth) - inverse)[0, 1]) + 1 / 8)
        assert inverse[0, 0] == pytest.approx(depth, rel=1e-14)
    assert abs(gaps[1]) < abs(gaps[0]) / 3  # falls like 1/l, up to logarithms and the crossover
    assert abs(gaps[1]) < 0.05


def crossing(delta_phi, theta, level):
    """Depth, interpolated, at which κ_l/l falls to `level`."""
    delta = np.array([2 * np.sin(theta / 2) ** 2])
    tau = 0.01
    while deep_limit.scaling_function(tau) > level:
        tau *= 1.01
    guess = int(tau * 3 * np.pi / (4 * delta_phi * np.sin(theta / 2)))
    depths = np.unique(np.linspace(0.8 * guess, 1.3 * guess, 12).astype(int))
    ratio = [1 - host_recursion(delta_phi, delta, 2 - delta, int(k))[2][0] / k for k in depths]
    return np.interp(-level, -np.array(ratio), depths)


@pytest.mark.parametrize("theta", [0.1, 0.02])
@pytest.mark.parametrize("level", [0.6, 0.4, 0.3])
def test_scales_relu_needs_twice_the_depth_of_abs_for_close_pairs(theta, level):
    assert crossing(0.5, theta, level) / crossing(1.0, theta, level) == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize("delta_phi", [0.1, 0.25, 0.5, 0.75, 1.0])
def test_scales_close_pairs_collapse_on_tau(delta_phi):
    delta = np.array([2 * np.sin(0.01 / 2) ** 2])
    for tau in (0.3, 1.0, 3.0):
        depth = round(tau * 3 * np.pi / (4 * delta_phi * np.sin(0.01 / 2)))
        ratio = 1 - host_recursion(delta_phi, delta, 2 - delta, depth)[2][0] / depth
        exact_tau = deep_limit.depth_scale(delta_phi, np.sin(0.01 / 2), depth)
        # `theory.md` §2 measured 0.003 at this angle.
        assert ratio == pytest.approx(float(deep_limit.scaling_function(exact_tau)), abs=4e-3)


def test_scales_the_logarithm_does_not_know_delta():
    delta, depths = np.array([1.0]), (4000, 16000)
    for delta_phi in (0.5, 1.0):
        excess = [0.75 * k - host_recursion(delta_phi, delta, 2 - delta, k)[2][0] for k in depths]
        slope = (excess[1] - excess[0]) / np.log(depths[1] / depths[0])
        assert slope == pytest.approx(3 / 8, abs=0.01)


def test_exact_scaling_function():
    tau = np.array([1e-12, 0.5, 3.0])
    np.testing.assert_allclose(
        deep_limit.scaling_function(tau)[1:],
        ((1 + tau) - (1 + tau) ** -3.0)[1:] / (4 * tau[1:]),
        rtol=1e-14,
    )
    assert deep_limit.scaling_function(tau)[0] == pytest.approx(1, abs=1e-11)


@pytest.mark.parametrize("name", ["relu", "abs"])
def test_exact_coincident_points_are_zero_eigenvalues_not_noise(name):
    x = points("sphere", 8)
    x[3], x[5], x[7] = 2 * x[0], x[0], -x[1]
    found = deep_limit.ntk_spectrum(ne.edge_of_chaos(ne.activation(name)), jnp.asarray(x), 10)
    pairs = {tuple(pair) for pair in found.coincident.tolist()}
    even = {(1, 7)} if name == "abs" else set()
    assert pairs == {(0, 3), (0, 5), (3, 5)} | even
    zeros = 2 + len(even)
    np.testing.assert_array_equal(found.eigenvalues[:zeros], 0.0)
    assert found.eigenvalues[zeros] > 1e-3


def test_exact_opposite_points_at_depth_1_do_not_coincide():
    x = jnp.asarray(points("sphere", 3)[:2])
    x = jnp.stack([x[0], -x[0], x[1]])
    pairs = deep_limit.coincident_pairs(ne.edge_of_chaos(ne.activation("abs")), x, 1)
    assert pairs.shape == (0, 2)


def test_exact_closest_pair():
    x = points("near-duplicates", 9)
    init = ne.edge_of_chaos(ne.activation("relu"))
    assert deep_limit.closest_pair(init, jnp.asarray(x), 5) == (0, 1)


KINDS = ("sphere", "clusters", "near-duplicates", "opposite", "arc", "ring", "simplex")


def extremes(init, x, depth):
    # From differences, and sums beyond a right angle: a cosine would lose half the digits there.
    i, j = np.triu_indices(len(x), 1)
    apart = ((x[i] - x[j]) ** 2).sum(axis=1) / (2 * x.shape[1])
    opposite = 2 - ((x[i] + x[j]) ** 2).sum(axis=1) / (2 * x.shape[1])
    u = np.sqrt(np.where(apart < 1, apart, opposite) / 2)
    kernel = ne.ntk_infinite(init, jnp.asarray(x), jnp.asarray(x), depth)
    bounds = spectral_bounds(init.activation.delta, depth, len(x), float(u.min()), float(u.max()))
    return np.linalg.eigvalsh(np.asarray(kernel) / len(x)), bounds


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("delta_phi", [0.1, 0.5, 1.0])
def test_exact_spectrum_is_within_its_bounds(kind, delta_phi):
    for n, depth in ((2, 3), (16, 1), (16, 3), (16, 40), (16, 400)):
        values, bounds = extremes(init_of(delta_phi), points(kind, n), depth)
        slack = 1e-12 * values[-1]  # rounding of eigenvalues
        assert bounds.smallest[0] - slack <= values[0] <= bounds.smallest[1] + slack
        assert bounds.largest[0] - slack <= values[-1] <= bounds.largest[1] + slack
        if values[0] > 1e3 * slack:
            condition = values[-1] / values[0]
            assert bounds.condition[0] * (1 - 1e-8) <= condition
            assert condition <= bounds.condition[1] * (1 + 1e-8)


@pytest.mark.parametrize("delta_phi", [0.5, 1.0])
def test_scales_bounds_meet_in_depth(delta_phi):
    n, u_min = 100, 0.1
    depth = round(300 / (delta_phi * u_min))
    bounds = spectral_bounds(delta_phi, depth, n, u_min, 0.8)
    assert bounds.condition[0] <= deep_limit.deep_condition(n) * 1.05
    assert bounds.condition[1] <= 1.25 * bounds.condition[0]
    assert bounds.smallest[0] * n / depth == pytest.approx(0.75, rel=0.1)


def test_exact_limits():
    assert deep_limit.deep_offdiagonal() == 0.25
    assert deep_limit.deep_condition(12) == 5
    assert deep_limit.deep_condition(12, smooth=True) == 7
    n, a = 12, deep_limit.deep_offdiagonal(smooth=True)
    values = np.linalg.eigvalsh((1 - a) * np.eye(n) + a)
    assert values[-1] / values[0] == pytest.approx(deep_limit.deep_condition(n, smooth=True))


def test_bad_input_is_refused():
    init = ne.edge_of_chaos(ne.activation("relu"))
    with pytest.raises(ValueError, match="`x` must be nonzero in every row"):
        deep_limit.ntk_spectrum(init, jnp.zeros((2, 3)), 2)
    with pytest.raises(ValueError, match="`init` must be of an activation with Δ_φ > 0"):
        deep_limit.inverse_distance_kernel(init_of(0.0), jnp.ones((2, 3)), jnp.ones((2, 3)), 2)
    with pytest.raises(ValueError, match="`u_min, u_max` must be in order"):
        spectral_bounds(0.5, 3, 4, 0.5, 0.2)


@pytest.mark.parametrize("delta_phi", [1.0, 0.9, 0.75, 0.5, 0.1])
@pytest.mark.parametrize("u", [(0.0, 0.5), (0.1, 1.0), (0.0, 1.0)])
def test_exact_a_kernel_that_may_be_singular_has_no_bound_below(delta_phi, u):
    """Equal points, and at depth 2 opposite ones too: x, −x, y, −y span three functions |·|, ·."""
    depth = 2
    found = spectral_bounds(delta_phi, depth, 6, *u)
    assert found.smallest[0] == 0
    assert found.condition[1] == np.inf
