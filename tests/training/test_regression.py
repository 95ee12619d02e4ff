"""Kernel regression in one call, against the linear system iterated and solved by hand."""

from functools import partial

import numpy as np
import pytest

import ntk_eoc as ne
from ntk_eoc.training import descent, flow, regress

INITS = {
    "relu": ne.edge_of_chaos("relu"),
    "tanh": ne.edge_of_chaos("tanh", sigma_b=0.3),
}
DEPTH, N, Q = 3, 7, 4


def problem(init):
    x = np.asarray(ne.normalise(np.random.default_rng(3).standard_normal((N + Q, 5)), init))
    return x[:N], np.stack([np.sin(x[:N, 0]), x[:N, 1], np.ones(N)], axis=1), x[N:]


def kernels(init, x, x_test):
    """K∞ and Σ of training and test points together, training first, [n + q, n + q]."""
    points = np.concatenate([x, x_test])
    return [
        np.asarray(of(init, points, points, DEPTH)) for of in (ne.ntk_infinite, ne.nngp_infinite)
    ]


@pytest.mark.parametrize("name", INITS)
def test_agrees_with_the_iterated_networks_of_the_limit(name):
    """f_{t+1} = f_t − η K∞(·, X)(f_t(X) − y)/n on all points: mean and covariance by hand."""
    init = INITS[name]
    x, y, x_test = problem(init)
    k, covariance = kernels(init, x, x_test)
    rate, steps = 1.2 / np.linalg.eigvalsh(k[:N, :N] / N)[-1], [0, 1, 5, 40]
    step = np.eye(N + Q)
    step[:, :N] -= rate * k[:, :N] / N
    drive = rate * k[:, :N] @ y / N
    mean, seen = np.zeros((N + Q, 3)), {}
    for t in range(max(steps) + 1):
        seen[t] = mean, np.sqrt(np.diag(covariance))
        mean, covariance = step @ mean + drive, step @ covariance @ step.T
    found = regress(init, x, y, x_test, DEPTH, times=steps, algorithm=partial(descent, rate))
    for i, t in enumerate(steps):
        mean, spread = seen[t]
        np.testing.assert_allclose(found.mean_train[i], mean[:N], atol=1e-12)
        np.testing.assert_allclose(found.mean[i], mean[N:], atol=1e-12)
        np.testing.assert_allclose(found.spread_train[i], spread[:N], atol=1e-7)
        np.testing.assert_allclose(found.spread[i], spread[N:], atol=1e-7)
        loss = (((mean[:N] - y) ** 2).sum() + 3 * (spread[:N] ** 2).sum()) / (2 * N)
        np.testing.assert_allclose(found.loss[i], loss, rtol=1e-9)


@pytest.mark.parametrize("name", INITS)
def test_exact_at_the_end_of_training_it_is_kernel_regression(name):
    init = INITS[name]
    x, y, x_test = problem(init)
    k, covariance = kernels(init, x, x_test)
    weights = np.linalg.solve(k[:N, :N], k[:N, N:]).T
    found = regress(init, x, y, x_test, DEPTH)
    np.testing.assert_allclose(found.final, weights @ y, rtol=1e-9, atol=1e-10)
    both = np.concatenate([-weights, np.eye(Q)], axis=1)
    np.testing.assert_allclose(
        found.final_spread**2, np.diag(both @ covariance @ both.T), rtol=1e-8
    )
    # 10/λ_min is e^{−10} from the end.
    np.testing.assert_allclose(found.mean[-1], found.final, atol=1e-3)
    assert found.times[0] == 0
    assert found.loss[0] > found.loss[-1] > 0
    assert (np.diff(found.loss) < 0).all()


def test_exact_targets_without_an_axis_of_outputs_give_means_without_one():
    init = INITS["relu"]
    x, y, x_test = problem(init)
    one, three = regress(init, x, y[:, 1], x_test, DEPTH), regress(init, x, y, x_test, DEPTH)
    assert one.mean.shape == (61, Q)
    np.testing.assert_array_equal(one.times, three.times)
    np.testing.assert_allclose(one.mean, three.mean[:, :, 1], atol=1e-13)
    np.testing.assert_allclose(one.final, three.final[:, 1], atol=1e-13)
    np.testing.assert_array_equal(one.spread, three.spread)


def test_exact_variances_of_test_points_in_blocks():
    init = INITS["relu"]
    x, y, _ = problem(init)
    many = np.random.default_rng(4).standard_normal((300, 5))
    found = regress(init, x, y, many, DEPTH, times=[0.0], algorithm=flow)
    np.testing.assert_allclose(found.spread[0] ** 2, (many**2).mean(1), rtol=1e-12)


def test_bad_input_is_refused():
    init = INITS["relu"]
    x, y, x_test = problem(init)
    with pytest.raises(ValueError, match=r"`y` must be \[n\] or \[n, c\] with n = 7 like `x`"):
        regress(init, x, y[:-1], x_test, DEPTH)
    with pytest.raises(ValueError, match="`y` must be finite"):
        regress(init, x, y * np.nan, x_test, DEPTH)
    with pytest.raises(ValueError, match="`times` must be one or more finite numbers >= 0"):
        regress(init, x, y, x_test, DEPTH, times=[-1.0])
