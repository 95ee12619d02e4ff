"""With x64 off every public call works, or says in one sentence that it needs it."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import ntk_eoc as ne
from ntk_eoc import gaussian

NEED_IT = ("ntk_sampled", "nngp_sampled", "fluctuations", "mean_shift", "widths_for")
WIDTHS = (6, 5, 1)


def inputs():
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    return jnp.asarray(x / np.linalg.norm(x, axis=1, keepdims=True) * np.float32(3**0.5))


def init():
    return ne.Init(ne.activation("erf"), 1.3, 0.2)


def flax_model():
    return ne.MLP(init(), 3, WIDTHS, rngs=nnx.Rngs(0))


CALLS = {
    "activation": lambda key, x: ne.activation("tanh")(x),
    "Activation": lambda key, x: ne.Activation("mine", jnp.tanh).prime(x),
    "abs_linear": lambda key, x: ne.abs_linear(0.3, 0.4)(x),
    "AbsLinear": lambda key, x: ne.AbsLinear("mine", jnp.abs, a=0.0, b=1.0).kappa,
    "Init": lambda key, x: init().sigma_w,
    "edge_of_chaos": lambda key, x: ne.edge_of_chaos("tanh", sigma_b=0.3).q,
    "ntk_infinite": lambda key, x: [
        ne.ntk_infinite(at, x, x, 3) for at in ("relu", init(), ne.Init(ne.activation("tanh"), 1.3))
    ],
    "nngp_infinite": lambda key, x: ne.nngp_infinite(ne.Init(ne.activation("tanh"), 1.3), x, x, 3),
    "ntk_infinite_with_error": lambda key, x: ne.ntk_infinite_with_error(
        ne.Init(ne.activation("tanh"), 1.3), x, x, 3
    ),
    "kernel_operator": lambda key, x: ne.kernel_operator(init(), x, 3) @ jnp.ones(4),
    "dask_kernel": lambda key, x: ne.dask_kernel(init(), x, 3).compute(scheduler="sync"),
    "ntk_jacobian": lambda key, x: ne.ntk_jacobian(*ne.functional(flax_model()), x, x),
    "ntk_layerwise": lambda key, x: ne.ntk_layerwise(
        init(), ne.draw_params(key, init(), 3, WIDTHS), x, x
    ),
    "ntk_structured": lambda key, x: ne.ntk_structured(flax_model(), x, x),
    "ntk_vector_product": lambda key, x: ne.ntk_vector_product(
        *ne.functional(flax_model()), x, x, jnp.ones((4, 1))
    ),
    "ntk_matrix": lambda key, x: ne.ntk_matrix(
        ne.with_outputs(ne.ntk_infinite(init(), x, x, 2), 2)
    ),
    "with_outputs": lambda key, x: ne.with_outputs(ne.ntk_infinite(init(), x, x, 2), 2),
    "ntk_sampled": lambda key, x: ne.ntk_sampled(key, init(), x, WIDTHS),
    "nngp_sampled": lambda key, x: ne.nngp_sampled(key, init(), x, WIDTHS),
    "fluctuations": lambda key, x: ne.fluctuations(init(), x, 3),
    "mean_shift": lambda key, x: ne.mean_shift(init(), x, x, 3, WIDTHS),
    "widths_for": lambda key, x: ne.widths_for(init(), x, 3),
    "MLP": lambda key, x: flax_model()(x),
    "functional": lambda key, x: ne.functional(flax_model())[0](
        ne.functional(flax_model())[1], x[0]
    ),
    "mlp": lambda key, x: ne.mlp(init())(ne.draw_params(key, init(), 3, WIDTHS), x[0]),
    "draw_params": lambda key, x: ne.draw_params(key, init(), 3, WIDTHS),
    "widths": lambda key, x: ne.widths("quadratic", m=4, depth=3, outputs=1),
    "normalise": lambda key, x: ne.normalise(x, init=ne.edge_of_chaos("relu")),
    "SpectralLaw": lambda key, x: ne.SpectralLaw.from_atoms([1.0, 2.0], [0.5, 0.5]).moment(1),
    "marchenko_pastur": lambda key, x: ne.marchenko_pastur(0.5).moment(2),
    "gram_law": lambda key, x: ne.gram_law(ne.marchenko_pastur(0.5), 0.5).moment(1),
    "free_multiplicative_convolution": lambda key, x: ne.free_multiplicative_convolution(
        ne.marchenko_pastur(0.5), ne.SpectralLaw.from_atoms([1.0, 2.0], [0.5, 0.5])
    ).moment(1),
    "quadratic_scaling_law": lambda key, x: ne.quadratic_scaling_law(
        ne.activation("relu"), gamma1=0.5, gamma2=1.0
    ).moment(1),
}


def test_exact_every_public_name_is_called():
    rooms = {name for name in ne.__all__ if inspect.ismodule(getattr(ne, name))}
    # What `fluctuations` returns, and what writes a `dask_kernel`.
    assert {*CALLS} | rooms | {"Fluctuations", "store_kernel"} == {*ne.__all__}


@pytest.mark.parametrize("name", CALLS)
def test_exact_each_call_works_in_float32_or_says_what_it_needs(name, key):
    x = inputs()
    with jax.enable_x64(False):
        if name in NEED_IT:
            with pytest.raises(RuntimeError, match=r"needs float64.*jax_enable_x64"):
                CALLS[name](key, x)
            return
        found = CALLS[name](key, x)
        for leaf in jax.tree.leaves(found):
            assert np.isfinite(leaf).all()
            assert not isinstance(leaf, jax.Array) or leaf.dtype == jnp.float32


@pytest.mark.parametrize("of", [ne.ntk_infinite, ne.nngp_infinite])
def test_agrees_quadrature_without_x64_with_float64(of):
    x, at = inputs(), ne.Init(ne.activation("tanh"), 1.3, 0.1)
    with jax.enable_x64(False):
        found = of(at, x, x, 3)
        assert found.dtype == jnp.float32
        assert not jax.config.jax_enable_x64
    np.testing.assert_allclose(found, of(at, x.astype(jnp.float64), x, 3), rtol=1e-6)


def test_exact_a_trace_without_x64_is_refused():
    x, at = inputs(), ne.Init(ne.activation("tanh"), 1.3, 0.1)
    with jax.enable_x64(False):
        with pytest.raises(RuntimeError, match="Gaussian integrals need float64"):
            jax.jit(lambda x: ne.ntk_infinite(at, x, x, 3))(x)
        with pytest.raises(RuntimeError, match="Gaussian integrals need float64"):
            gaussian.dual(ne.activation("tanh"), 1.0, 1.0, 0.5)
