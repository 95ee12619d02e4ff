"""Predictions by products are those by the eigenvectors of the matrix."""

import jax
import numpy as np
import pytest

import ntk_eoc as ne
from ntk_eoc.training import descent, eigenmodes, flow, predict_test, predict_train
from ntk_eoc.training.krylov import predict_by_products

KEYS = jax.random.split(jax.random.key(0), 4)
X, X_TEST = jax.random.normal(KEYS[0], (200, 7)), jax.random.normal(KEYS[1], (11, 7))
Y, START = np.asarray(jax.random.normal(KEYS[2], (2, 200, 3)))
START_TEST = np.asarray(jax.random.normal(KEYS[3], (11, 3)))


@pytest.mark.parametrize("rule", [flow([0.0, 1.0, 20.0]), descent(0.2, [0, 3, 90], 0.5)])
def test_agrees_with_the_matrix(rule):
    operator = ne.kernel_operator("relu", X, 3)
    found = predict_by_products(operator, rule, X_TEST, Y, START, START_TEST, steps=60)
    modes = eigenmodes(np.asarray(ne.ntk_infinite("relu", X, X, 3)) / 200)
    cross = np.asarray(ne.ntk_infinite("relu", X_TEST, X, 3)) / 200
    train = predict_train(modes, rule, Y, START)
    scale = np.linalg.norm(START - Y)
    assert found.error < 1e-8
    assert np.linalg.norm(found.train - train) < 1e-7 * scale
    expected = predict_test(modes, rule, cross, Y, START, START_TEST)
    np.testing.assert_allclose(found.test, expected, rtol=0, atol=1e-6)


def test_within_error_of_too_few_products():
    """The stated error is that of the training points, within a factor."""
    operator, rule = ne.kernel_operator("relu", X, 3), flow([30.0, 3000.0])
    modes = eigenmodes(np.asarray(ne.ntk_infinite("relu", X, X, 3)) / 200)
    y, zero = Y[:, 0], np.zeros(200)
    right = predict_train(modes, rule, y, zero)
    for steps in (8, 20, 40):
        found = predict_by_products(operator, rule, X_TEST, y, zero, np.zeros(11), steps=steps)
        error = np.linalg.norm(found.train - right, axis=1).max() / np.linalg.norm(y)
        print(steps, found.error, error)
        assert error < 3 * found.error


def test_exact_nothing_to_learn_moves_nothing():
    operator = ne.kernel_operator("relu", X, 3)
    found = predict_by_products(operator, flow([0.0, 1.0]), X_TEST, Y, Y, START_TEST)
    np.testing.assert_array_equal(found.train, np.stack([Y, Y]))
    np.testing.assert_array_equal(found.test, np.stack([START_TEST, START_TEST]))


def test_bad_input_is_refused():
    operator = ne.kernel_operator("relu", X, 3)
    with pytest.raises(ValueError, match=r"`y` must be \[200\] or \[200, c\]"):
        predict_by_products(operator, flow([1.0]), X_TEST, Y[:5], START, START_TEST)
    with pytest.raises(ValueError, match="`steps` must be >= 6"):
        predict_by_products(operator, flow([1.0]), X_TEST, Y, START, START_TEST, steps=3)
