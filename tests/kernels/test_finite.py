"""One contract for every algorithm that computes K(θ) of given parameters."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from flax import nnx

import ntk_eoc as ne
from ntk_eoc.kernels import jacobian

INITS = {
    "relu": ne.edge_of_chaos(ne.activation("relu")),
    "leaky_relu": ne.edge_of_chaos(ne.activation("leaky_relu")),
    "abs with biases": ne.Init(ne.activation("abs"), 1.3, 0.4),
    "tanh with biases": ne.Init(ne.Activation("tanh", jnp.tanh), 1.3, 0.5),
}


def network(init, widths, d=5, dtype=None):
    return ne.functional(ne.MLP(init, d, widths, rngs=nnx.Rngs(7), dtype=dtype))


def points(n, d=5, seed=1):
    return jax.random.normal(jax.random.key(seed), (n, d))


@pytest.mark.parametrize("name", INITS)
@pytest.mark.parametrize("outputs", [1, 10])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_agrees_layerwise_with_jacobian(name, outputs, depth):
    init = INITS[name]
    f, params = network(init, ne.widths("linear", 9, depth, outputs))
    x1, x2 = points(4), points(6, seed=2)
    for a, b in ((x1, x2), (x1, x1)):
        reference = ne.ntk_jacobian(f, params, a, b)
        kernel = ne.ntk_layerwise(init, params, a, b)
        assert kernel.shape == reference.shape == (len(a), len(b), outputs, outputs)
        np.testing.assert_allclose(kernel, reference, rtol=0, atol=1e-11 * abs(reference).max())


def test_agrees_jacobian_with_finite_differences():
    f, params = network(INITS["tanh with biases"], (4, 3, 2), d=3)
    x1, x2 = points(2, 3), points(3, 3, seed=2)
    reference = references.ntk_finite_differences(f, params, x1, x2)
    # central differences: step² = 1e-10 and rounding/step = 1e-11
    np.testing.assert_allclose(ne.ntk_jacobian(f, params, x1, x2), reference, atol=1e-8)


def test_exact_jacobian_in_small_blocks():
    f, params = network(INITS["relu"], (8, 8, 2))
    x1, x2 = points(5), points(7, seed=2)
    each = 2 * 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    whole = ne.ntk_jacobian(f, params, x1, x2)
    for rows in (2, 3, 4):
        blocks = ne.ntk_jacobian(f, params, x1, x2, memory=rows * each)
        np.testing.assert_allclose(blocks, whole, rtol=1e-13)


def test_exact_forward_mode_where_parameters_are_fewer_than_outputs():
    def f(params, x):
        return jnp.outer(params["a"] * x, jnp.arange(4.0)).ravel() + params["b"]

    params = {"a": jnp.array(2.0), "b": jnp.array(-1.0)}
    x = points(3)
    assert "while" not in str(jax.make_jaxpr(lambda x: jacobian._jacobian(f, params, x))(x[0]))
    features = jnp.stack(
        [jnp.stack([jnp.outer(v, jnp.arange(4.0)).ravel(), jnp.ones(20)], axis=1) for v in x]
    )
    np.testing.assert_allclose(
        ne.ntk_jacobian(f, params, x, x), jnp.einsum("iap,jbp->ijab", features, features)
    )


def test_exact_layout_of_the_matrix():
    f, params = network(INITS["relu"], (6, 3))
    x = points(4)
    K, M = ne.ntk_jacobian(f, params, x, x), ne.ntk_matrix(ne.ntk_jacobian(f, params, x, x))
    assert M.shape == (12, 12)
    for i, j, a, b in ((0, 3, 1, 2), (2, 1, 0, 1), (3, 3, 2, 2)):
        assert M[i * 3 + a, j * 3 + b] == K[i, j, a, b] / 4
    limit = ne.ntk_infinite(INITS["relu"], x, x, 2)
    np.testing.assert_array_equal(
        ne.ntk_matrix(ne.with_outputs(limit, 3)), jnp.kron(limit, jnp.eye(3)) / 4
    )


def test_exact_a_rectangle_is_divided_by_its_training_points():
    f, params = network(INITS["relu"], (6, 3))
    x, x_test = points(4), points(2, seed=2)
    whole = jnp.concatenate([x_test, x])
    square = ne.ntk_matrix(ne.ntk_jacobian(f, params, whole, whole))  # divided by 6
    rectangle = ne.ntk_matrix(ne.ntk_jacobian(f, params, x_test, x))  # divided by 4
    assert rectangle.shape == (6, 12)
    np.testing.assert_allclose(rectangle, square[:6, 6:] * 6 / 4, rtol=1e-13)


def test_exact_a_scalar_output_is_one_output():
    f, params = network(INITS["relu"], (6, 1))
    x1, x2 = points(4), points(3, seed=2)
    scalar = ne.ntk_jacobian(lambda p, x: f(p, x)[0], params, x1, x2)
    np.testing.assert_array_equal(scalar, ne.ntk_jacobian(f, params, x1, x2))


@pytest.mark.parametrize("shape", [(), (4, 4, 3)])
def test_exact_inputs_of_any_shape(shape):
    size = math.prod(shape)
    f, params = network(INITS["tanh with biases"], (6, 2), d=size)
    x1, x2 = points(3, size), points(4, size, seed=2)
    flat = ne.ntk_jacobian(f, params, x1, x2)
    shaped = [x.reshape(-1, *shape) for x in (x1, x2)]
    for memory in (2**30, 2 * 2 * 2 * sum(leaf.nbytes for leaf in jax.tree.leaves(params))):
        kernel = ne.ntk_jacobian(lambda p, x: f(p, x.ravel()), params, *shaped, memory=memory)
        np.testing.assert_allclose(kernel, flat, rtol=1e-12)


def test_within_error_the_mean_on_the_diagonal_is_the_limit():
    # E K(x, x) = K∞(x, x) exactly for a scale-invariant φ, at every width.
    init, widths, x = INITS["relu"], (6, 5, 2), points(3)
    keys = jax.random.split(jax.random.key(5), 4000)

    def diagonal(key):
        params = ne.functional(ne.MLP(init, 5, widths, rngs=nnx.Rngs(params=key)))[1]
        return jnp.einsum("iiaa->ia", ne.ntk_layerwise(init, params, x, x))

    draws = np.asarray(jax.jit(lambda keys: jax.lax.map(diagonal, keys, batch_size=500))(keys))
    limit = np.diag(ne.ntk_infinite(init, x, x, 3))[:, None]
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - limit) <= 4 * error).all()


def test_scales_with_the_inverse_root_of_the_width():
    init, x = INITS["relu"], points(6)
    limit = ne.ntk_matrix(ne.with_outputs(ne.ntk_infinite(init, x, x, 3), 1))

    def error(m):
        def one(key):
            widths = ne.widths("quadratic", m, 3)
            params = ne.functional(ne.MLP(init, 5, widths, rngs=nnx.Rngs(params=key)))[1]
            matrix = ne.ntk_matrix(ne.ntk_layerwise(init, params, x, x))
            return jnp.linalg.norm(matrix - limit)

        return float(jnp.mean(jax.lax.map(one, jax.random.split(jax.random.key(m), 200))))

    slope = np.log(error(64) / error(4)) / np.log(64 / 4)
    assert -0.6 < slope < -0.4


def test_exact_float32_parameters_give_float32_kernels():
    f, params = network(INITS["relu"], (16, 1), dtype=jnp.float32)
    x = points(3).astype(jnp.float32)
    assert ne.ntk_layerwise(INITS["relu"], params, x, x).dtype == jnp.float32
    assert ne.ntk_jacobian(f, params, x, x).dtype == jnp.float32


def test_bad_input_is_refused():
    f, params = network(INITS["relu"], (6, 3))
    x = points(3)
    with pytest.raises(ValueError, match="`memory` must be >= .* bytes"):
        ne.ntk_jacobian(f, params, x, x, memory=10)
    with pytest.raises(ValueError, match=r"`f` must be a function .* -> \[k\] or a scalar"):
        ne.ntk_jacobian(lambda p, x: f(p, x)[None], params, x, x)
    with pytest.raises(ValueError, match=r"`x1` must be inputs \[n, …\], none of them empty"):
        ne.ntk_jacobian(f, params, x[:0], x)
    with pytest.raises(ValueError, match="`x1` must be of 5 columns"):
        ne.ntk_layerwise(INITS["relu"], params, points(2, 4), points(2, 4))


def test_bad_parameters_without_a_derivative_are_named():
    f, params = network(INITS["relu"], (6, 3))
    x = points(3)
    with pytest.raises(ValueError, match=r"`params\['steps'\]` must be real floating-point .*int"):
        ne.ntk_jacobian(lambda p, x: f(p["net"], x), {"net": params, "steps": jnp.arange(3)}, x, x)
    with pytest.raises(ValueError, match=r"`params` must be real floating-point .*complex"):
        ne.ntk_jacobian(lambda p, x: jnp.abs(p) * x, 1j + jnp.ones(5), x, x)
