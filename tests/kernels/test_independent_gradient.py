"""K beside K^ind: from weights, against explicit matrices, and sampled without weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_sampled import direct_ntk_independent, direct_weights
from two_samples import smallest_p

import ntk_eoc as ne
from ntk_eoc.eoc import Init
from ntk_eoc.kernels.independent_gradient import (
    gradient_independence,
    gradient_independence_sampled,
)
from ntk_eoc.network import draw_params

TANH = Init(ne.Activation("tanh", jnp.tanh), sigma_w=1.3, sigma_b=0.5)
RELU = ne.edge_of_chaos(ne.activation("relu"))
quick = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def inputs(n, d=4):
    return jax.random.normal(jax.random.key(1), (n, d))


@pytest.mark.parametrize("init", [RELU, TANH], ids=["relu", "tanh"])
def test_exact_first_kernel_is_that_of_the_weights(key, init):
    x = inputs(3)
    params = draw_params(key, init, 4, (6, 5, 2), jnp.float64)
    found = quick(lambda key: gradient_independence(key, init, params, x))(key)
    expected = ne.ntk_layerwise(init, params, x, x)
    np.testing.assert_allclose(found.kernel, expected, rtol=1e-12, atol=1e-13)
    # Five neurons and σ_b are at least three directions: the ratio is of 3 in m + [σ_b > 0].
    assert found.energy.shape == (1,)
    assert 0 < float(found.energy[0]) < (6 + (init.sigma_b > 0)) / 3
    assert np.abs(found.independent - found.redrawn).max() > 1e-3


def test_exact_two_layers_have_nothing_to_redraw(key):
    found = quick(lambda key: gradient_independence_sampled(key, RELU, inputs(3), (6, 2)))(key)
    np.testing.assert_array_equal(found.independent, found.kernel)
    np.testing.assert_array_equal(found.redrawn, found.kernel)
    assert found.energy.shape == (0,)


def test_within_error_both_ways_have_the_law_of_explicit_matrices():
    """K^ind of the sampler and of weights, and K − K^ind jointly, against W^ind as a matrix."""
    x, widths, count = inputs(2), (5, 4, 3, 1), 6000
    keys = jax.random.split(jax.random.key(3), count)

    def weighed(key):
        key, fresh = jax.random.split(key)
        params = draw_params(key, TANH, 4, widths, jnp.float64)
        return gradient_independence(fresh, TANH, params, x)

    def sampled(key):
        return gradient_independence_sampled(key, TANH, x, widths)

    one, other = quick(jax.vmap(sampled))(keys), quick(jax.vmap(weighed))(keys)
    direct = direct_ntk_independent(TANH, direct_weights(4, count, 4, widths), np.asarray(x), 5)
    for found in (one, other):
        assert smallest_p(np.asarray(found.independent), direct) > 0.01
        assert smallest_p(np.asarray(found.redrawn), direct) > 0.01
    for pair in (("kernel", "independent"), ("independent", "redrawn")):
        gaps = [np.asarray(getattr(f, pair[0]) - getattr(f, pair[1])) for f in (one, other)]
        assert smallest_p(*gaps) > 0.01
    for layer in range(2):
        a, b = (np.asarray(found.energy[:, layer]) for found in (one, other))
        error = np.hypot(a.std(ddof=1), b.std(ddof=1)) / count**0.5
        assert abs(a.mean() - b.mean()) < 4 * error


def test_exact_bad_input_is_refused(key):
    params = draw_params(key, RELU, 4, (6, 1), jnp.float64)
    with pytest.raises(ValueError, match=r"`x` must be \[n, 4\], n >= 1, got \(3, 5\)"):
        gradient_independence(key, RELU, params, inputs(3, 5))
    with pytest.raises(ValueError, match=r"`len\(widths\)` must be >= 1, got 0"):
        gradient_independence_sampled(key, RELU, inputs(3), ())
