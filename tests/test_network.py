import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from flax import nnx

import ntk_eoc as ne


def test_exact_widths():
    assert ne.widths("quadratic", m=64, depth=4, outputs=1) == (64, 256, 576, 1)
    assert ne.widths("linear", 3, 3, 2) == (3, 6, 2)
    assert ne.widths("constant", 3, 3) == (3, 3, 1)
    assert ne.widths("cubic", 2, 3) == (2, 16, 1)
    assert ne.widths("quadratic", 5, 1, 7) == (7,)


@pytest.mark.parametrize("sigma_b", [0.0, 0.6])
def test_agrees_with_the_definition(sigma_b):
    init = ne.Init(ne.activation("leaky_relu"), 1.2, sigma_b)
    mlp = ne.MLP(init, 4, (6, 5, 3), rngs=nnx.Rngs(0))
    f, params = ne.functional(mlp)
    assert ("bias" in params["layers"][1]) == (sigma_b > 0)
    assert "bias" not in params["layers"][0]
    x = jax.random.normal(jax.random.key(1), (4,))
    np.testing.assert_allclose(f(params, x), references.mlp_forward(init, params, x), rtol=1e-13)
    np.testing.assert_array_equal(f(params, x), mlp(x))
    np.testing.assert_array_equal(ne.mlp(init)(params, x), mlp(x))


@pytest.mark.parametrize("widths", [(3,), (6, 5, 3)])
def test_exact_the_pure_function_is_the_module(widths):
    init, key = ne.Init(ne.activation("tanh"), 1.2, 0.6), jax.random.key(5)
    params = ne.draw_params(key, init, 4, widths, jnp.float32)
    module = ne.MLP(init, 4, widths, rngs=nnx.Rngs(params=key), dtype=jnp.float32)
    x = jax.random.normal(jax.random.key(1), (2, 4))
    assert ne.mlp(init) is ne.mlp(ne.Init(ne.activation("tanh"), 1.2, 0.6))
    assert ne.mlp(init)(params, x).dtype == jnp.float32
    np.testing.assert_array_equal(ne.mlp(init)(params, x), module(x))


def test_exact_a_batch_is_its_rows_without_rank_promotion():
    init = ne.Init(ne.activation("erf"), 1.2, 0.6)
    mlp = ne.MLP(init, 4, (6, 5, 3), rngs=nnx.Rngs(0))
    x = jnp.asarray(np.random.default_rng(1).standard_normal((2, 3, 4)))
    with jax.numpy_rank_promotion("raise"):
        batch = mlp(x)
    rows = [[mlp(row) for row in rows] for rows in x]
    np.testing.assert_allclose(batch, np.array(rows), rtol=1e-13, atol=1e-14)


def test_within_error_the_output_variance_is_q():
    # At the EOC the variance of an output is ‖x‖²/d at any depth; a wide net shows it.
    init = ne.edge_of_chaos(ne.activation("abs"))
    x = jnp.array([1.0, 2.0, 2.0, 0.0])

    def output(key):
        return ne.functional(ne.MLP(init, 4, (40, 40, 1), rngs=nnx.Rngs(params=key)))

    keys = jax.random.split(jax.random.key(3), 4000)
    draws = np.asarray(
        jax.lax.map(lambda k: output(k)[0](output(k)[1], x)[0] ** 2, keys, batch_size=500)
    )
    error = draws.std(ddof=1) / np.sqrt(draws.size)
    assert abs(draws.mean() - 9 / 4) <= 4 * error


def test_exact_vmapped_draws_are_the_single_ones():
    init = ne.edge_of_chaos(ne.activation("relu"))
    keys = jax.random.split(jax.random.key(0), 3)
    many = jax.vmap(lambda key: ne.draw_params(key, init, 3, (4, 1)))(keys)
    one = ne.draw_params(keys[1], init, 3, (4, 1))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[1], b), many, one)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="`schedule` must be one of .* Did you mean 'quadratic'"):
        ne.widths("quadratc", 3, 3)
    with pytest.raises(ValueError, match="`m` must be >= 1, got 0"):
        ne.widths("linear", 0, 3)
    init = ne.edge_of_chaos(ne.activation("relu"))
    with pytest.raises(ValueError, match=r"`widths\[1\]` must be >= 1, got -2"):
        ne.MLP(init, 3, (4, -2), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"`len\(widths\)` must be >= 1"):
        ne.MLP(init, 3, (), rngs=nnx.Rngs(0))


class Frozen(nnx.Module):
    def __init__(self, kind, rngs):
        self.first = nnx.Linear(3, 4, rngs=rngs)
        parts = {"BatchNorm": lambda: nnx.BatchNorm(4, rngs=rngs)}
        self.middle = parts.get(kind, lambda: nnx.Dropout(0.5, rngs=rngs))()
        self.last = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        return self.last(self.middle(self.first(x)))


@pytest.mark.parametrize("kind", ["BatchNorm", "Dropout"])
def test_exact_parts_in_training_are_refused_and_frozen_ones_kept(kind):
    module = Frozen(kind, nnx.Rngs(0))
    with pytest.raises(ValueError, match=rf"eval\(\)` first\), got 'one with {kind} in training'"):
        ne.functional(module)
    module.eval()
    f, params = ne.functional(module)
    x = jnp.ones((1, 3))
    np.testing.assert_allclose(jax.jit(f)(params, x), module(x), rtol=1e-6)
    kernel = ne.ntk_jacobian(f, params, x, x)
    assert kernel.shape == (1, 1, 2, 2)
    assert np.all(np.isfinite(kernel))
