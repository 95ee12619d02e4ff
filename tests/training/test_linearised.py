"""The linearised network, trained by its own gradient descent, is what K(θ_0) predicts."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import ntk_eoc as ne
from ntk_eoc.network import draw_params
from ntk_eoc.training.linearised import linearise
from ntk_eoc.training.modes import descent, eigenmodes, largest_stable_step
from ntk_eoc.training.predictions import predict_test, predict_train

STEPS = [0, 1, 5, 30]


def any_f(params, x):
    """Nothing of ours: tied weights, a softmax, two outputs."""
    hidden = jax.nn.softmax(params["a"] @ x) * params["b"]
    return jnp.stack([jnp.sin(hidden).sum(), hidden @ (params["a"] @ x)])


def trained(f, params, x, x_test, y, rate):
    """f at STEPS on both sets by gradient descent on ½ Σ‖f − y‖²/n, plain Python."""
    outputs = jax.jit(jax.vmap(f, (None, 0)))
    slope = jax.jit(
        jax.grad(lambda p: ((jax.vmap(f, (None, 0))(p, x) - y) ** 2).sum() / 2 / len(x))
    )
    found = []
    for step in range(max(STEPS) + 1):
        if step in STEPS:
            found.append((outputs(params, x), outputs(params, x_test)))
        params = jax.tree.map(lambda p, g: p - rate * g, params, slope(params))
    train, test = zip(*found, strict=True)
    return np.array(train), np.array(test)


def check(f, params, x, x_test):
    y = jnp.cos(jnp.arange(2.0 * len(x))).reshape(len(x), 2)
    modes = eigenmodes(ne.ntk_matrix(ne.ntk_jacobian(f, params, x, x)))
    rate = 0.9 * largest_stable_step(modes)
    train, test = trained(linearise(f, params), params, x, x_test, y, rate)
    cross = ne.ntk_jacobian(f, params, x_test, x) / len(x)
    cross = cross.transpose(0, 2, 1, 3).reshape(2 * len(x_test), 2 * len(x))
    flat = y.ravel(), train[0].ravel()
    rule = descent(rate, STEPS)
    predicted = predict_train(modes, rule, *flat).reshape(train.shape)
    predicted_test = predict_test(modes, rule, cross, *flat, test[0].ravel()).reshape(test.shape)
    assert np.abs(train[-1] - train[0]).max() > 0.1
    np.testing.assert_allclose(predicted, train, atol=1e-10)
    np.testing.assert_allclose(predicted_test, test, atol=1e-10)


def test_exact_linearised_mlp_is_the_kernel_prediction(key):
    init = ne.edge_of_chaos(ne.activation("relu"))
    mlp = ne.functional(ne.MLP(init, 3, (16, 16, 2), rngs=nnx.Rngs(0)))
    x = jax.random.normal(key, (7, 3))
    check(*mlp, x[:4], x[4:])


def test_exact_linearised_function_of_any_kind_is_the_kernel_prediction(key):
    flat = jax.random.normal(key, (5 * 3 + 5,))
    x = jax.random.normal(jax.random.key(1), (7, 3))
    check(any_f, {"a": flat[:15].reshape(5, 3), "b": flat[15:]}, x[:4], x[4:])


def test_exact_linearised_function_agrees_to_first_order(key):
    init = ne.edge_of_chaos(ne.activation("abs"))
    mlp = ne.MLP(init, 3, (8, 2), rngs=nnx.Rngs(0))
    f, start = ne.functional(mlp)
    params = draw_params(key, init, 3, (8, 2))
    x = jnp.asarray([0.3, -1.0, 2.0])
    linear = linearise(f, start)
    np.testing.assert_allclose(linear(start, x), f(start, x), rtol=1e-12)
    for step in (1e-4, 1e-6):
        near = jax.tree.map(lambda a, b, step=step: a + step * b, start, params)
        assert np.abs(linear(near, x) - f(near, x)).max() < 50 * step**2
