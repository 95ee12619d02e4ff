"""K(θ) layer by layer is the Jacobian's, however a model is wired; its products, too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import ntk_eoc as ne
from ntk_eoc.kernels.structured import structured

F64 = {"dtype": jnp.float64, "param_dtype": jnp.float64}
D = 6


def linear(out, seed=0, d=D):
    return nnx.Linear(d, out, rngs=nnx.Rngs(seed), bias_init=nnx.initializers.normal(1.0), **F64)


def dense(k):
    return nnx.Sequential(linear(7), jax.nn.gelu, linear(5, 1, 7), jax.nn.relu, linear(k, 2, 5))


class Residual(nnx.Module):
    def __init__(self, k):
        self.one, self.two, self.last = linear(D), linear(D, 1), linear(k, 2)

    def __call__(self, x):
        x = x + jax.nn.relu(self.one(x))
        return self.last(x + jnp.tanh(self.two(x)))


class Shared(nnx.Module):
    """One layer three times, and once more with its weight transposed."""

    def __init__(self, k, transposed=False):
        self.one, self.last, self.transposed = linear(D), linear(k, 1), transposed

    def __call__(self, x):
        for _ in range(3):
            x = jnp.tanh(self.one(x))
        return self.last(self.one.kernel[...] @ x / 2 if self.transposed else x)


class Convolutional(nnx.Module):
    def __init__(self, k, groups=1):
        self.one = nnx.Conv(2, 4, (3, 3), rngs=nnx.Rngs(0), **F64)
        self.two = nnx.Conv(
            4, 6, (2, 2), strides=2, feature_group_count=groups, rngs=nnx.Rngs(1), **F64
        )
        self.last = linear(k, 2, 4 * D)

    def __call__(self, x):
        return self.last(jnp.tanh(self.two(jax.nn.relu(self.one(x)))).ravel())


class Odd(nnx.Module):
    """Norms, a rank-one change of a normalised weight, stacked layers in a loop, a checkpoint."""

    def __init__(self, k):
        self.norm = nnx.LayerNorm(D, rngs=nnx.Rngs(0), **F64)
        self.batch = nnx.BatchNorm(D, rngs=nnx.Rngs(0), **F64)
        self.one, self.last = linear(D), linear(k, 1)
        self.u, self.v = nnx.Param(jnp.ones((D, 1))), nnx.Param(jnp.linspace(0, 1, D)[None])
        self.stack = nnx.Param(jax.random.normal(jax.random.key(3), (3, D, D)))
        self.eval()

    def __call__(self, x):
        weight = self.one.kernel[...] + self.u[...] @ self.v[...]
        x = (weight / jnp.linalg.norm(weight)).T @ self.batch(x[None])[0]
        x = jax.checkpoint(lambda x: self.norm(jnp.tanh(self.one(x))))(x)
        x = jax.lax.scan(lambda x, w: (x + jnp.tanh(w @ x / 3), None), x, self.stack[...])[0]
        return self.last(x)


def points(n, shape=(D,), seed=1):
    return jax.random.normal(jax.random.key(seed), (n, *shape))


def is_the_jacobian(model, x1, x2, **memory):
    with jax.numpy_rank_promotion("allow"):  # Flax adds a bias [m] to images
        found = ne.ntk_structured(model, x1, x2, **memory)
        reference = ne.ntk_jacobian(*ne.functional(model), x1, x2)
    assert found.shape == reference.shape
    np.testing.assert_allclose(found, reference, rtol=0, atol=1e-11 * abs(reference).max())


@pytest.mark.parametrize("k", [1, 10])
@pytest.mark.parametrize(
    ("make", "shape"), [(dense, (D,)), (Residual, (D,)), (Shared, (D,)), (Convolutional, (4, 4, 2))]
)
def test_agrees_with_the_jacobian(make, shape, k):
    is_the_jacobian(make(k), points(4, shape), points(3, shape, 2))


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (Shared(2, transposed=True), (D,)),
        (Convolutional(2, groups=2), (4, 4, 2)),
        (Odd(2), (D,)),
        (ne.MLP(ne.Init(ne.activation("tanh"), 1.3, 0.4), D, (5, 4, 2), rngs=nnx.Rngs(0)), (D,)),
    ],
)
def test_agrees_with_the_jacobian_of_odd_models_of_one_set(model, shape):
    x = points(4, shape)
    is_the_jacobian(model, x, x)


def test_exact_in_small_blocks_and_of_a_scalar():
    model, x1, x2 = dense(1), points(5), points(7, seed=2)
    f, params = ne.functional(model)
    whole = ne.ntk_structured(model, x1, x2)
    blocks = structured(f, params, x1, x2, memory=4 * 8 * 300)
    np.testing.assert_allclose(blocks, whole, rtol=1e-12)
    scalar = structured(lambda params, x: f(params, x)[0], params, x1, x2)
    np.testing.assert_allclose(scalar, whole, rtol=1e-13)


def test_exact_models_alike_share_a_function():
    assert ne.functional(dense(1))[0] is ne.functional(dense(1))[0]
    assert ne.functional(dense(1))[0] is not ne.functional(dense(2))[0]


def test_exact_what_cannot_be_treated_is_named():
    x = points(3)
    params = {"w": jnp.ones((2, D)), "gate": {"slope": jnp.ones(D)}}
    uses = {
        "max": lambda p, x: p["w"] @ jnp.maximum(p["gate"]["slope"] * 2, x),
        "cond": lambda p, x: jax.lax.cond(
            x[0] > 0, lambda: p["w"] @ x, lambda: p["w"] @ (p["gate"]["slope"] * x)
        ),
        "an output that does not depend": lambda p, x: p["gate"]["slope"],
    }
    for how, f in uses.items():
        with pytest.raises(
            ValueError, match=rf"`ntk_jacobian` takes any\), got .*gate.slope.*{how}"
        ):
            structured(f, params, x, x)
    with pytest.raises(ValueError, match="`memory` must be >= .* bytes for two inputs"):
        ne.ntk_structured(dense(1), x, x, memory=10)
    with pytest.raises(ValueError, match=r"`model` must be a function of one input -> \[k\]"):
        structured(lambda p, x: jnp.outer(p["w"][0], x), params, x, x)


@pytest.mark.parametrize("batch", [3, 100])
def test_agrees_products_with_the_jacobian(batch):
    f, params = ne.functional(dense(3))
    x1, x2, v = points(5), points(7, seed=2), points(7, (3, 2), 3)
    kernel = ne.ntk_jacobian(f, params, x1, x2)
    many = ne.ntk_vector_product(f, params, x1, x2, v, batch=batch)
    np.testing.assert_allclose(many, jnp.einsum("ijab,jbc->iac", kernel, v), rtol=1e-12)
    one = ne.ntk_vector_product(f, params, x1, x2, v[:, :, 0], batch=batch)
    np.testing.assert_allclose(one, many[:, :, 0], rtol=1e-12)
    with pytest.raises(ValueError, match=r"`v` must be \[7, 3\] or \[7, 3, c\]"):
        ne.ntk_vector_product(f, params, x1, x2, v[:, :, 0].T)
