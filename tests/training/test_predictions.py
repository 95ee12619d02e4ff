"""Predictions from a kernel matrix, against the linear system iterated step by step."""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import ntk_eoc as ne
from ntk_eoc.training.modes import check_rate, descent, eigenmodes, flow, largest_stable_step
from ntk_eoc.training.predictions import (
    ensemble_variance_test,
    ensemble_variance_train,
    predict_test,
    predict_train,
    ridgeless,
    steps_to_loss,
)

N, Q, OUTPUTS = 9, 4, 2
STEPS = [0, 1, 2, 3, 10, 57, 400]


def problem(spread=2.0, seed=0):
    """J of a linear model θ ↦ J θ, scales over `spread`/2 decades, its test rows, y and f_0."""
    rng = np.random.default_rng(seed)
    j = rng.standard_normal((N + Q, 20))
    j[:N] *= np.logspace(-spread / 2, 0, N)[:, None]
    y, f0 = rng.standard_normal((2, N, OUTPUTS))
    return j[:N], j[N:], y, f0, rng.standard_normal((Q, OUTPUTS))


def iterate(j, j_test, y, f0, f0_test, rate, momentum, steps):
    """θ_t of the linear model by its own gradient descent; f_t on both sets at every step."""
    theta, velocity = np.zeros((2, j.shape[1], y.shape[1]))
    train, test = [], []
    for _ in range(steps + 1):
        train.append(f0 + j @ theta)
        test.append(f0_test + j_test @ theta)
        velocity = momentum * velocity + j.T @ (train[-1] - y) / len(j)
        theta = theta - rate * velocity
    return np.array(train), np.array(test)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("relative", [0.01, 0.5, 0.999, 1.001])
def test_exact_descent_is_the_iterated_linear_system(relative, momentum):
    j, j_test, y, f0, f0_test = problem()
    modes = eigenmodes(j @ j.T / N)
    rate = relative * largest_stable_step(modes, momentum)
    train, test = iterate(j, j_test, y, f0, f0_test, rate, momentum, max(STEPS))
    rule = descent(rate, STEPS, momentum)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if relative > 1 else "error")
        found = predict_train(modes, rule, y, f0)
        found_test = predict_test(modes, rule, j_test @ j.T / N, y, f0, f0_test)
    np.testing.assert_allclose(found, train[STEPS], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found_test, test[STEPS], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_exact_largest_stable_step_divides_shrinking_from_growing(momentum):
    modes = eigenmodes(problem()[0] @ problem()[0].T)
    limit = largest_stable_step(modes, momentum)
    below = descent(limit * 0.999, [20_000], momentum)(modes.values).residual[0, -1]
    with pytest.warns(UserWarning, match=f"above the largest stable step, {limit:.6g}"):
        above = descent(limit * 1.001, [20_000], momentum)(modes.values).residual[0, -1]
    assert abs(below) < 1e-3
    assert abs(above) > 1e3


def test_exact_heavy_ball_that_overflows_is_infinite_not_nan():
    with pytest.warns(UserWarning, match="diverges"):
        found = descent(3.0, [10**5], 0.9)(np.array([0.0, 0.1, 2.0]))
    assert not np.isnan(found.residual).any()
    assert np.isinf(found.residual[0, 2])
    assert abs(found.residual[0, 1]) < 1e-12


def test_agrees_flow_with_matrix_exponential_and_with_small_steps():
    j, j_test, y, f0, f0_test = problem(1.0)
    k, cross = j @ j.T / N, j_test @ j.T / N
    modes, times = eigenmodes(k), [0.0, 0.3, 2.0, 40.0]
    train = predict_train(modes, flow(times), y, f0)
    test = predict_test(modes, flow(times), cross, y, f0, f0_test)
    for t, found, found_test in zip(times, train, test, strict=True):
        left = scipy.linalg.expm(-k * t) @ (f0 - y)
        np.testing.assert_allclose(found, y + left, atol=1e-11)
        moved = cross @ np.linalg.solve(k, (f0 - y) - left)
        np.testing.assert_allclose(found_test, f0_test - moved, atol=1e-9)
    small = descent(1e-7, [3 * 10**6, 2 * 10**7])
    np.testing.assert_allclose(predict_train(modes, small, y, f0), train[1:3], atol=1e-6)


@pytest.mark.parametrize("rule", [flow([0.0, 5.0, 1e9]), descent(0.2, [0, 7, 10**9]),
                                  descent(0.2, [0, 7, 10**6], 0.5)])  # fmt: skip
def test_exact_no_digit_is_lost_to_small_or_zero_eigenvalues(rule):
    values = np.array([0.0, 1e-18, 1e-12, 0.3])
    found = rule(values)
    t = [0.0, found.response[1, 0], found.response[2, 0]]
    np.testing.assert_allclose(found.residual[:, 0], 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.response[:, 1], t, rtol=1e-7)  # λt <= 1e-9
    np.testing.assert_allclose(
        found.residual[:2], 1 - values[None] * found.response[:2], rtol=1e-12
    )
    assert found.response[2, 3] == pytest.approx(1 / 0.3)


def rule_and_operator():
    """A rule with momentum, and r_t(K), K_* g_t(K) by iterating on a basis with targets 0."""
    j, j_test, *_ = problem()
    modes = eigenmodes(j @ j.T / N)
    rate, steps = 0.4 * largest_stable_step(modes), [0, 3, 50]
    zeros = np.zeros((Q, N))
    train, test = iterate(j, j_test, np.zeros((N, N)), np.eye(N), zeros, rate, 0.3, 50)
    return modes, j_test @ j.T / N, descent(rate, steps, 0.3), train[steps], test[steps]


def test_exact_ensemble_variance_is_that_of_a_linear_map_of_a_gaussian():
    modes, cross, rule, train, test = rule_and_operator()
    root = np.random.default_rng(3).standard_normal((N + Q, N + Q))
    cov = root @ root.T
    full = np.block([[train, np.zeros((3, N, Q))], [test, np.broadcast_to(np.eye(Q), (3, Q, Q))]])
    expected = np.einsum("tij,jk,tik->ti", full, cov, full)
    found = ensemble_variance_train(modes, rule, cov[:N, :N])
    np.testing.assert_allclose(found, expected[:, :N], rtol=1e-10)
    found = ensemble_variance_test(modes, rule, cross, cov[:N, :N], cov[N:, :N], np.diag(cov)[N:])
    np.testing.assert_allclose(found, expected[:, N:], rtol=1e-10)


def test_exact_ridgeless_is_the_limit_of_the_flow():
    j, j_test, y, *_ = problem(1.0)
    k, cross = j @ j.T / N, j_test @ j.T / N
    modes = eigenmodes(k)
    expected = cross @ np.linalg.solve(k, y)
    np.testing.assert_allclose(ridgeless(modes, cross, y), expected, rtol=1e-9)
    zero = np.zeros_like(y), np.zeros((Q, OUTPUTS))
    late = predict_test(modes, flow([1e6]), cross, y, *zero)[0]
    np.testing.assert_allclose(late, expected, rtol=1e-9)


@pytest.mark.parametrize("fraction", [0.9, 0.1, 0.01, 1e-4])
def test_exact_steps_to_loss_is_the_first_step_of_the_iteration(fraction):
    j, j_test, y, f0, f0_test = problem(1.0)
    modes = eigenmodes(j @ j.T / N)
    rate = 0.9 * largest_stable_step(modes)
    steps = steps_to_loss(modes, rate, y, f0, fraction)
    train, _ = iterate(j, j_test, y, f0, f0_test, rate, 0.0, int(steps))
    losses = ((train - y) ** 2).sum((1, 2))
    assert losses[int(steps)] <= fraction * losses[0] * (1 + 1e-10)
    assert losses[int(steps) - 1] > fraction * losses[0]


def test_exact_singular_kernels_say_what_is_not_learnt():
    """Points x and −x under the absolute value: the limit kernel has rank one."""
    x = jnp.asarray([[1.0, 1.0], [-1.0, -1.0]])
    init = ne.edge_of_chaos(ne.activation("abs"))
    modes = eigenmodes(ne.ntk_infinite(init, x, x, 3) / 2)
    assert modes.values[0] == 0
    y, f0 = np.array([1.0, -1.0]), np.zeros(2)
    np.testing.assert_allclose(predict_train(modes, flow([1e9]), y, f0), 0, atol=1e-12)
    assert steps_to_loss(modes, 0.1, y, f0, 0.5) == math.inf
    with pytest.warns(UserWarning, match="singular: 1 of 2 eigenvalues are 0 up to rounding"):
        learnt = ridgeless(modes, np.ones((1, 2)), np.array([1.0, 0.0]))
    # (1, 1) v/λ · vᵀ(1, 0) with the one eigenvector v = (1, 1)/√2.
    assert learnt[0] == pytest.approx(1 / modes.values[1])


def test_bad_matrices_rates_and_shapes_are_refused():
    modes, y = eigenmodes(np.eye(3)), np.zeros(3)
    for matrix, message in (
        (np.zeros((2, 3)), r"`matrix` must be square, \[nk, nk\] \(see ntk_matrix\), got \(2, 3\)"),
        (np.array([[1.0, 0.5], [0.2, 1.0]]), "`matrix` must be symmetric"),
        (np.diag([1.0, -0.1]), "`matrix` must be positive semidefinite, got 'λ_min = -0.1'"),
        (np.diag([1.0, np.nan]), "`matrix` must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            eigenmodes(matrix)
    with pytest.raises(ValueError, match=r"`y` must be of 3 rows like the kernel matrix, got \(2,"):
        predict_train(modes, flow([1.0]), np.zeros(2), np.zeros(2))
    with pytest.raises(ValueError, match="`f0` must be of shape"):
        predict_train(modes, flow([1.0]), y, np.zeros(2))
    with pytest.raises(ValueError, match=r"`cross` must be of shape \(2, 3\), got \(2, 4\)"):
        predict_test(modes, flow([1.0]), np.zeros((2, 4)), y, y, np.zeros(2))
    with pytest.raises(ValueError, match=r"`rate` must be > 0 \(and below .* step, 2\), got 0.0"):
        predict_train(modes, descent(0.0, [1]), y, y)
    with pytest.raises(ValueError, match=r"`rate` must be between 0 and 2/λ_max = 2, got 2.5"):
        steps_to_loss(modes, 2.5, y, y, 0.1)
    with pytest.raises(ValueError, match=r"`momentum` must be in \[0, 1\), got 1.0"):
        descent(0.1, [1], 1.0)
    with pytest.raises(ValueError, match="`steps` must be integers >= 0"):
        descent(0.1, np.array([0.5]))
    with pytest.raises(ValueError, match="`times` must be one or more finite numbers >= 0"):
        flow([-1.0])


def test_exact_rate_above_the_limit_warns_and_below_does_not():
    with pytest.warns(UserWarning, match=r"`rate` 3 is above the largest stable step, 2 "):
        assert check_rate(3.0, 2.0) == 3.0
    assert check_rate(1.9, 2.0) == 1.9
    assert largest_stable_step(eigenmodes(np.zeros((2, 2)))) == math.inf


def test_exact_float32_kernels_are_taken_for_what_they_are(key):
    x = jax.random.normal(key, (6, 3), jnp.float32)
    modes = eigenmodes(np.asarray(x @ x.T))  # rank 3: float32 rounding is no eigenvalue
    assert (modes.values[:3] == 0).all()
    assert (modes.values[3:] > 0).all()


@pytest.mark.parametrize("rule", [flow([1e5, 1e8, 1e10, 1e14]), descent(0.1, [10**5, 10**12])])
@pytest.mark.parametrize("rank", [1, 5, 11])
def test_exact_what_a_singular_kernel_cannot_learn_stays_where_it_is(rule, rank):
    """K of low rank up to float32: the prediction tends to the interpolant, and does not grow."""
    rng = np.random.default_rng(rank)
    features = rng.normal(size=(15, rank))
    k = (features @ features.T).astype(np.float32)
    modes = eigenmodes(k[:12, :12] / np.float32(12))
    assert int((modes.values == 0).sum()) == 12 - rank
    y = features[:12] @ rng.normal(size=rank)
    found = predict_test(modes, rule, k[12:, :12] / 12, y, np.zeros(12), np.zeros(3))
    with pytest.warns(UserWarning, match="singular"):
        last = ridgeless(modes, k[12:, :12] / 12, y)
    np.testing.assert_allclose(found[-1], last, rtol=1e-6)
    variance = ensemble_variance_test(
        modes, rule, k[12:, :12] / 12, k[:12, :12], k[12:, :12], np.diag(k)[12:]
    )
    assert np.all(variance >= 0)
    assert np.all(variance <= 1.001 * np.diag(k)[12:])


@pytest.mark.parametrize("pull", [1e-3, 1e-12, 1e-15, 1e-16, 1e-20, 1e-30])
def test_exact_steps_to_loss_far_below_rounding(pull):
    modes = eigenmodes(np.eye(2))
    steps = steps_to_loss(modes, pull, np.array([1.0, 0.0]), np.zeros(2), 0.5)
    # (1 − ηλ)^{2t} = ½
    np.testing.assert_allclose(steps, np.ceil(np.log(2) / 2 / -np.log1p(-pull)), rtol=1e-9)


@pytest.mark.parametrize("momentum", [0.9, 1 - 1e-6, 1 - 1e-10, 1 - 1e-14])
@pytest.mark.parametrize("steps", [10, 10**4, 10**7])
def test_exact_heavy_ball_near_momentum_one(momentum, steps):
    mp = pytest.importorskip("mpmath")
    with mp.workdps(60):
        for value in (1.0, 1e-3, 1e-9):
            rate, mu = mp.mpf(0.1), mp.mpf(momentum)
            pull = rate * mp.mpf(value)
            step = mp.matrix([[1 - pull, -mu * pull, 0], [1, mu, 0], [rate, rate * mu, 1]])
            residual, _, response = step**steps * mp.matrix([1, 0, 0])
            found = descent(0.1, [steps], momentum)(np.array([value]))
            # squaring 23 times doubles the rounding of the phase each time
            error = 2e-16 * steps + 1e-13
            assert abs(found.residual[0, 0] - float(residual)) < error
            scale = float(abs(response)) + 1 / value
            assert abs(found.response[0, 0] - float(response)) < error * scale
