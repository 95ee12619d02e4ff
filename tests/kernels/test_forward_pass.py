"""`nngp_sampled` has the law of direct draws and is the forward pass of `ntk_sampled`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_sampled import direct_weights
from two_samples import smallest_p

import ntk_eoc as ne
from ntk_eoc.eoc import Init

TANH = Init(ne.Activation("tanh", jnp.tanh), sigma_w=1.3, sigma_b=0.5)


def inputs(n, d=4):
    return np.asarray(jax.random.normal(jax.random.key(1), (n, d)))


def direct_grams(init, weights, x):
    """σ_w² φ(z_k)·φ(z'_k)/m_k + σ_b² of every hidden layer, by its weights: [s, l − 1, n, n]."""
    z, grams = weights[0][0] @ x.T / np.sqrt(x.shape[1]), []
    for w, bias in weights[1:]:
        out = init.sigma_w * np.asarray(init.activation.fn(jnp.asarray(z))) / np.sqrt(z.shape[1])
        grams.append(out.transpose(0, 2, 1) @ out + init.sigma_b**2)
        z = w @ out + init.sigma_b * bias[:, :, None]
    return np.stack(grams, axis=1)


def test_within_error_law_is_that_of_direct_draws():
    x, widths, count = inputs(3), (5, 2, 9, 1), 6000
    keys = jax.random.split(jax.random.key(2), count)
    drawn = np.asarray(jax.vmap(lambda key: ne.nngp_sampled(key, TANH, x, widths))(keys))
    direct = direct_grams(TANH, direct_weights(3, count, 4, widths), x)
    assert drawn.shape == direct.shape
    for layer in range(3):
        one, other = (g[:, layer, :, :, None, None] for g in (drawn, direct))
        assert smallest_p(one, other) > 0.01 / 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exact_the_network_of_a_key_is_that_of_ntk_sampled(key, dtype):
    """With φ(s) = s and l = 2, K = Σ_2 + |w|²/m XXᵀ/d for one number |w|²."""
    init, x, widths = ne.edge_of_chaos(ne.abs_linear(1, 0)), inputs(3), (50, 1)
    kernel = np.asarray(ne.ntk_sampled(key, init, x, widths, dtype=dtype))[:, :, 0, 0]
    second = np.asarray(ne.nngp_sampled(key, init, x, widths, dtype=dtype))[0]
    ratio = (kernel - second) / (x @ x.T / 4)
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=200 * np.finfo(dtype).eps)


def test_scales_to_the_limit(key):
    """At 10⁵ neurons a layer the error is some (σ/√m ≈ 1 %) of the limit."""
    x, init = inputs(2), ne.edge_of_chaos(ne.activation("relu"))
    drawn = ne.nngp_sampled(key, init, x, (100_000, 100_000, 1), dtype="float32")
    for layer in range(2):
        limit = ne.nngp_infinite(init, jnp.asarray(x), jnp.asarray(x), layer + 2)
        np.testing.assert_allclose(drawn[layer], limit, atol=0.05 * np.abs(limit).max())


def test_exact_bad_input_is_refused(key):
    init, x = ne.edge_of_chaos(ne.activation("relu")), inputs(2)
    with pytest.raises(ValueError, match=r"`len\(widths\)` must be >= 1, got 0"):
        ne.nngp_sampled(key, init, x, ())
    with pytest.raises(ValueError, match=r"`widths\[0\]` must be <= 2147483648, got 3000000000"):
        ne.nngp_sampled(key, init, x, (3_000_000_000, 1))
    assert ne.nngp_sampled(key, init, x, (1,)).shape == (0, 2, 2)
