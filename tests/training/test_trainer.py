"""The training loop against a plain one, its divergence, its mini-batches, its checkpoints."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ntk_eoc as ne
from ntk_eoc.training import trainer
from ntk_eoc.training.checkpoint import train_with_checkpoints
from ntk_eoc.training.trainer import (
    Problem,
    advance,
    begin,
    cross_entropy,
    log_marks,
    spans_to,
    squared_error,
    train,
)
from ntk_eoc.training.watch import class_targets, watch, wrong_class, wrong_sign

X = np.random.default_rng(0).standard_normal((8, 3))
Y = np.eye(2)[(X[:, 0] > 0).astype(int)]
INSIDE, OUTSIDE = (jnp.asarray(X[:6]), jnp.asarray(Y[:6])), (jnp.asarray(X[6:]), jnp.asarray(Y[6:]))


class Weights(NamedTuple):
    a: jax.Array
    b: jax.Array


def f(params, x):
    return jnp.tanh(x @ params.a.T) @ params.b.T


def weights(scale=1.0):
    a, b = np.random.default_rng(1).standard_normal((5, 5))[:, :3], np.ones((2, 5)) / 3
    return Weights(jnp.asarray(scale * a), jnp.asarray(b))


def kernel(params):
    return ne.with_outputs(INSIDE[0] @ INSIDE[0].T, 2) * (params.b**2).sum()


def observer(params, loss=squared_error):
    return watch(f, params, INSIDE, OUTSIDE, loss, wrong_class, kernel)


def run(optimiser, marks, params=None, **problem):
    params = weights() if params is None else params
    found = Problem(f, *INSIDE, problem.pop("loss", squared_error), optimiser, **problem)
    ran = jax.jit(lambda p, key: train(found, p, marks, key, observer(p, found.loss)))
    return ran(params, jax.random.key(0))


def test_agrees_full_batch_with_plain_numpy_momentum():
    rate, momentum, steps = 0.3, 0.5, 7
    marks = np.array([0, 1, 4, 7])
    state, seen = run(optax.sgd(rate, momentum), marks)
    a, b = (np.asarray(w) for w in weights())
    a0, b0, va, vb = a, b, np.zeros_like(a), np.zeros_like(b)
    x, y = X[:6], Y[:6]
    for step in range(steps + 1):
        hidden = np.tanh(x @ a.T)
        error = hidden @ b.T - y
        if step in marks:
            i = list(marks).index(step)
            np.testing.assert_allclose(seen.loss[i], (error**2).sum() / 12, rtol=1e-12)
            np.testing.assert_allclose(seen.train[i], error + y, rtol=1e-11, atol=1e-13)
            test = np.tanh(X[6:] @ a.T) @ b.T
            np.testing.assert_allclose(seen.test[i], test, rtol=1e-11)
            np.testing.assert_allclose(seen.test_loss[i], ((test - Y[6:]) ** 2).sum() / 4)
            wrong = (test.argmax(1) != Y[6:].argmax(1)).mean()
            assert seen.test_error[i] == wrong
            moved = ((a - a0) ** 2).sum() + ((b - b0) ** 2).sum()
            np.testing.assert_allclose(seen.distance[i], np.sqrt(moved), atol=1e-12)
            drift = abs((b**2).sum() - (b0**2).sum()) * np.linalg.norm(x @ x.T, 2) / 6
            np.testing.assert_allclose(seen.drift[i], drift, atol=1e-12)
        slope_b = error.T @ hidden / 6
        slope_a = ((error @ b) * (1 - hidden**2)).T @ x / 6
        va, vb = momentum * va + slope_a, momentum * vb + slope_b
        a, b = a - rate * va, b - rate * vb
    assert int(state.diverged_at) == -1
    assert seen.loss[-1] < seen.loss[0]


def test_agrees_cross_entropy_with_its_formula():
    outputs, y = np.array([[2.0, -1.0], [0.0, 3.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    own = -(y * (outputs - np.log(np.exp(outputs).sum(1, keepdims=True)))).sum(1).mean()
    assert float(cross_entropy(jnp.asarray(outputs), jnp.asarray(y))) == pytest.approx(own)
    _, seen = run(optax.adam(0.1), np.array([0, 30]), loss=cross_entropy)
    assert seen.loss[1] < 0.2 * seen.loss[0]


def test_exact_every_epoch_of_mini_batches_has_every_point_once():
    problem = Problem(f, *INSIDE, squared_error, optax.sgd(0.1), batch=2)
    key, order, epochs = jax.random.key(3), jnp.arange(6, dtype=jnp.int32), []
    rows = jax.jit(partial(trainer._rows, problem))
    for step in range(9):
        x, y, order = rows(key, jnp.asarray(step), order)
        found = [int(np.flatnonzero((row == X).all(1))[0]) for row in np.asarray(x)]
        np.testing.assert_array_equal(y, Y[found])
        epochs.append(found)
    epochs = np.array(epochs).reshape(3, 6)
    np.testing.assert_array_equal(np.sort(epochs, 1), np.tile(np.arange(6), (3, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_exact_divergence_is_a_status_and_every_number_stays_finite():
    """One seed of two blows up; the other goes on as if alone."""
    marks = np.array([0, 1, 2, 5, 60])
    identity = Problem(lambda p, x: x @ p.a.T @ p.b.T, *INSIDE, squared_error, optax.sgd(0.05))

    def one(params):
        return train(identity, params, marks, jax.random.key(0), observer(params))

    small, large = weights(), weights(30.0)
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), small, large)
    state, seen = jax.jit(jax.vmap(one))(both)
    assert int(state.diverged_at[0]) == -1
    assert 0 < int(state.diverged_at[1]) < 60
    for leaf in jax.tree.leaves((state.params, seen)):
        assert np.isfinite(leaf).all()
    _, alone = jax.jit(one)(small)
    np.testing.assert_allclose(seen.loss[0], alone.loss, rtol=1e-10)
    assert seen.loss[0, -1] < 0.5 * seen.loss[0, 0]
    later = marks > int(state.diverged_at[1])
    assert len(set(np.asarray(seen.loss[1])[later])) == 1  # the last one before it


def test_exact_checkpoints_resume_with_the_same_bits(tmp_path):
    marks = log_marks(20, 6)
    problem = Problem(f, *INSIDE, squared_error, optax.sgd(0.2, 0.9), batch=2)
    observe = observer(weights())
    compiled = jax.jit(partial(advance, problem, observe, jax.random.key(5)))
    start = begin(problem, weights(), observe)
    whole = compiled(start, spans_to(marks))
    calls = []

    def killed(state, spans):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(len(spans))
        return compiled(state, spans)

    with pytest.raises(KeyboardInterrupt):
        train_with_checkpoints(tmp_path / "run", killed, start, marks, 2)
    resumed = train_with_checkpoints(tmp_path / "run", compiled, start, marks, 2)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert calls == [len(marks), 2, 2]  # the first is a trace, for the fingerprint

    other = begin(problem, weights(2.0), observe)
    message = "`folder` must be one of this training's checkpoints .it is of other parameters"
    with pytest.raises(ValueError, match=message):
        train_with_checkpoints(tmp_path / "run", compiled, other, marks, 2)


@pytest.mark.parametrize("changed", ["rate", "momentum", "batch", "key", "targets", "loss"])
def test_exact_checkpoints_of_another_training_are_refused(tmp_path, changed):
    def start(rate=0.2, momentum=0.9, batch=2, key=5, shift=0.0, loss=squared_error):
        x, y = INSIDE
        problem = Problem(f, x, y + shift, loss, optax.sgd(rate, momentum), batch=batch)
        observe = observer(weights())
        step = jax.jit(partial(advance, problem, observe, jax.random.key(key)))
        return train_with_checkpoints(
            tmp_path, step, begin(problem, weights(), observe), np.array([0, 3]), 2
        )

    other = {
        "rate": {"rate": 0.002},
        "momentum": {"momentum": 0.8},
        "batch": {"batch": 1},
        "key": {"key": 6},
        "targets": {"shift": 1e-3},
        "loss": {"loss": lambda a, b: 2 * squared_error(a, b)},
    }[changed]
    start()
    with pytest.raises(ValueError, match="`folder` must be one of this training's checkpoints"):
        start(**other)
    start()  # and the same goes on


@pytest.mark.parametrize("offset", [-1.0, -1e3, 1.0])
def test_exact_a_loss_below_zero_trains_as_its_like_above(offset):
    """A constant in the loss changes no step, whatever sign it gives."""

    def trained(loss):
        problem = Problem(f, *INSIDE, loss, optax.sgd(0.1))
        state, _ = train(problem, weights(), np.array([20]), jax.random.key(0), lambda p: p)
        assert int(state.diverged_at) == -1
        return state.params

    plain, moved = trained(squared_error), trained(lambda a, b: squared_error(a, b) + offset)
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(moved), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_exact_a_line_search_minimises_a_parabola():
    x = jnp.array([[1.0, 0.5], [0.2, 1.0]])
    y = jnp.array([[1.0], [-2.0]])
    linear = lambda w, x: x @ w  # noqa: E731
    problem = Problem(linear, x, y, squared_error, optax.lbfgs())
    state, _ = train(problem, jnp.zeros((2, 1)), np.array([15]), jax.random.key(0), lambda w: w)
    np.testing.assert_allclose(state.params, jnp.linalg.solve(x, y), rtol=1e-8)


def test_exact_training_keeps_its_dtype_under_strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        params = jax.tree.map(lambda a: a.astype(jnp.float32), weights())
        data = (a.astype(jnp.float32) for a in INSIDE)
        problem = Problem(f, *data, squared_error, optax.sgd(0.1, 0.9), batch=2)
        state, _ = train(problem, params, np.array([3]), jax.random.key(0), lambda p: p)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}


def test_exact_marks_are_logarithmic_with_both_ends():
    np.testing.assert_array_equal(log_marks(8, 4), [0, 1, 2, 4, 8])
    assert log_marks(1000, 12)[-1] == 1000
    with pytest.raises(ValueError, match="`marks` must be one or more increasing integers >= 0"):
        spans_to(np.array([0, 3, 3]))


def test_exact_errors_count_what_is_wrong():
    outputs, y = jnp.asarray([[1.0], [-1.0], [0.5], [0.0]]), jnp.asarray([[1.0], [1.0], [-1], [1]])
    assert float(wrong_sign(outputs, y)) == 0.75
    assert float(wrong_class(jnp.eye(3), jnp.eye(3)[::-1])) == pytest.approx(2 / 3)


def test_labels_that_do_not_fit_are_refused():
    hot, classes = class_targets(np.array(["b", "a", "b"]), 3)
    np.testing.assert_array_equal(hot, [[0, 1], [1, 0], [0, 1]])
    assert list(classes) == ["a", "b"]
    for labels, message in (
        (None, "`labels` must be one for each of 3 inputs, got None"),
        (np.array([1, 2]), r"`labels` must be of shape \(3,\), one for each input, got \(2,\)"),
        (np.array([1, 1, 1]), r"`labels` must be of two classes or more, got \[1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            class_targets(labels, 3)
    for y in (Y[:5], Y[:6, 0]):
        with pytest.raises(ValueError, match=r"`y` must be of shape \(6, k\)"):
            Problem(f, INSIDE[0], jnp.asarray(y), squared_error, optax.sgd(0.1))
    with pytest.raises(ValueError, match="`batch` must be <= 6, the number of points, got 7"):
        Problem(f, *INSIDE, squared_error, optax.sgd(0.1), batch=7)
